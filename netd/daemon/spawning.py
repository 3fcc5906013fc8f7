"""Starting processes: the one place that knows how a worker process comes to be."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from netd.values.reactor import DelayedCall

PROGRAM: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "worker", "__main__.py")
"""The worker's program, by its path: the daemon imports nothing of it."""

PATIENCE: Final = 0.2
"""Seconds after a process ended in which its last output is still read before that is told."""

LONGEST_LINE: Final = 16 << 10
"""Bytes of a line that a worker writes past its log, to descriptor 1 or 2."""


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
        after which nothing is left to reap. Both are called in the reactor's thread.
        """
        ...


class DirectSpawner:
    """Starts an interpreter for each worker, by Twisted's spawnProcess."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def spawn(
        self,
        name: str,
        descriptors: Mapping[int, int],
        wrote: Callable[[str], None],
        ended: Callable[[str], None],
    ) -> Process:
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            protocol = _Spawned(self._reactor, wrote, ended)
            self._reactor.spawnProcess(
                protocol,
                sys.executable,
                command(name),
                env=None,
                childFDs={0: nothing, 1: "r", 2: "r", **descriptors},
            )
        finally:
            os.close(nothing)
        return protocol


class _Spawned(ProcessProtocol):
    """A process that spawnProcess started."""

    def __init__(
        self, reactor: Any, wrote: Callable[[str], None], ended: Callable[[str], None]
    ) -> None:
        self._reactor = reactor
        self._patience: DelayedCall | None = None
        self._output = {1: _Lines(wrote), 2: _Lines(wrote)}
        self._ended = ended
        self.pid = 0

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.pid = self.transport.pid or 0

    def kill(self) -> None:
        if self.transport is not None and self.transport.pid is not None:
            self.transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803
        self._output[childFD].dataReceived(data)

    def processExited(self, reason: Failure) -> None:
        """Wait for what is left in the pipes, not for a program that holds them for long."""
        self._patience = self._reactor.callLater(PATIENCE, self._tell, _how(reason.value))

    def processEnded(self, reason: Failure) -> None:
        for lines in self._output.values():
            lines.finish()
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
            self._tell(_how(reason.value))

    def _tell(self, how: str) -> None:
        self._ended(how)


class _Lines(LineReceiver):
    """Cuts output into lines; one that is too long comes in pieces."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE

    def __init__(self, wrote: Callable[[str], None]) -> None:
        self._wrote = wrote

    def lineReceived(self, line: bytes) -> None:
        self._wrote(line.decode(errors="replace"))

    def lineLengthExceeded(self, line: bytes) -> None:
        self._wrote(line.decode(errors="replace"))

    def finish(self) -> None:
        """What is left has no end, and is a line all the same."""
        rest = self.clearLineBuffer()
        if rest:
            self.lineReceived(rest)


def _how(reason: Any) -> str:
    if isinstance(reason, ProcessDone):
        return "status 0"
    if reason.signal is not None:
        return f"signal {signal.Signals(reason.signal).name}"
    return f"status {reason.exitCode}"
