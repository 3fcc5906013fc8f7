"""The fork server's process, as the daemon sees it, and the socket to it."""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from netd.core.output_lines import Lines
from netd.core.reactor import DelayedCall
from netd.daemon.forkserver.spawn import command, how_ended
from netd.ipc.forkserver import Fork, Forked, ForkFailed, Packet, PassDescriptors, receive, send

log = Logger()

START_DEADLINE: Final = 60.0
"""Seconds that a new fork server has for its first answer: its imports take a quarter of one."""

ANSWER_DEADLINE: Final = 5.0
"""Seconds that a fork server has for each answer after that, which takes it milliseconds."""


class ForkServer(ProcessProtocol):
    """Starts a fork server, and speaks with it. In the reactor's thread.

    *heard* gets what it says, and the descriptors that came along, to close. *lost* gets how it
    ended. One that does not answer is killed. The constructor raises OSError.
    """

    def __init__(
        self,
        reactor: Any,
        heard: Callable[[Packet, list[int]], None],
        lost: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._heard = heard
        self._lost = lost
        self._lines = Lines(lambda line: log.warn("fork server: {line}", line=line))
        self._unanswered = 0
        self._deadline: DelayedCall | None = None
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
        """Have a process forked; *heard* gets the answer, later. The descriptors stay open here."""
        self._unanswered += 1
        if self._unanswered == 1:
            self._set_deadline()
        for packet, descriptors in orders:
            self._packets.send(packet, descriptors)

    def close(self) -> None:
        """Ask it for nothing more; it leaves by itself."""
        self._clear_deadline()
        self._packets.close()

    def _answered(self, packet: Packet, descriptors: list[int]) -> None:
        if isinstance(packet, Forked | ForkFailed):
            self._patience = ANSWER_DEADLINE
            self._unanswered -= 1
            self._set_deadline()
        self._heard(packet, descriptors)

    def _not_sent(self, order: PassDescriptors | Fork, error: OSError) -> None:
        # Without its descriptors a Fork is refused, so a Give says nothing of its own.
        if isinstance(order, Fork):
            answer = ForkFailed(order.number, error.strerror or str(error))
            # Later: who asks does not expect the answer yet.
            self._reactor.callLater(0, self._answered, answer, [])

    def _set_deadline(self) -> None:
        self._clear_deadline()
        if self._unanswered:
            self._deadline = self._reactor.callLater(self._patience, self._does_not_answer)

    def _clear_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

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
        # What it has said before counts: processes that it has announced are there.
        self._packets.doRead()
        self.close()
        self._lines.finish()
        self._lost(how_ended(reason))


class _Packets(FileDescriptor):
    """The daemon's end of the socket: never waits, and keeps what does not go out at once.

    What waits is bounded by the workers that there are to be, each of which waits for one answer.
    """

    def __init__(
        self,
        reactor: Any,
        connection: socket.socket,
        heard: Callable[[Packet, list[int]], None],
        not_sent: Callable[[PassDescriptors | Fork, OSError], None],
    ) -> None:
        super().__init__(reactor)
        connection.setblocking(False)
        self._connection = connection
        self._heard = heard
        self._not_sent = not_sent
        self._waiting: deque[tuple[PassDescriptors | Fork, tuple[int, ...]]] = deque()
        """With copies of the descriptors."""

    def fileno(self) -> int:
        return self._connection.fileno()

    def doRead(self) -> None:
        """Pass on what has come; who hears it may close this."""
        while self._connection.fileno() >= 0:
            try:
                received = receive(self._connection)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # It has gone with orders unread. That is said once, and before what it has said.
                continue
            if received is None:
                # It is about to end, if it has not, and its parent is told of that.
                self.stopReading()
                return
            self._heard(*received)

    def send(self, packet: PassDescriptors | Fork, descriptors: tuple[int, ...]) -> None:
        """Send a packet, now or when there is room."""
        if self._waiting or not self._sent(packet, descriptors):
            try:
                self._waiting.append((packet, _copies(descriptors)))
            except OSError as error:
                self._not_sent(packet, error)
            self.startWriting()

    def doWrite(self) -> None:
        while self._waiting:
            packet, descriptors = self._waiting[0]
            if not self._sent(packet, descriptors):
                return
            self._waiting.popleft()
            _close(descriptors)
        self.stopWriting()

    def _sent(self, packet: PassDescriptors | Fork, descriptors: tuple[int, ...]) -> bool:
        """Send; False when there is no room."""
        try:
            send(self._connection, packet, descriptors)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            # It has gone, which is told soon, of this order and all others.
            pass
        except OSError as error:
            self._not_sent(packet, error)
        return True

    def close(self) -> None:
        """Give the socket back, and what waits for it."""
        self.stopReading()
        self.stopWriting()
        self._connection.close()
        while self._waiting:
            _close(self._waiting.popleft()[1])


def _copies(descriptors: Iterable[int]) -> tuple[int, ...]:
    """Copies of all *descriptors*, or of none. Raises OSError."""
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
