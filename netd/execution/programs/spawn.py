"""How a program is started, waited for, and its last output read."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from netd.core.output_lines import LONGEST_LINE, Lines
from netd.core.pidfd import pidfd_of_child
from netd.execution.sources.stream import clear_of_standard
from netd.model.service import Program

PIPE: Final = 64 << 10
"""Bytes that a pipe holds (pipe(7)): what a program that has ended can have left in it."""


_RESET: Final = [
    number
    for number in signal.valid_signals()
    if number not in (signal.SIGKILL, signal.SIGSTOP) and number < signal.SIGRTMIN
]
"""Signals that Python ignores, or that the worker has handlers for, are a program's own again."""


@dataclass
class Running:
    """A program that was started; ``close`` gives its descriptors back."""

    pid: int
    pidfd: int
    """Readable when it has ended (pidfd_open(2))."""
    error: int
    """What it writes to its standard error."""

    def end(self, number: signal.Signals) -> None:
        """Send a signal to the program and what it has started, as far as that stayed with it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def reap(self) -> int:
        """How it ended, which must be so; as ``os.waitstatus_to_exitcode`` has it."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.pidfd)
        os.close(self.error)


def start(program: Program, descriptor: int, environment: Mapping[str, str]) -> Running:
    """Start *program* in a session of its own, with *descriptor* as its input and output.

    Raises OSError, and then nothing runs.
    """
    error, theirs = map(clear_of_standard, os.pipe2(os.O_CLOEXEC))
    try:
        # The end that the program has blocks, as it expects.
        os.set_blocking(error, False)
        pid = os.posix_spawn(
            program.path,
            program.arguments,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, descriptor, 0),
                (os.POSIX_SPAWN_DUP2, descriptor, 1),
                (os.POSIX_SPAWN_DUP2, theirs, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=_RESET,
        )
        return Running(pid, pidfd_of_child(pid), error)
    except BaseException:
        os.close(error)
        raise
    finally:
        os.close(theirs)


def read_last(descriptor: int, lines: Lines) -> None:
    """Read what a program that has ended wrote last.

    No more than that: those that it has left behind may go on writing for ever.
    """
    for _ in range(PIPE // LONGEST_LINE):
        if not read_some(descriptor, lines):
            break
    lines.finish()


def read_some(descriptor: int, lines: Lines) -> bool:
    """Read what there is, without waiting; whether there was something, and may be more."""
    try:
        data = os.read(descriptor, LONGEST_LINE)
    except BlockingIOError:
        return False
    lines.dataReceived(data)
    return bool(data)
