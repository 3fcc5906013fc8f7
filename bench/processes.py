"""Processes as the kernel sees them: trees, their processor time, their wake-ups, their end.

Linux only. All times are seconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

TICKS: Final = os.sysconf("SC_CLK_TCK")
"""Ticks a second of the times in /proc: 100, so they tell 10 ms apart."""

PATIENCE: Final = 5.0
"""Seconds that a process has to leave after SIGTERM."""

_PROC: Final = Path("/proc")
_PROCESS_CLOCK: Final = 2
"""CPUCLOCK_SCHED in <linux/posix-timers.h>: what clock_getcpuclockid(3) puts beside the pid."""


class Status(NamedTuple):
    """What is needed of /proc/PID/stat."""

    state: str
    parent: int
    reaped: float
    """Processor time of children that ended and were waited for, and theirs."""
    started: int
    """When, in ticks since the boot: with the pid it names a process for ever."""


def status(pid: int) -> Status:
    """Read /proc/PID/stat. Raises ProcessLookupError when there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    # The name of the program, in parentheses, may have anything in it.
    fields = text.rpartition(")")[2].split()
    return Status(
        state=fields[0],
        parent=int(fields[1]),
        reaped=(int(fields[13]) + int(fields[14])) / TICKS,
        started=int(fields[19]),
    )


def tree(pid: int) -> list[int]:
    """*pid* and all its descendants, each after its parent."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            with suppress(ProcessLookupError):
                children.setdefault(status(int(entry)).parent, []).append(int(entry))
    found = [pid]
    for member in found:
        found += children.get(member, ())
    return found


def cpu_of_process(pid: int) -> float:
    """Processor time of a process, of all threads that it has and had, in nanosecond steps.

    The time of /proc/PID/stat has 10 ms steps, and /proc/PID/task/*/schedstat forgets threads
    that have ended, of which ThreadingTCPServer has one a connection. Raises ProcessLookupError.
    """
    try:
        # clock_getcpuclockid(3) in the C library does just this, and Python does not have it.
        return time.clock_gettime_ns((~pid << 3) | _PROCESS_CLOCK) / 1e9
    except OSError:
        raise ProcessLookupError(pid) from None


def cpu_of_tree(pid: int) -> float:
    """Processor time of a process and all its descendants, with those that have been reaped.

    Reaped ones are known to 10 ms. Raises ProcessLookupError when *pid* itself has ended.
    """
    while True:
        try:
            # Each parent before its children: a child that is reaped in between is then missing,
            # not counted twice, and the sum is made anew.
            return sum(status(member).reaped + cpu_of_process(member) for member in tree(pid))
        except ProcessLookupError:
            status(pid)


def settled_cpu_of_tree(pid: int, longest: float = 1.5) -> float:
    """Processor time of a tree once it has nothing left to do, or after *longest* seconds.

    What a server puts off, as netd its log for a tenth of a second, is part of its work.
    """
    end = time.monotonic() + longest
    before, now = -1.0, cpu_of_tree(pid)
    while now - before > 0.0002 and time.monotonic() < end:
        time.sleep(0.15)
        before, now = now, cpu_of_tree(pid)
    return now


Switches = Mapping[tuple[int, int], int]
"""Context switches so far, by process and thread."""


def switches_of_tree(pid: int) -> Switches:
    """How often each thread of a tree was switched away from: it had slept, and woken up."""
    found: dict[tuple[int, int], int] = {}
    for member in tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in (_PROC / str(member) / "task").iterdir():
                found[member, int(task.name)] = _switches((task / "status").read_text())
    return found


def _switches(text: str) -> int:
    lines = (line.split(":") for line in text.splitlines() if "ctxt_switches" in line)
    return sum(int(number) for _, number in lines)


def wake_ups(before: Switches, after: Switches) -> int:
    """Wake-ups between two looks; a thread that has ended since has woken up to do so."""
    ended = len(before.keys() - after.keys())
    return ended + sum(count - before.get(thread, 0) for thread, count in after.items())


def busy() -> float:
    """Processor time that the whole machine used since its boot, or that its host took from it."""
    with open(_PROC / "stat") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


@contextmanager
def on_processor(number: int | None) -> Iterator[None]:
    """Start processes on one processor only; None leaves it to the scheduler.

    What this thread starts inherits where it may run: nothing needs to be done between fork and
    exec, where a process with threads should do nothing.
    """
    if number is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def end(process: subprocess.Popen[bytes], patience: float = PATIENCE) -> None:
    """End a process that we started, and whatever of its tree does not leave with it.

    After *patience* seconds, first for the process and then for the others, by SIGKILL.
    """
    members = _identities(process.pid)
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in _left(members, patience):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _left(members, PATIENCE)


def _left(members: Mapping[int, int], patience: float) -> list[int]:
    """Wait until all *members* have gone; those that have not within *patience* seconds."""
    deadline = time.monotonic() + patience
    while left := [pid for pid, started in members.items() if _lives(pid, started)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return left


def _identities(pid: int) -> dict[int, int]:
    """The processes of a tree, and when each started."""
    found = {}
    for member in tree(pid):
        with suppress(ProcessLookupError):
            found[member] = status(member).started
    return found


def _lives(pid: int, started: int) -> bool:
    """Whether it is still that process, and not another one of the same number."""
    try:
        now = status(pid)
    except ProcessLookupError:
        return False
    return now.started == started and now.state not in "ZX"
