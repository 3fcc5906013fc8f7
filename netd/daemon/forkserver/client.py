"""The fork server's process as the daemon sees it, and the socket to it."""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from netd.core.output_lines import Lines
from netd.core.reactor import ForkingReactor, PollingReactor, fd_set
from netd.core.timer import Timer
from netd.daemon.forkserver.spawn import command, how_ended
from netd.ipc.forkserver import Fork, Forked, ForkFailed, Packet, PassDescriptors, receive, send

log = Logger()

START_DEADLINE: Final = 60.0
"""Seconds that a new fork server has for its first answer. Its imports take a quarter of a second
on an idle machine."""

ANSWER_DEADLINE: Final = 5.0
"""Seconds that it has for each later answer, which takes milliseconds."""


class ForkServer(ProcessProtocol):
    """Starts a fork server, sends it orders and kills it if it does not answer.

    *received* gets each packet of it with its descriptors, which it has to close. *ended* gets how
    the process ended. In the reactor's thread. The constructor raises OSError.
    """

    def __init__(
        self,
        reactor: ForkingReactor,
        received: Callable[[Packet, list[int]], None],
        ended: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._received = received
        self._ended = ended
        self._lines = Lines(lambda line: log.warn("fork server: {line}", line=line))
        self._unanswered = 0
        self._deadline = Timer(reactor)
        self._patience = START_DEADLINE
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._packets = _Packets(reactor, ours, self._answered, self._not_sent)
        with theirs, open(os.devnull, "rb") as nothing:
            try:
                reactor.spawnProcess(
                    self,
                    sys.executable,
                    command("forkserver"),
                    env=None,
                    childFDs={0: nothing.fileno(), 1: "r", 2: "r", 3: theirs.fileno()},
                )
            except OSError:
                ours.close()
                raise
        self._packets.startReading()

    def ask(self, orders: Iterable[tuple[PassDescriptors | Fork, tuple[int, ...]]]) -> None:
        """Have a process forked; *received* gets the answer later. Descriptors stay open here."""
        self._unanswered += 1
        if self._unanswered == 1:
            self._set_deadline()
        for packet, descriptors in orders:
            self._packets.send(packet, descriptors)

    def close(self) -> None:
        """Send no more orders. It exits at the end of the socket."""
        self._deadline.clear()
        self._packets.close()

    def _answered(self, packet: Packet, descriptors: list[int]) -> None:
        if isinstance(packet, Forked | ForkFailed):
            self._patience = ANSWER_DEADLINE
            self._unanswered -= 1
            self._set_deadline()
        self._received(packet, descriptors)

    def _not_sent(self, order: PassDescriptors | Fork, error: OSError) -> None:
        # Each order has one answer. The fork server refuses a Fork whose Give it did not get, so
        # that is the answer to the Give, too.
        if isinstance(order, Fork):
            answer = ForkFailed(order.number, error.strerror or str(error))
            # Later, because ``ask`` has not returned, and its caller does not know the process yet.
            self._reactor.callLater(0, self._answered, answer, [])

    def _set_deadline(self) -> None:
        if self._unanswered:
            self._deadline.set(self._patience, self._does_not_answer)
        else:
            self._deadline.clear()

    def _does_not_answer(self) -> None:
        log.error(
            "the fork server does not answer within {seconds:g} s; it is ended",
            seconds=self._patience,
        )
        assert self.transport is not None
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    # ProcessProtocol.

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803
        self._lines.dataReceived(data)

    def processExited(self, reason: Failure) -> None:
        # Packets that it sent before its end count: the processes that they announce exist.
        self._packets.doRead()
        self.close()
        self._lines.finish()
        self._ended(how_ended(reason))


class _Packets(FileDescriptor):
    """The daemon's end of the socket. It never blocks, and keeps what cannot be sent yet.

    Its queue is bounded by the number of workers, each of which waits for one answer.
    """

    def __init__(
        self,
        reactor: PollingReactor,
        connection: socket.socket,
        received: Callable[[Packet, list[int]], None],
        not_sent: Callable[[PassDescriptors | Fork, OSError], None],
    ) -> None:
        super().__init__(fd_set(reactor))
        connection.setblocking(False)
        self._connection = connection
        self._received = received
        self._not_sent = not_sent
        self._unsent: deque[tuple[PassDescriptors | Fork, tuple[int, ...]]] = deque()
        """Packets, each with copies of its descriptors: the caller may close its own."""

    def fileno(self) -> int:
        return self._connection.fileno()

    def doRead(self) -> None:
        """Pass on the packets that have come."""
        # Whatever a packet leads to may close this.
        while self._connection.fileno() >= 0:
            try:
                packet = receive(self._connection)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # The fork server has ended with orders unread. The kernel reports that once, before
                # the packets that are still to be read.
                continue
            if packet is None:
                # The fork server ends, which processExited reports.
                self.stopReading()
                return
            self._received(*packet)

    def send(self, packet: PassDescriptors | Fork, descriptors: tuple[int, ...]) -> None:
        """Send a packet, now or when there is room."""
        if self._unsent or not self._sent(packet, descriptors):
            try:
                self._unsent.append((packet, _copies(descriptors)))
            except OSError as error:
                self._not_sent(packet, error)
            self.startWriting()

    def doWrite(self) -> None:
        while self._unsent:
            packet, descriptors = self._unsent[0]
            if not self._sent(packet, descriptors):
                return
            self._unsent.popleft()
            _close(descriptors)
        self.stopWriting()

    def _sent(self, packet: PassDescriptors | Fork, descriptors: tuple[int, ...]) -> bool:
        """Send a packet. Return False if there is no room."""
        try:
            send(self._connection, packet, descriptors)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            # The fork server has ended, so processExited answers this order with all others.
            pass
        except OSError as error:
            self._not_sent(packet, error)
        return True

    def close(self) -> None:
        """Close the socket, and the descriptors that were not sent."""
        self.stopReading()
        self.stopWriting()
        self._connection.close()
        while self._unsent:
            _close(self._unsent.popleft()[1])


def _copies(descriptors: Iterable[int]) -> tuple[int, ...]:
    """Copy all *descriptors*, or none. Raises OSError."""
    copies: list[int] = []
    try:
        for descriptor in descriptors:
            copies.append(os.dup(descriptor))
    except OSError:
        _close(copies)
        raise
    return tuple(copies)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
