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
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.python.log import callWithLogger

from netd.accept.first_bytes import GONE
from netd.execution.active_connections import ActiveConnections
from netd.execution.handler_timeout import overdue
from netd.execution.outcome import FAILED, LOST, SERVED, Outcome, refused
from netd.execution.reactor.accounts import Accounts
from netd.execution.reactor.hangups import Hangups
from netd.execution.reactor.starttls import StartTls
from netd.execution.reactor.tls import Tls, TlsTransport
from netd.execution.request import Request
from netd.listening.traffic import traffic
from netd.log.record import NOTHING
from netd.proxy.header import Header

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
            # No memory, or a bug of ours. Not only Exception: a user's producer may be paused by
            # what is sent, and must not keep the others from being sent.
            except BaseException as error:
                transport.end(error)


class ListenerContext:
    """What the connections of one listener have in common. In the thread of *reactor*."""

    __slots__ = (
        "accounts",
        "hangups",
        "name",
        "number",
        "open",
        "reactor",
        "record",
        "sending",
        "service",
        "tls",
    )

    def __init__(
        self,
        service: str,
        name: str,
        accounts: Accounts,
        reactor: Any,
        tls: Tls | None = None,
        number: int = 0,
    ) -> None:
        """*name* is the transport's word for the log; *tls* is there if the service has that.

        *number* is the listener's index in the service's ``listen``.
        """
        self.service = service
        self.name = name
        self.number = number
        self.record = accounts.recorder(name)
        self.accounts = accounts
        self.reactor = reactor
        self.sending = Sending(service, reactor)
        self.hangups = Hangups(service, reactor)
        self.tls = tls
        self.open = ActiveConnections(_request_of, self._expel)
        """Those that have a protocol, and are connected."""

    def _expel(self, transport: StreamTransport, why: str) -> None:
        """End a connection, and log why."""
        self.accounts.say("info", f"{transport.request.client}: {why}")
        transport.abortConnection()  # type: ignore[no-untyped-call]


def _request_of(transport: StreamTransport) -> Request:
    return transport.request


class StreamTransport(tcp.Server):
    """Twisted's transport of a TCP connection, which tells the accounts of its end.

    What a protocol's method raises ends its connection, and is logged here with the client.
    What is written is sent at the end of the reactor's turn (Sending). Where there is TLS,
    ``layer`` is the transport that the protocol knows, and the protocol of this one.

    *header* is what a proxy has said of the client: who is at which end.
    """

    layer: TlsTransport | None = None

    def __init__(
        self,
        request: Request,
        connection: int,
        since: float,
        place: ListenerContext,
        number: int,
        header: Header | None = None,
    ) -> None:
        tcp.Connection.__init__(self, request.raw, _NOBODY, place.reactor)
        self.server = None  # type: ignore[assignment]
        self._place = place
        self.sessionno = number
        self.client = request.client_address
        self.request = request
        self.connection = connection
        """Its ID in the scoreboard."""
        self.since = since
        self._outcome: Outcome | None = None
        self._is_queued = False
        self._is_watched = False
        self._is_paused = False
        self._has_finished = False
        self._is_truncated = False
        self._may_read = False
        self._header = header if header is not None and header.source is not None else None
        self._holds = 1
        self._carried = NOTHING
        self.connected = 1
        self._name()

    def _name(self) -> None:
        """Set what Twisted's getPeer() looks at."""
        if self._header is not None:  # which says all of it
            self.hostname = self.request.client
            return
        if len(self.client) == 4:
            self._addressType = IPv6Address
            self.client = _with_scope(self.client)
        self.hostname = self.client[0]

    def getPeer(self) -> Any:
        """The client; the real one, where a proxy has named it."""
        if self._header is not None:
            return _twisted_address(self._header.source)
        return super().getPeer()  # type: ignore[no-untyped-call]

    def getHost(self) -> Any:
        """Where the client has connected to, also where that was a proxy."""
        if self._header is not None:
            return _twisted_address(self._header.destination)
        return super().getHost()  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} #{self.sessionno} of {self.request.client}>"

    def logPrefix(self) -> str:
        """The service: what is logged while its code runs is said by it."""
        return self._place.service

    # From taken to served.

    def open(self, build: Build) -> None:
        """Make the protocol and connect it. Raises nothing."""
        try:
            protocol = build(self)
        except BaseException as error:
            self.say_raised("buildProtocol", error)
            self._close()
            return
        if protocol is None:
            self.refuse(NO_PROTOCOL)
            return
        self._outcome = SERVED
        self._place.open.add(self.connection, self)
        self._may_read = True
        try:
            self.reactor.addReader(self)
            if self.layer is not None:
                self.layer.connect(protocol)
            else:
                self.protocol = protocol
                protocol.makeConnection(self)
        except BaseException as error:
            self.fail("the protocol", error)

    def shake_hands(self, layer: TlsTransport) -> None:
        """Begin TLS, by *layer*, which tells of the end of the handshake. Raises nothing."""
        self.layer = layer
        self.protocol = layer
        try:
            layer.makeConnection(self)
            self._may_read = True
            self.reactor.addReader(self)
        except Exception as error:  # no memory, or a bug of ours; no user code runs here
            self.fail("TLS", error)

    def start_tls(self, go_ahead: bytes = b"") -> StartTls:
        """Send *go_ahead*, then go on by TLS with the service's table; the client speaks first.

        The protocol's ``transport`` is another one from now on. Raises LookupError where the
        service has no table, RuntimeError where the connection has TLS already, and ConnectionError
        where it is closing.
        """
        tls = self._place.tls
        if tls is None:
            raise LookupError("the service has no table [tls] to start TLS with")
        if self.layer is not None:
            raise RuntimeError("TLS has been started already")
        if self._has_finished or self.is_leaving():
            raise ConnectionResetError("the connection is closing")
        self.write(go_ahead)  # type: ignore[no-untyped-call]
        return StartTls(self, tls)

    def wait(self) -> None:
        """Read no more before ``open``; nobody reads yet where there is no TLS."""
        if self._may_read:
            self._may_read = False
            self.stopReading()  # type: ignore[no-untyped-call]

    @property
    def shown(self) -> Any:
        """The transport that protocols, handlers and filters know."""
        return self if self.layer is None else self.layer

    def refuse(self, reason: str, *, at_once: bool = False) -> None:
        """Close the connection without a protocol; *reason* is for the log.

        What a filter or TLS has written is sent first, unless that may take its time.
        """
        self._outcome = refused(reason)
        if self.layer is not None and not self._aborting:
            self.layer.encrypt()
        if (self.dataBuffer or self._tempDataLen) and not (at_once or self._aborting):
            self.loseConnection()  # type: ignore[no-untyped-call]
        else:
            self._close()

    def is_leaving(self) -> bool:
        """Whether somebody has closed the connection, or has said that it is to be closed."""
        if self.disconnected or self.disconnecting or self._aborting:
            return True
        return self.layer is not None and bool(self.layer.disconnecting)

    def _close(self) -> None:
        if not self.disconnected:
            self.connectionLost(_ENDINGS[error.ConnectionDone])

    # What the user's code does.

    def startReading(self) -> None:
        if self._may_read:  # not for a filter: what is read would be lost
            self.reactor.addReader(self)

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
        self._place.open.remove(self.connection, None)
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
        self.layer = None  # which holds this one
        self.release()

    def hold(self) -> None:
        """Somebody serves the connection, beside the protocol: it ends when he says so, too."""
        self._holds += 1

    def release(self) -> None:
        """Who said ``hold`` is done, or the connection is closed: the last one logs the end."""
        self._holds -= 1
        if not self._holds:
            outcome = self._outcome
            if outcome is None:
                outcome = refused(GONE)
            elif self._is_truncated:
                outcome = outcome.truncated()
            self._place.record(self.request.client, outcome, self.since, self._carried)
            self._place.accounts.end(self.connection)

    def fail(self, what: str, error: BaseException) -> None:
        """Log what the user's code has raised, and end the connection."""
        self.say_raised(what, error)
        self.end(error)

    def say_raised(self, what: str, error: BaseException) -> None:
        """Log what the user's code has raised; the request has failed."""
        self._outcome = FAILED
        place = self._place
        place.accounts.say_raised(place.name, self.request.client, what, error)

    def say_overdue(self, where: str, seconds: float) -> None:
        """The handler has run for too long, and was at *where*; the request has failed."""
        self._outcome = FAILED
        self._place.accounts.say("error", overdue(self.request.client, seconds, where))

    def note_certificate(self) -> str | None:
        """Keep who the client is by the certificate of its handshake; or why nobody can tell."""
        assert self.layer is not None
        try:
            certificate = self.layer.peer_certificate()
        except ValueError as error:
            return str(error)
        if certificate is not None:
            self.request = self.request._replace(certificate=certificate)
        return None

    def say_handshake_failed(self, reason: str) -> None:
        """TLS was started on a connection that has begun, and in vain."""
        self._place.accounts.say("info", f"{self.request.client}: no TLS: {reason}")

    def say_truncated(self) -> None:
        """The client's TLS stream has ended without TLS's own end."""
        self._is_truncated = True

    def say_lost(self) -> None:
        """The client has gone before it was served to the end."""
        if self._outcome is SERVED:
            self._outcome = LOST


class UnixTransport(StreamTransport, unix.Server):
    """Twisted's transport of a connection to a Unix socket, which passes descriptors, too."""

    def _name(self) -> None:
        self._sendmsgQueue: list[int] = []
        if self._header is not None:
            super()._name()
            return
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


def _twisted_address(address: Any) -> Any:
    """An address that a proxy has named, as Twisted has it."""
    if not isinstance(address, tuple):
        return UNIXAddress(address)
    return (IPv4Address if len(address) == 2 else IPv6Address)("TCP", *address)


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
