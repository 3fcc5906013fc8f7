"""Processes of netd's worker program: their command line, and the interface that starts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

import netd
from netd.core.exit_status import ending

PROGRAM: Final = os.path.join(os.path.dirname(netd.__file__), "worker", "__main__.py")
"""The worker's program. By its path, because the daemon does not import it."""


def command(*arguments: str) -> list[str]:
    """The command line of the worker program, in this interpreter.

    Without the current directory in ``sys.path``, where a module could shadow another one.
    """
    return [sys.executable, "-P", PROGRAM, *arguments]


class Process(Protocol):
    """A process that was started."""

    pid: int

    def kill(self) -> None:
        """Send SIGKILL. Does nothing if the process has ended."""


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

        *descriptors* has the daemon's descriptor for each of the worker's; they stay open here.
        *wrote* gets each line of the worker's standard output and error, *ended* how the worker
        ended, after it was reaped. Both are called in the reactor's thread. Raises OSError.
        """
        ...

    def close(self) -> None:
        """Release what is needed to start workers. No worker is started after that."""


def how_ended(reason: Failure) -> str:
    """How a process ended, from Twisted's account of it."""
    ended = reason.value
    assert isinstance(ended, ProcessTerminated | ProcessDone)
    return ending(ended.exitCode or 0 if ended.signal is None else -ended.signal)
