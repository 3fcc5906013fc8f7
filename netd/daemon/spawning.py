"""Processes that run netd's worker program: how they are started, written to and ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.error import ProcessDone
from twisted.python.failure import Failure

PROGRAM: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "worker", "__main__.py")
"""The worker's program, by its path: the daemon imports nothing of it."""

LONGEST_LINE: Final = 16 << 10
"""Bytes that are waited for of a line that a worker writes past its log, to descriptor 1 or 2."""


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


class Lines:
    """Cuts output into lines; one that is too long comes in pieces."""

    def __init__(self, wrote: Callable[[str], None]) -> None:
        self._wrote = wrote
        self._rest = b""

    def dataReceived(self, data: bytes) -> None:
        """Pass on the lines that *data* completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._pass_on(line)
        if len(self._rest) > LONGEST_LINE:
            self.finish()

    def finish(self) -> None:
        """What is left has no end, and is a line all the same."""
        rest, self._rest = self._rest, b""
        if rest:
            self._pass_on(rest)

    def _pass_on(self, line: bytes) -> None:
        self._wrote(line.decode(errors="replace"))


def how_ended(reason: Failure) -> str:
    """How a process ended, by what Twisted tells of it."""
    ended: Any = reason.value
    if isinstance(ended, ProcessDone):
        return ending(0)
    return ending(ended.exitCode if ended.signal is None else -ended.signal)


def ending(code: int) -> str:
    """How a process ended, by its exit status, or the negative number of a signal."""
    if code >= 0:
        return f"status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have no name
        return f"signal {-code}"
