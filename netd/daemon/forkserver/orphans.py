"""Children that the daemon has not started: they become its own when the fork server dies."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

UNCLAIMED: Final = 10.0
"""Seconds after which a child that has ended, and was not waited for, is nobody's: those that
wait for children of theirs do it within milliseconds."""


def reap(pidfd: int) -> int | None:
    """Reap the process of *pidfd*, and return its exit status or the negative of its signal.

    None when it has not ended, or is not a child of this process.
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
    """A child that has ended and is not reaped; the two tell it from all others of all times."""

    pid: int
    started: str


class StrayChildren:
    """Reaps what workers left behind when their fork server, which would have done it, died.

    Parts of the daemon wait for children of their own, so nothing may be reaped that one of them
    is about to reap. In the reactor's thread.
    """

    def __init__(self, reactor: Any, dead: Callable[[], set[Dead]]) -> None:
        self._reactor = reactor
        self._dead = dead
        self._seen: set[Dead] = set()
        self._looking = False

    def look_from_now_on(self) -> None:
        """Look for such children, now and then, as long as the reactor runs."""
        if not self._looking:
            self._looking = True
            self._look()

    def _look(self) -> None:
        dead = self._dead()
        for child in dead & self._seen:
            with suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)
        self._seen = dead - self._seen
        self._reactor.callLater(UNCLAIMED, self._look)


def dead_children() -> set[Dead]:
    """The children of this process that have ended and are not reaped (proc(5))."""
    children: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        # A thread may end meanwhile; and a kernel can be built without this file.
        with suppress(OSError):
            children.update((task / "children").read_text().split())
    return {dead for dead in map(_dead, children) if dead is not None}


def _dead(pid: str) -> Dead | None:
    try:
        # The name of the program, in parentheses, may have anything in it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Dead(int(pid), started=fields[19]) if fields[0] == "Z" else None
