"""Orphans: children that the daemon did not start, but that became its own.

The daemon is a subreaper (prctl(2)), so the children of a dead fork server are its children.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netd.core.reactor import Timing

UNCLAIMED: Final = 10.0
"""Seconds after which a dead child counts as an orphan: the parts of the daemon that start children
reap them within milliseconds."""


def reap(pidfd: int) -> int | None:
    """Reap the process of *pidfd*. Return its exit status, or its signal as a negative number.

    None if it has not ended, or is not a child of this process.
    """
    try:
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


@dataclass(frozen=True)
class Dead:
    """A child that has ended and is not reaped. No other process ever has both values."""

    pid: int
    started: str


class Orphans:
    """Reaps the processes that workers left behind, whose fork server has died.

    A child is reaped only if it was dead at two looks: before that, a part of the daemon that
    started it may be about to reap it. In the reactor's thread.
    """

    def __init__(self, reactor: Timing, dead: Callable[[], set[Dead]]) -> None:
        self._reactor = reactor
        self._dead = dead
        self._seen: set[Dead] = set()
        self._is_looking = False

    def start(self) -> None:
        """Look for such children every ``UNCLAIMED`` seconds. Idempotent."""
        if not self._is_looking:
            self._is_looking = True
            self._look()

    def _look(self) -> None:
        dead = self._dead()
        for child in dead & self._seen:
            # Reaped since this look, by the part of the daemon that started it.
            with suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)
        # Without those that were reaped just now.
        self._seen = dead - self._seen
        self._reactor.callLater(UNCLAIMED, self._look)


def dead_children() -> set[Dead]:
    """The dead children of this process that are not reaped (proc(5))."""
    children: set[str] = set()
    # By thread: the kernel lists children under the thread that started them.
    for task in Path("/proc/self/task").iterdir():
        # A thread may end meanwhile, and a kernel can be built without this file.
        with suppress(OSError):
            children.update((task / "children").read_text().split())
    return {dead for dead in map(_dead, children) if dead is not None}


def _dead(pid: str) -> Dead | None:
    try:
        # The program's name, in parentheses, may contain anything, such as ") Z".
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Dead(int(pid), started=fields[19]) if fields[0] == "Z" else None
