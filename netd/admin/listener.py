"""The admin socket: a Unix socket of mode 600, and the HTTP connections to it."""

from __future__ import annotations

import socket
from typing import Any, Final

from twisted.internet.protocol import Factory
from twisted.logger import Logger

from netd.accept.loop import Accepting, WatchedListener
from netd.accept.pause import Pause, by_logger
from netd.core.reactor import ListeningReactor

log = Logger()

BATCH: Final = 1
"""Connections accepted per wake-up. There are few, and the daemon has more urgent work."""

Accepted = tuple[socket.socket, Any]
"""A connection and its peer's address, which says nothing on a Unix socket."""


class AdminListener:
    """Gives connections of *listener* to *factory*. In the reactor's thread.

    Twisted's own port would change the mode of a socket that it is given (to 666), and its backlog.
    The caller closes *listener*, after ``close``.
    """

    def __init__(
        self, listener: socket.socket, factory: Factory[Any], reactor: ListeningReactor
    ) -> None:
        self._factory = factory
        self._reactor = reactor
        self._is_open = False
        self.watched = WatchedListener(
            listener.fileno,
            Accepting(listener.accept, self._adopt, self._abandon),
            Pause(by_logger(log, "admin socket"), reactor.callLater),
            reactor,
            BATCH,
            "admin",
        )

    def open(self) -> None:
        """Start accepting. Idempotent."""
        if self._is_open:
            return
        self._is_open = True
        self._factory.doStart()
        self.watched.start()

    def close(self) -> None:
        """Stop accepting. Idempotent."""
        if not self._is_open:
            return
        self._is_open = False
        self.watched.stop()
        self._factory.doStop()

    def _adopt(self, accepted: Accepted) -> None:
        connection, _ = accepted
        with connection:  # Twisted makes a copy
            connection.setblocking(False)
            self._reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, self._factory)

    def _abandon(self, accepted: Accepted, error: BaseException) -> None:
        """``_adopt`` has closed the connection."""
        log.error("admin socket: a connection is lost: {error}", error=error)
