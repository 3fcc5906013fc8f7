"""Twisted's ordinary transports for connections, which tell of their end, and send sooner."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from twisted.internet import error, main, tcp, unix
from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from netd.accept.refusal import GONE
from netd.execution.active_connections import ActiveConnections
from netd.execution.handler_timeout import overdue
from netd.execution.outcome import FAILED, LOST, SERVED, Outcome, refused
from netd.execution.reactor.accounts import Accounts
from netd.execution.reactor.hangups import Hangups
from netd.execution.reactor.sending import ENDINGS, Sending
from netd.execution.reactor.starttls import StartTls
from netd.execution.reactor.tls import Tls, TlsTransport
from netd.execution.reactor.watching import WatchingServer
from netd.execution.request import Request
from netd.listening.traffic import traffic
from netd.log.record import NOTHING
from netd.proxy.header import Header

NO_PROTOCOL: Final = "no-protocol"
"""Why a client is not served for which ``buildProtocol`` has returned None."""

Build = Callable[["StreamTransport"], IProtocol | None]
"""Makes the protocol for a connection; None refuses it. What it raises is logged."""


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


class StreamTransport(WatchingServer):
    """Twisted's transport of a TCP connection, which tells the accounts of its end.

    Its bases are its roles: addresses, sending, hang-ups. What a protocol's method raises ends its
    connection, and is logged here with the client. With TLS, ``layer`` is the transport that the
    protocol knows, and the protocol of this one.

    *connection* is the ID in the scoreboard; *number* counts the connections of the listener, as
    Twisted's ports do. *header* is what a proxy has sent: the addresses of both ends.
    """

    _place: ListenerContext

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
        """Stop reading until ``open``. Without TLS, reading has not started."""
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
        """Whether the connection is closed, or is to be closed."""
        if self.disconnected or self.disconnecting or self._aborting:
            return True
        return self.layer is not None and bool(self.layer.disconnecting)

    def _close(self) -> None:
        if not self.disconnected:
            self.connectionLost(ENDINGS[error.ConnectionDone])

    # What the user's code does.

    def startReading(self) -> None:
        if self._may_read:  # not for a filter: what is read would be lost
            self.reactor.addReader(self)

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
        """A handler serves the connection, so its outcome waits for ``release``, too."""
        self._holds += 1

    def release(self) -> None:
        """The handler has returned, or the connection is closed: the last of them records it."""
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
        """Keep the certificate of the handshake; return why it cannot be read, if it cannot."""
        assert self.layer is not None
        try:
            certificate = self.layer.peer_certificate()
        except ValueError as error:
            return str(error)
        if certificate is not None:
            self.request = self.request._replace(certificate=certificate)
        return None

    def say_handshake_failed(self, reason: str) -> None:
        """Log that the handshake of STARTTLS has failed."""
        self._place.accounts.say("info", f"{self.request.client}: no TLS: {reason}")

    def say_truncated(self) -> None:
        """The client's TLS stream has ended without ``close_notify``."""
        self._is_truncated = True

    def say_lost(self) -> None:
        """The client has closed the connection before its handler returned."""
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


_NOBODY: Final = Protocol()
"""The protocol of a connection that has none yet, or never gets one."""
