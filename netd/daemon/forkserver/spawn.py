"""Processes that run netd's worker program: how they are started, written to and ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.error import ProcessDone
from twisted.python.failure import Failure

import netd
from netd.core.exit_status import ending

PROGRAM: Final = os.path.join(os.path.dirname(netd.__file__), "worker", "__main__.py")
"""The worker's program, by its path: the daemon imports nothing of it."""


def command(*arguments: str) -> list[str]:
    """The command line of a worker program, by this interpreter, without the current directory."""
    return [sys.executable, "-P", PROGRAM, *arguments]


class Process(Protocol):
    """A process that was started."""

    pid: int

    def kill(self) -> None:
        """End it at once (SIGKILL); nothing happens when it has gone."""


class Spawner(Protocol):
    """Starts worker processes."""

    def spawn(
        self,
        name: str,
        descriptors: Mapping[int, int],
        wrote: Callable[[str], None],
        ended: Callable[[str], None],
    ) -> Process:
        """Start a worker.

        *descriptors* says which of ours is which of the worker's; they stay open here. *wrote*
        gets each line that it writes to its standard output or error, *ended* how it ended,
        after which nothing is left to reap. Both are called in the reactor's thread. Raises
        OSError.
        """
        ...

    def close(self) -> None:
        """Give back what it took to start workers; none is started after that."""


def how_ended(reason: Failure) -> str:
    """How a process ended, by what Twisted tells of it."""
    ended: Any = reason.value
    if isinstance(ended, ProcessDone):
        return ending(0)
    return ending(ended.exitCode if ended.signal is None else -ended.signal)
