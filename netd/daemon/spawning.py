"""Starting processes: the one place that knows how a worker process comes to be."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from netd.values.reactor import DelayedCall

PROGRAM: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "worker", "__main__.py")
"""The worker's program, by its path: the daemon imports nothing of it."""

PATIENCE: Final = 0.2
"""Seconds after a process ended in which its last output is still read before that is told."""

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
        self._output = {1: Lines(wrote), 2: Lines(wrote)}
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


def _how(reason: Any) -> str:
    if isinstance(reason, ProcessDone):
        return ending(0)
    return ending(reason.exitCode if reason.signal is None else -reason.signal)


def ending(code: int) -> str:
    """How a process ended, by its exit status, or the negative number of a signal."""
    if code >= 0:
        return f"status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have no name
        return f"signal {-code}"
