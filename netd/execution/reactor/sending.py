"""What connections have written is sent at the end of the reactor's turn."""

from __future__ import annotations

from array import array
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any, Final, Protocol

from twisted.internet import error, main
from twisted.python.failure import Failure
from twisted.python.log import callWithLogger

from netd.execution.reactor.addressing import AddressedServer
from netd.execution.reactor.hangups import Hangups
from netd.execution.reactor.tls import TlsTransport

ENDINGS: Final[dict[type[BaseException], Failure]] = {
    error.ConnectionDone: Failure(main.CONNECTION_DONE),
    error.ConnectionLost: Failure(main.CONNECTION_LOST),
}
"""As in Twisted's reactor, because a Failure takes as long to make as half a connection."""


class Sender(Protocol):
    """A connection that has something to send."""

    def send(self) -> None:
        """Send what is waiting."""

    def end(self, why: BaseException) -> None:
        """The connection is over, because of *why*."""


class Sending:
    """Sends what connections have written, at the end of the reactor's turn.

    Twisted asks the kernel first whether there is room, which there nearly always is: two
    system calls and a turn for each connection. All at once, because a client that is awake
    for the first costs little for the next ones.
    """

    def __init__(self, service: str, reactor: Any) -> None:
        self._service = service
        self._reactor = reactor
        self._queue: list[Sender] = []

    def add(self, transport: Sender) -> None:
        """Call its ``send`` soon."""
        if not self._queue:
            self._reactor.callLater(0, callWithLogger, self, self._send_all)
        self._queue.append(transport)

    def logPrefix(self) -> str:
        """The service, under whose name Twisted logs while its code runs."""
        return self._service

    def _send_all(self) -> None:
        queue, self._queue = self._queue, []
        for transport in queue:
            try:
                transport.send()
            # No memory, or a bug of ours. Not only Exception: a user's producer may be paused by
            # what is sent, and must not keep the others from being sent.
            except BaseException as error:
                transport.end(error)


class SharedByConnections(Protocol):
    """What these transports need of their listener."""

    service: str
    sending: Sending
    hangups: Hangups


class SendingServer(AddressedServer):
    """Twisted's transport, which sends at the end of the reactor's turn."""

    layer: TlsTransport | None = None
    _place: SharedByConnections
    _is_queued: bool
    _is_watched: bool

    def logPrefix(self) -> str:
        """The service, under whose name Twisted logs while its code runs."""
        return self._place.service

    def startWriting(self) -> None:
        if not (self._is_queued or self._is_watched):
            self._is_queued = True
            self._place.sending.add(self)

    def will_send(self) -> bool:
        """Whether ``send`` will be called at the end of this turn; it is not while there is no
        room."""
        if self._is_watched:
            return False
        self.startWriting()
        return True

    def stopWriting(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self.reactor.removeWriter(self)

    def send(self) -> None:
        """Send what is waiting, and close if that is waiting; watch for room for the rest."""
        if self.layer is not None:
            self.layer.encrypt()
        self._is_queued = False
        why = self.doWrite()  # type: ignore[no-untyped-call]
        if why is not None:
            self.end(why)
        elif self.dataBuffer and not (self._is_queued or self.disconnected or self._aborting):
            self._is_watched = True
            self.reactor.addWriter(self)

    def end(self, why: BaseException) -> None:
        """The connection is over, because of *why*."""
        if not self.disconnected:
            self.connectionLost(ENDINGS.get(type(why)) or Failure(why))

    def pending(self) -> int:
        """Bytes that the client has not taken: those here, and the kernel's (tcp(7), TIOCOUTQ)."""
        queued = array("i", [0])
        ioctl(self.fileno(), TIOCOUTQ, queued)
        return len(self.dataBuffer) - self.offset + self._tempDataLen + queued[0]
