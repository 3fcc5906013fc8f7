"""Twisted's ordinary transports for connections, which tell of their end, and send sooner."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from fcntl import ioctl
from socket import NI_NUMERICHOST, NI_NUMERICSERV, getnameinfo
from termios import TIOCOUTQ
from typing import Any, Final

from twisted.internet import error, main, tcp, unix
from twisted.internet.address import IPv6Address
from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.python.log import callWithLogger

from netd.execution.accounts import Accounts
from netd.execution.hangups import Hangups
from netd.execution.overdue import overdue
from netd.execution.sources import Taken
from netd.execution.traffic import Traffic, traffic
from netd.values.scoreboard import Slot

GONE: Final = "gone"
"""Why a client is not served that went while its filter was thinking."""

NO_PROTOCOL: Final = "no-protocol"
"""Why a client is not served for which ``buildProtocol`` has returned None."""

Build = Callable[["StreamTransport"], IProtocol | None]
"""Makes the protocol for a connection; None refuses it. What it raises is logged."""

_ENDINGS: Final[dict[type[BaseException], Failure]] = {
    error.ConnectionDone: Failure(main.CONNECTION_DONE),
    error.ConnectionLost: Failure(main.CONNECTION_LOST),
}
"""As in Twisted's reactor, because a Failure takes as long to make as half a connection."""


class Sending:
    """Sends what connections have written, at the end of the reactor's turn.

    Twisted asks the kernel first whether there is room, which there nearly always is: two
    system calls and a turn for each connection. All at once, because a client that is awake
    for the first costs little for the next ones.
    """

    def __init__(self, service: str, reactor: Any) -> None:
        self._service = service
        self._reactor = reactor
        self._queue: list[StreamTransport] = []

    def add(self, transport: StreamTransport) -> None:
        """Call its ``send`` soon."""
        if not self._queue:
            self._reactor.callLater(0, callWithLogger, self, self._send_all)
        self._queue.append(transport)

    def logPrefix(self) -> str:
        """The service: what its code says meanwhile is said by it."""
        return self._service

    def _send_all(self) -> None:
        queue, self._queue = self._queue, []
        for transport in queue:
            try:
                transport.send()
            except BaseException as error:  # no memory, or a bug of ours
                transport.end(error)


class Place:
    """What the connections of one listener have in common. In the thread of *reactor*."""

    __slots__ = ("accounts", "hangups", "name", "open", "reactor", "sending", "service")

    def __init__(self, service: str, name: str, accounts: Accounts, reactor: Any) -> None:
        """*name* is the transport's word for the log."""
        self.service = service
        self.name = name
        self.accounts = accounts
        self.reactor = reactor
        self.sending = Sending(service, reactor)
        self.hangups = Hangups(service, reactor)
        self.open: set[StreamTransport] = set()
        """Those that have a protocol, and are connected."""


class StreamTransport(tcp.Server):
    """Twisted's transport of a TCP connection, which tells the accounts of its end.

    What a protocol's method raises ends its connection, and is logged here with the client.
    What is written is sent at the end of the reactor's turn (Sending).
    """

    def __init__(self, taken: Taken, slot: Slot, since: float, place: Place, number: int) -> None:
        tcp.Connection.__init__(self, taken.request, _NOBODY, place.reactor)
        self.server = None  # type: ignore[assignment]
        self._place = place
        self.sessionno = number
        self.client = taken.client_address
        self.taken = taken
        self._slot = slot
        self._since = since
        self._verdict: str | None = None
        self._is_queued = False
        self._is_watched = False
        self._is_paused = False
        self._has_finished = False
        self._holds = 1
        self._carried: Traffic = (0, 0)
        self.connected = 1
        self._name()

    def _name(self) -> None:
        """Set what Twisted's getPeer() looks at."""
        if len(self.client) == 4:
            self._addressType = IPv6Address
            self.client = _with_scope(self.client)
        self.hostname = self.client[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} #{self.sessionno} of {self.taken.client}>"

    def logPrefix(self) -> str:
        """The service: what is logged while its code runs is said by it."""
        return self._place.service

    # From taken to served.

    def open(self, build: Build) -> None:
        """Make the protocol and connect it. Raises nothing."""
        self._slot.served += 1
        try:
            protocol = build(self)
        except BaseException as error:
            self.say_raised("buildProtocol", error)
            self._close()
            return
        if protocol is None:
            self._slot.served -= 1
            self.refuse(NO_PROTOCOL)
            return
        self._verdict = "served"
        self._place.open.add(self)
        self.protocol = protocol
        try:
            self.reactor.addReader(self)
            protocol.makeConnection(self)
        except BaseException as error:
            self.fail("the protocol", error)

    def refuse(self, reason: str) -> None:
        """Close the connection without a protocol; *reason* is for the log.

        What a filter has written is sent first.
        """
        self._slot.refused += 1
        self._verdict = f"refused: {reason}"
        if (self.dataBuffer or self._tempDataLen) and not self._aborting:
            self.loseConnection()  # type: ignore[no-untyped-call]
        else:
            self._close()

    def is_leaving(self) -> bool:
        """Whether somebody has closed the connection, or has said that it is to be closed."""
        return bool(self.disconnected or self.disconnecting or self._aborting)

    def _close(self) -> None:
        if not self.disconnected:
            self.connectionLost(_ENDINGS[error.ConnectionDone])

    # What the user's code does.

    def startReading(self) -> None:
        if self.protocol is not _NOBODY:  # not for a filter: what is read would be lost
            self.reactor.addReader(self)

    def startWriting(self) -> None:
        if not (self._is_queued or self._is_watched):
            self._is_queued = True
            self._place.sending.add(self)

    def stopWriting(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self.reactor.removeWriter(self)

    def send(self) -> None:
        """Send what is waiting, and close if that is waiting; watch for room for the rest."""
        self._is_queued = False
        why = self.doWrite()
        if why is not None:
            self.end(why)
        elif self.dataBuffer and not (self._is_queued or self.disconnected or self._aborting):
            self._is_watched = True
            self.reactor.addWriter(self)

    def end(self, why: BaseException) -> None:
        """The connection is over, because of *why*."""
        if not self.disconnected:
            self.connectionLost(_ENDINGS.get(type(why)) or Failure(why))

    def _dataReceived(self, data: bytes | None) -> Any:
        if not data:
            return main.CONNECTION_DONE
        try:
            self.protocol.dataReceived(data)
        except BaseException as error:
            self.fail("the protocol", error)
        return None

    def doWrite(self) -> Any:
        if self.disconnected:  # by doRead, of the same event
            return None
        try:
            return super().doWrite()  # type: ignore[no-untyped-call]
        except BaseException as error:
            self.fail("the producer", error)
        return None

    def readConnectionLost(self, reason: Failure) -> None:
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self.connectionLost(reason)
            return
        self._has_finished = True
        try:
            protocol.readConnectionLost()
        except BaseException as error:
            self.fail("the protocol", error)
        self._watch_for_hangup()

    def pauseProducing(self) -> None:
        super().pauseProducing()  # type: ignore[no-untyped-call]
        self._watch_for_hangup()

    def resumeProducing(self) -> None:
        if self._has_finished:  # it would be told so again
            return
        if self._is_paused:
            self._forget_hangup()
        super().resumeProducing()  # type: ignore[no-untyped-call]

    def _watch_for_hangup(self) -> None:
        if self.connected:
            self._is_paused = True
            self._place.hangups.watch(self)

    def _forget_hangup(self) -> None:
        self._is_paused = False
        self._place.hangups.forget(self)

    def hung_up(self, *, broken: bool) -> None:
        """Nobody reads, and both directions have ended.

        If *broken*, or if everything has been read and there could still be an answer, the
        client has gone.
        """
        self._is_paused = False
        if broken or (self._has_finished and not self._writeDisconnected):
            self.end(main.CONNECTION_LOST)

    def _closeWriteConnection(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(1)
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            return
        try:
            protocol.writeConnectionLost()
        except BaseException as error:
            self.fail("the protocol", error)

    def pending(self) -> int:
        """Bytes that the client has not taken: those here, and the kernel's (tcp(7), TIOCOUTQ)."""
        queued = array("i", [0])
        ioctl(self.fileno(), TIOCOUTQ, queued)
        return len(self.dataBuffer) - self.offset + self._tempDataLen + queued[0]

    # The end.

    def connectionLost(self, reason: Failure) -> None:
        if self.disconnected:
            return
        self._carried = traffic(self.socket)
        self._place.open.discard(self)
        if self._is_paused:
            self._forget_hangup()
        try:
            super().connectionLost(reason)
        except BaseException as error:
            self.say_raised("the protocol", error)
            if hasattr(self, "socket"):  # a producer's stopProducing: the socket is still open
                self.producer = None
                with suppress(BaseException):
                    super().connectionLost(reason)
        self.release()

    def hold(self) -> None:
        """Somebody serves the connection, beside the protocol: it ends when he says so, too."""
        self._holds += 1

    def release(self) -> None:
        """Who said ``hold`` is done, or the connection is closed: the last one logs the end."""
        self._holds -= 1
        if not self._holds:
            if self._verdict is None:
                self._slot.refused += 1
                self._verdict = f"refused: {GONE}"
            place, client = self._place, self.taken.client
            place.accounts.log(place.name, client, self._verdict, self._since, self._carried)
            place.accounts.leave(self._slot)

    def fail(self, what: str, error: BaseException) -> None:
        """Log what the user's code has raised, and end the connection."""
        self.say_raised(what, error)
        self.end(error)

    def say_raised(self, what: str, error: BaseException) -> None:
        """Log what the user's code has raised; the request has failed."""
        self._fail()
        place = self._place
        place.accounts.say_raised(place.name, self.taken.client, what, error)

    def _fail(self) -> None:
        if self._verdict != "failed":
            self._verdict = "failed"
            self._slot.failed += 1

    def say_overdue(self, where: str, seconds: float) -> None:
        """The handler has run for too long, and was at *where*; the request has failed."""
        self._fail()
        self._place.accounts.say("error", overdue(self.taken.client, seconds, where))

    def say_lost(self) -> None:
        """The client has gone before it was served to the end."""
        if self._verdict == "served":
            self._verdict = "lost"


class UnixTransport(StreamTransport, unix.Server):
    """Twisted's transport of a connection to a Unix socket, which passes descriptors, too."""

    def _name(self) -> None:
        self._sendmsgQueue: list[int] = []
        self.client = (self.client, None)
        self.hostname = self.client[0]

    def doRead(self) -> Any:
        try:
            return super().doRead()  # type: ignore[no-untyped-call]
        except BaseException as error:
            self.fail("the protocol", error)
        return None

    def _ancillaryLevelSOLSOCKETTypeSCMRIGHTS(self, packed: bytes) -> None:
        """Hand received descriptors over; those that the protocol did not get to are closed."""
        descriptors = array("i", packed)
        if not IFileDescriptorReceiver.providedBy(self.protocol):
            _close_all(descriptors)
            return
        while descriptors:
            try:
                self.protocol.fileDescriptorReceived(descriptors.pop(0))
            except BaseException:
                _close_all(descriptors)
                raise


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _with_scope(client: tuple[Any, ...]) -> tuple[Any, ...]:
    """An IPv6 address as Twisted has it: with the link's name where it is one of a link."""
    if not client[3]:
        return client
    try:
        host, _ = getnameinfo(client, NI_NUMERICHOST | NI_NUMERICSERV)
    except OSError:  # the link has gone in the meantime
        host = f"{client[0]}%{client[3]}"
    return (host, *client[1:])


_NOBODY: Final = Protocol()
"""The protocol of a connection that has none yet, or never gets one."""
