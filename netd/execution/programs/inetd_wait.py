"""Programs that get the listening socket and accept from it themselves: inetd's ``wait``.

netd watches the socket until a client connects or sends. Then it starts the program with the
socket as standard input and output, and watches it again when the program has ended. In the
reactor's thread.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.admission.lists import AccessLists
from netd.core.backoff import Backoff
from netd.core.exit_status import ending
from netd.core.output_lines import Lines
from netd.execution.outcome import FAILED, SERVED
from netd.execution.programs.environment import environment_of
from netd.execution.programs.spawn import Running, read_last, read_some, start
from netd.ipc.scoreboard import WorkerBlock
from netd.model.address import Transport
from netd.model.service import Program

Say = Callable[[str, str], None]
"""Given a level and a text for the log."""


@dataclass(frozen=True)
class WaitListener:
    """A listener that a program accepts from."""

    transport: Transport
    socket: socket.socket
    block: WorkerBlock
    number: int = 0
    """Its index in the service's ``listen``."""


class InetdWaitPrograms:
    """One program at a time for each listener of a service."""

    def __init__(self, listeners: list[InetdWaitProgram]) -> None:
        self._listeners = listeners
        self._stopped: Callable[[], None] | None = None

    def start(self, accepting: bool = True) -> None:
        """Watch the listeners; without *accepting*, only after ``resume``."""
        if accepting:
            self.resume()

    def suspend(self) -> None:
        """Start no more programs, until ``resume``."""
        for listener in self._listeners:
            listener.watch(False)

    def resume(self) -> None:
        """Start programs again."""
        for listener in self._listeners:
            listener.watch(True)

    def stop(self, stopped: Callable[[], None]) -> None:
        """Ask the programs to end (SIGTERM); *stopped* is called when all have ended."""
        busy = set(self._listeners)

        def ended(listener: InetdWaitProgram) -> None:
            busy.discard(listener)
            if not busy:
                stopped()

        for listener in self._listeners:
            listener.end(ended)

    def recheck(self, lists: AccessLists) -> None:
        """Nothing to do: netd does not know which clients a program serves."""

    def disconnect(self, connection: int) -> None:
        """Nothing to do: a connection is the program's own."""

    def kill(self) -> None:
        """End the programs immediately (SIGKILL)."""
        for listener in self._listeners:
            listener.kill()


@implementer(IReadDescriptor)
class InetdWaitProgram:
    """A listener, and the program that has it, which the scoreboard lists as one connection."""

    def __init__(
        self,
        program: Program,
        listener: WaitListener,
        environment: Mapping[str, str],
        reactor: Any,
        say: Say,
    ) -> None:
        self.fileno = listener.socket.fileno
        self._program = program
        local = listener.socket.getsockname()
        self._environment = environment_of(listener.transport, None, local, environment)
        self._listener = listener.number
        self._block = listener.block
        self._number: int | None = None
        """The ID of the running program in the scoreboard."""
        self._reactor = reactor
        self._say = say
        self._backoff = Backoff()
        self._watching = False
        self._running: _Followed | None = None
        self._told_to_end: Callable[[InetdWaitProgram], None] | None = None

    def watch(self, on: bool) -> None:
        """With *on*, start the program when a client comes."""
        self._watching = on
        self._watch()

    def _watch(self) -> None:
        if self._watching and self._running is None:
            self._reactor.addReader(self)
        else:
            self._reactor.removeReader(self)

    def doRead(self) -> None:
        """A client has come: start the program."""
        self._reactor.removeReader(self)
        try:
            running = start(self._program, self.fileno(), self._environment)
        except OSError as error:
            self._say("error", f"{self._program} cannot be started: {error.strerror}")
            self._reactor.callLater(self._backoff.died(0.0), self._watch)
            return
        client = f"pid:{running.pid}"
        self._number = self._block.begin(0, self._listener, None, client, None, time.monotonic())
        self._running = _Followed(running, self._reactor, self._say, self._ended)

    def _ended(self, code: int, seconds: float) -> None:
        """The program has ended: log that, and watch the listener again.

        A program that ends without serving a client would be started again immediately, without
        end, so it is started with increasing delay. It has served one if no client waits now.
        """
        # All programs of a service are followed by the reactor's thread, which has the first lane.
        lane = self._block.lanes[0]
        (SERVED if code == 0 else FAILED).add_to(lane)
        lane.publish()
        if self._number is not None:
            self._block.end(self._number)
        self._running = None
        self._say("info", f"{self._program} ended with {ending(code)} after {seconds:.3f} s")
        if self._told_to_end is not None:
            self._told_to_end(self)
        else:
            served = 0 if self._client_waits() else 1
            self._reactor.callLater(self._backoff.died(seconds, served), self._watch)

    def _client_waits(self) -> bool:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def end(self, ended: Callable[[InetdWaitProgram], None]) -> None:
        """Ask the program to end (SIGTERM); *ended* is called when it has."""
        self.watch(False)
        self._told_to_end = ended
        if self._running is not None:
            self._running.running.end(signal.SIGTERM)
        else:
            self._reactor.callLater(0, ended, self)

    def kill(self) -> None:
        """End the program immediately (SIGKILL)."""
        if self._running is not None:
            self._running.running.end(signal.SIGKILL)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "netd"


class _Followed:
    """A running program. Logs its output, reports its end, and closes its descriptors."""

    def __init__(
        self, running: Running, reactor: Any, say: Say, ended: Callable[[int, float], None]
    ) -> None:
        self.running = running
        self._reactor = reactor
        self._ended = ended
        self._began = time.monotonic()
        self._lines = Lines(lambda line: say("warn", line))
        self._error = _Reader(running.error, self._read)
        self._end = _Reader(running.pidfd, self._finish)
        reactor.addReader(self._error)
        reactor.addReader(self._end)

    def _read(self) -> None:
        if not read_some(self.running.error, self._lines):
            self._reactor.removeReader(self._error)

    def _finish(self) -> None:
        self._reactor.removeReader(self._error)
        self._reactor.removeReader(self._end)
        read_last(self.running.error, self._lines)
        code = self.running.reap()
        self.running.close()
        self._ended(code, time.monotonic() - self._began)


@implementer(IReadDescriptor)
class _Reader:
    """A descriptor that the reactor watches, and what to do when it can be read."""

    def __init__(self, descriptor: int, ready: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self.doRead = ready

    def fileno(self) -> int:
        return self._descriptor

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "netd"
