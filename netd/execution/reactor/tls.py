"""TLS in the reactor: Twisted's transport, with another start and another end.

Twisted connects a protocol before the handshake, waits for the client's ``close_notify`` without a
limit, and treats a client that has finished sending as closed. Here the protocol is connected
after the handshake, and after the access rules have admitted the client. A client has LINGER
seconds to send its ``close_notify``. Each direction ends separately, as over TCP (RFC 8446, 6.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL.SSL import Error, SysCallError, WantReadError, ZeroReturnError
from twisted.internet import main
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.core.deadlines import EqualDeadlines
from netd.model.peer import PeerCertificate
from netd.tls.twisted_private import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

LINGER: Final = 5.0
"""Seconds that a client has to answer our good-bye, as nginx's lingering_timeout. A connection that
is closed sooner may take away what the client has not received yet (RFC 1122, 4.2.2.13)."""

MOST_UNENCRYPTED: Final = 64_000
"""Bytes of many small writes that are encrypted together, as Twisted has it."""

_RECORDS: Final = 2**15
"""Bytes that are taken from OpenSSL at a time: two records."""


class Tls:
    """What the TLS connections of one listener have in common. In the thread of *reactor*.

    *creator* makes OpenSSL's connections (``netd.tls.reactor``). Where *suppresses_ragged_eofs*, a
    stream that ends without TLS's own end is an ordinary end to its protocol. *certificate_of*
    reads a certificate that was verified, in DER, and raises ValueError for one that it cannot
    read; None where clients are not asked for one. *timeout* is in seconds, and for a handshake on
    a connection that has begun without TLS.
    """

    def __init__(
        self,
        creator: Any,
        *,
        suppresses_ragged_eofs: bool,
        certificate_of: Callable[[bytes], PeerCertificate] | None,
        timeout: float,
        reactor: Any,
    ) -> None:
        self.factory = TLSMemoryBIOFactory(creator, False, None, reactor)  # type: ignore[arg-type]
        self.suppresses_ragged_eofs = suppresses_ragged_eofs
        self.certificate_of = certificate_of
        self.starting = EqualDeadlines[TlsTransport](timeout, reactor, TlsTransport.abortConnection)
        """The handshakes of connections that have begun without TLS."""
        self.lingering = EqualDeadlines[TlsTransport](LINGER, reactor, TlsTransport.hang_up)


@implementer(ISSLTransport, IConsumer, IPushProducer, IHalfCloseableProtocol)
class TlsTransport(TLSMemoryBIOProtocol):
    """The transport of a connection with TLS, above that of the connection (StreamTransport).

    *shaken* is called once: with None when the handshake is done, or with OpenSSL's reason, when it
    has failed, or with the empty text when the client has gone before. Nothing that the client
    sends beyond the handshake is looked at before ``connect``.

    *protocol* is one that is connected already, and goes on by TLS (``start``).
    """

    transport: Any
    wrappedProtocol: Any
    _tlsConnection: Any

    def __init__(
        self, tls: Tls, shaken: Callable[[str | None], None], protocol: Any = None
    ) -> None:
        super().__init__(tls.factory, protocol)  # type: ignore[no-untyped-call]
        self._tls = tls
        self._shaken: Callable[[str | None], None] | None = shaken
        self._unencrypted: list[bytes] = []
        self._unencrypted_size = 0
        self._is_open = False
        self._has_finished = False
        self._write_finished = False

    def logPrefix(self) -> str:
        return str(self.transport.logPrefix())

    # The handshake.

    def makeConnection(self, transport: Any) -> None:
        """Begin, with what the client sends: it speaks first."""
        self._tlsConnection = self.factory._creatorCallable(self)
        self._appSendBuffer: list[bytes] = []
        Protocol.makeConnection(self, transport)

    def _checkHandshakeStatus(self) -> None:
        try:
            self._tlsConnection.do_handshake()
        except WantReadError:
            self._flushSendBIO()
        except Error as error:
            self._flushSendBIO()  # the alert, which says why
            self._tell(reason_of(error))
        else:
            self._handshakeDone = True
            self._flushSendBIO()
            self._tell(None)

    def _tell(self, reason: str | None) -> None:
        shaken, self._shaken = self._shaken, None
        if shaken is not None:
            shaken(reason)

    def connect(self, protocol: Any) -> None:
        """Connect the user's protocol, after the handshake, and give it what has come."""
        self.wrappedProtocol = protocol
        protocol.makeConnection(self)
        if IHandshakeListener.providedBy(protocol):
            protocol.handshakeCompleted()
        self.listen()

    def listen(self) -> None:
        """Give the protocol, which is connected, what has come and what comes."""
        self._tls.starting.end(self)
        self._is_open = True
        self._flushReceiveBIO()

    # What comes.

    def _flushReceiveBIO(self) -> None:
        while self._is_open and not (self._lostTLSConnection or self._has_finished):
            try:
                data = self._tlsConnection.recv(_RECORDS)
            except WantReadError:
                break
            except ZeroReturnError:
                self._finish()
            except Error:
                self._tlsShutdownFinished(Failure())  # type: ignore[no-untyped-call]
            else:
                # As over TCP, nothing is heard after loseConnection.
                if not self.disconnecting:
                    self.wrappedProtocol.dataReceived(data)
        self._flushSendBIO()

    def _flushSendBIO(self) -> None:
        if self._tlsConnection is not None:
            super()._flushSendBIO()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        if not self._lostTLSConnection:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def _finish(self) -> None:
        """The client has finished sending."""
        self._has_finished = True
        protocol = self.wrappedProtocol
        if self.disconnecting:
            if self._producer is None:
                self.transport.loseConnection()
        elif not self._hear_the_end(protocol):
            self.disconnecting = True
            self._shutdownTLS()

    def _hear_the_end(self, protocol: Any) -> bool:
        """Tell a protocol that knows of ends of one direction; whether it is one."""
        if not IHalfCloseableProtocol.providedBy(protocol):
            return False
        protocol.readConnectionLost()
        return True

    def readConnectionLost(self) -> None:
        """The connection below has ended, from the client's side."""
        if not self._handshakeDone:
            self.hang_up()
        elif self.disconnecting:
            self.transport.loseConnection()
        elif not self._has_finished:
            self._cut()

    def _cut(self) -> None:
        """The stream has ended without ``close_notify``, so it may be incomplete."""
        self.transport.say_truncated()
        self._has_finished = True
        if not self._tls.suppresses_ragged_eofs:
            self.transport.end(main.CONNECTION_LOST)
        elif not self._hear_the_end(self.wrappedProtocol):
            self.hang_up()

    def writeConnectionLost(self) -> None:
        """netd does not shut down the sending half of the connection below."""

    # What goes.

    def write(self, data: bytes) -> None:
        """Send, at the end of the reactor's turn; nothing after ``loseConnection``."""
        if self._write_finished or (self.disconnecting and self._producer is None):
            return
        data = data + b""  # which raises for a text
        if not data:
            return
        self._unencrypted.append(data)
        self._unencrypted_size += len(data)
        if self._unencrypted_size > MOST_UNENCRYPTED or not self.transport.will_send():
            self.encrypt()

    def writeSequence(self, iovec: Any) -> None:
        """Send all of them, as ``write`` does."""
        self.write(b"".join(iovec))

    def encrypt(self) -> None:
        """Hand what has been written to the connection below."""
        if self._unencrypted:
            data = b"".join(self._unencrypted)
            self._unencrypted.clear()
            self._unencrypted_size = 0
            self._write(data)  # type: ignore[no-untyped-call]

    def loseWriteConnection(self) -> None:
        """Say that nothing more will be sent (close_notify); the client can still send."""
        if self._write_finished or self.disconnecting or not self.connected:
            return
        self._say_goodbye()
        self._write_finished = True
        protocol = self.wrappedProtocol
        if IHalfCloseableProtocol.providedBy(protocol):
            protocol.writeConnectionLost()

    def _say_goodbye(self) -> bool:
        """Whether the client has said it, too."""
        self.encrypt()
        try:
            is_done = bool(self._tlsConnection.shutdown())
        except Error:  # in the middle of a handshake there is no good-bye
            is_done = False
        self._flushSendBIO()
        return is_done

    # The end.

    def loseConnection(self) -> None:
        """Send what has been written, say good-bye, and close when the client has said it, too."""
        if self.disconnecting or not self.connected:
            return
        if not self._handshakeDone:
            self.abortConnection()
            return
        self.encrypt()
        self.disconnecting = True
        if self._producer is None:
            self._shutdownTLS()

    def stopProducing(self) -> None:
        """Close: the consumer of what the client sends wants no more."""
        self.loseConnection()

    def _shutdownTLS(self) -> None:
        is_done = self._say_goodbye()
        if is_done or self._has_finished:
            self.transport.loseConnection()
        else:
            self._tls.lingering.begin(self)
            self.transport.startReading()  # which its protocol may have paused

    def hang_up(self) -> None:
        """Close without waiting for the client."""
        if self.connected:
            self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close immediately, and send nothing more."""
        self._aborted = True
        self.disconnecting = True
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lostTLSConnection = True
        self.connected = 0
        self._tls.lingering.end(self)
        self._tls.starting.end(self)
        reason, self._reason = self._reason or reason, None
        protocol, self.wrappedProtocol = self.wrappedProtocol, None
        self._tlsConnection = None
        self._unencrypted.clear()
        try:
            if protocol is not None:
                protocol.connectionLost(reason)
        finally:
            self._tell("")

    def peer_certificate(self) -> PeerCertificate | None:
        """Return the client's certificate; None without one, or if netd does not ask for one.

        Raises ValueError for one that cannot be read.
        """
        if self._tls.certificate_of is None:
            return None
        found = self._tlsConnection.get_peer_certificate(as_cryptography=True)
        return None if found is None else self._tls.certificate_of(found.public_bytes(Encoding.DER))

    def getPeerCertificate(self) -> Any:
        """The client's certificate (OpenSSL.crypto.X509); None if there is none, or in the end."""
        connection = self._tlsConnection
        return None if connection is None else connection.get_peer_certificate()


def reason_of(error: Error) -> str:
    """OpenSSL's own words for what went wrong, in lower case."""
    if isinstance(error, SysCallError):
        return str(error.args[-1]).lower()
    queue = error.args[0] if error.args else ()
    return str(queue[-1][2]).lower() if queue else "unexpected eof while reading"
