"""TLS on a connection that has begun without it."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol

from netd.execution.reactor.tls import Tls, TlsTransport


class Connection(Protocol):
    """What a handshake needs of the transport below it."""

    protocol: IProtocol

    def shake_hands(self, layer: TlsTransport) -> None:
        """Begin TLS, by *layer*, which tells of the end of the handshake. Raises nothing."""

    def note_certificate(self) -> str | None:
        """Remember what the client has shown; a text says why that cannot be read."""

    def say_handshake_failed(self, reason: str) -> None:
        """Log why the handshake has failed."""

    def loseConnection(self) -> None:
        """Send what is written, and close."""


class StartTls:
    """The handshake of a connection whose protocol goes on by TLS. In the reactor's thread."""

    def __init__(self, connection: Connection, tls: Tls) -> None:
        """Begin it."""
        self._connection = connection
        self._why = "the client has gone, or has not done its handshake in time"
        self.done: Deferred[None] = Deferred(self._give_up)
        """Fires when the handshake is done; fails with ConnectionError when it has failed."""
        protocol = connection.protocol
        self.layer = TlsTransport(tls, self._shaken, protocol)
        """The transport from now on."""
        protocol.transport = self.layer  # type: ignore[attr-defined]
        tls.starting.begin(self.layer)
        connection.shake_hands(self.layer)

    def _shaken(self, reason: str | None) -> None:
        connection = self._connection
        if reason is None:
            reason = connection.note_certificate()
        if reason is None:
            self.done.callback(None)
            self.layer.listen()
        elif reason:
            self._why = reason
            connection.say_handshake_failed(reason)
            # The handler, which waits, is told of the end of the connection, and then why.
            connection.loseConnection()
        elif not self.done.called:
            self._give_up(self.done)

    def _give_up(self, done: Deferred[None]) -> None:
        done.errback(ConnectionResetError(f"no TLS: {self._why}"))
