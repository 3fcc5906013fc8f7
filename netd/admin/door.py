"""The admin socket: a Unix socket of mode 600, and the HTTP connections that come in by it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class Door:
    """Gives connections of *listener* to *factory*. In the reactor's thread.

    Twisted's own port would change the mode of a socket that it is given (to 666), and its backlog.
    The caller closes *listener*, after ``close``.
    """

    def __init__(self, listener: socket.socket, factory: Any, reactor: Any) -> None:
        self._listener = listener
        self._factory = factory
        self._reactor = reactor

    def open(self) -> None:
        """Let people in."""
        self._factory.doStart()
        self._reactor.addReader(self)

    def close(self) -> None:
        """Let nobody in any more."""
        self._reactor.removeReader(self)
        self._factory.doStop()

    def fileno(self) -> int:
        return self._listener.fileno()

    def doRead(self) -> None:
        with suppress(OSError):  # nobody, or no descriptor left: he may come again
            connection, _ = self._listener.accept()
            with connection:
                connection.setblocking(False)
                self._reactor.adoptStreamConnection(
                    connection.fileno(), socket.AF_UNIX, self._factory
                )

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "admin"
