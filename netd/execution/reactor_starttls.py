"""TLS on a connection that has begun without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from netd.execution.reactor_tls import Tls, TlsTransport

if TYPE_CHECKING:
    from netd.execution.reactor_transports import StreamTransport


class StartTls:
    """The handshake of a connection whose protocol goes on by TLS. In the reactor's thread."""

    def __init__(self, connection: StreamTransport, tls: Tls) -> None:
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
            # Whoever waits hears of the end of the connection, and then why.
            connection.loseConnection()  # type: ignore[no-untyped-call]
        elif not self.done.called:
            self._give_up(self.done)

    def _give_up(self, done: Deferred[None]) -> None:
        done.errback(ConnectionResetError(f"no TLS: {self._why}"))
