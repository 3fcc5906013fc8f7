"""Starting workers by a fork server: milliseconds and a few megabytes each."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from netd.daemon.spawning import LONGEST_LINE, Lines, Process, command
from netd.values.forking import (
    MOST_DESCRIPTORS,
    Ended,
    Fork,
    Forked,
    NotForked,
    receive,
    send,
)

log = Logger()

RESTART_DELAY: Final = 0.1
"""Seconds before a fork server that died is replaced: what ended it may still be there."""

STATUS_PATIENCE: Final = 0.5
"""Seconds that a fork server has to say how a process ended, which is known to have ended."""


class ForkSpawner:
    """Has workers forked by a process of its own, which it replaces when that dies.

    Workers live on without their fork server; how they end is then not known, but that they have.
    In the reactor's thread, after twistd has forked.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._server: _Server | None = None
        self._next = 0
        self._workers: dict[int, _Worker] = {}

    def spawn(
        self,
        name: str,
        descriptors: Mapping[int, int],
        wrote: Callable[[str], None],
        ended: Callable[[str], None],
    ) -> Process:
        """See ``Spawner``. Raises OSError when the fork server cannot be asked."""
        if len(descriptors) + 2 > MOST_DESCRIPTORS:
            raise OSError(f"more than {MOST_DESCRIPTORS - 3} listeners in one worker")
        if self._server is None:
            self._server = _Server(self._reactor, self._heard, self._lost)
        self._next += 1
        worker = _Worker(self._reactor, self._next, wrote, ended, self._forget)
        output = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
        try:
            all_of_them = {**descriptors, 1: output[0][1], 2: output[1][1]}
            order = Fork(worker.number, name, tuple(all_of_them))
            self._server.ask(order, tuple(all_of_them.values()))
        except OSError:
            for ours, _ in output:
                os.close(ours)
            raise
        finally:
            for _, theirs in output:
                os.close(theirs)
        for ours, _ in output:
            worker.read(ours)
        self._workers[worker.number] = worker
        return worker

    def _heard(self, packet: object, descriptors: list[int]) -> None:
        """The fork server said something."""
        number = getattr(packet, "number", None)
        worker = self._workers.get(number) if isinstance(number, int) else None
        if worker is not None and isinstance(packet, Forked) and descriptors:
            worker.started(packet.pid, descriptors.pop())
        elif worker is not None and isinstance(packet, Ended):
            worker.finished(_how(packet.code))
        elif worker is not None and isinstance(packet, NotForked):
            worker.finished(f"no process: {packet.reason}")
        for descriptor in descriptors:
            os.close(descriptor)

    def _lost(self, how: str) -> None:
        """The fork server has gone; the next spawn starts another."""
        self._server = None
        log.error("the fork server ended with {how}; workers go on", how=how)
        for worker in list(self._workers.values()):
            worker.orphaned()

    def _forget(self, worker: _Worker) -> None:
        del self._workers[worker.number]


class _Server(ProcessProtocol):
    """The fork server's process, and the socket to it."""

    def __init__(
        self,
        reactor: Any,
        heard: Callable[[object, list[int]], None],
        lost: Callable[[str], None],
    ) -> None:
        self._lost = lost
        self._lines = Lines(lambda line: log.warn("fork server: {line}", line=line))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection = ours
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            reactor.spawnProcess(
                self,
                sys.executable,
                command("forkserver"),
                env=None,
                childFDs={0: nothing, 1: "r", 2: "r", 3: theirs.fileno()},
            )
        finally:
            os.close(nothing)
            theirs.close()
        self._reader = _Packets(reactor, ours, heard)
        self._reader.startReading()

    def ask(self, order: Fork, descriptors: tuple[int, ...]) -> None:
        """Send an order. Raises OSError when the server has gone, or is not reading."""
        send(self._connection, order, descriptors)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803
        self._lines.dataReceived(data)

    def processExited(self, reason: Failure) -> None:
        self._reader.close()
        self._lost(str(reason.value))


class _Packets(FileDescriptor):
    """Reads the fork server's packets."""

    def __init__(
        self, reactor: Any, connection: socket.socket, heard: Callable[[object, list[int]], None]
    ) -> None:
        super().__init__(reactor)
        connection.setblocking(False)
        self._connection = connection
        self._heard = heard

    def fileno(self) -> int:
        return self._connection.fileno()

    def doRead(self) -> None:
        try:
            while (received := receive(self._connection)) is not None:
                self._heard(*received)
        except BlockingIOError:
            return
        except OSError as error:
            log.error("cannot read from the fork server: {error}", error=error)
        self.stopReading()

    def close(self) -> None:
        """Read what is left, and give the socket back."""
        self.doRead()
        self.stopReading()
        self._connection.close()


@dataclass
class _Worker:
    """A process that the fork server was asked for."""

    reactor: Any
    number: int
    wrote: Callable[[str], None]
    ended: Callable[[str], None]
    forget: Callable[[_Worker], None]
    pid: int = 0
    _watch: _Gone | None = None
    _outputs: list[_Output] = field(default_factory=list)
    _killed: bool = False
    _finished: bool = False

    def read(self, descriptor: int) -> None:
        """Read what the worker writes to *descriptor*, which is closed at its end."""
        output = _Output(self.reactor, descriptor, Lines(self.wrote))
        self._outputs.append(output)
        output.startReading()

    def started(self, pid: int, pidfd: int) -> None:
        """The process is there."""
        self.pid = pid
        self._watch = _Gone(self.reactor, pidfd, self._gone)
        self._watch.startReading()
        if self._killed:
            self.kill()

    def kill(self) -> None:
        """See ``Process``; also before it is there."""
        self._killed = True
        if self._watch is not None:
            self._watch.kill()

    def orphaned(self) -> None:
        """The fork server has gone: a process that never came to be will not."""
        if self._watch is None:
            self.finished("no process: the fork server has gone")

    def _gone(self) -> None:
        """The process has ended; the fork server says how, if it is still there."""
        self.reactor.callLater(STATUS_PATIENCE, self.finished, "a status that nobody knows")

    def finished(self, how: str) -> None:
        """Say how it ended, once, after the last of its output."""
        if self._finished:
            return
        self._finished = True
        if self._watch is not None:
            self._watch.close()
        for output in self._outputs:
            output.finish()
        self.forget(self)
        self.ended(how)


class _Gone(FileDescriptor):
    """A pidfd: readable when its process has ended, and a way to kill that and no other one."""

    def __init__(self, reactor: Any, pidfd: int, gone: Callable[[], None]) -> None:
        super().__init__(reactor)
        self._pidfd = pidfd
        self._gone = gone

    def fileno(self) -> int:
        return self._pidfd

    def doRead(self) -> None:
        self.stopReading()
        self._gone()

    def kill(self) -> None:
        """End the process at once."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Give the pidfd back."""
        self.stopReading()
        os.close(self._pidfd)
        self._pidfd = -1


class _Output(FileDescriptor):
    """The end of a pipe that a worker writes to."""

    def __init__(self, reactor: Any, descriptor: int, lines: Lines) -> None:
        super().__init__(reactor)
        setNonBlocking(descriptor)
        self._descriptor = descriptor
        self._lines = lines

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> object:
        return readFromFD(self._descriptor, self._lines.dataReceived)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._close()

    def finish(self) -> None:
        """The process has ended: read what is left, and no more of a program it left behind."""
        self.stopReading()
        with suppress(BlockingIOError):
            while self._descriptor >= 0 and (data := os.read(self._descriptor, LONGEST_LINE)):
                self._lines.dataReceived(data)
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._lines.finish()


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
