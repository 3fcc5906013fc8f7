"""The admin socket: a Unix socket of mode 600, and the HTTP connections that come in by it."""

from __future__ import annotations

import socket
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.core.reactor import DelayedCall

log = Logger()

PAUSE: Final = 0.1
"""Seconds without taking when the system has no descriptors left: never spin."""


@implementer(IReadDescriptor)
class AdminListener:
    """Gives connections of *listener* to *factory*. In the reactor's thread.

    Twisted's own port would change the mode of a socket that it is given (to 666), and its backlog.
    The caller closes *listener*, after ``close``.
    """

    def __init__(self, listener: socket.socket, factory: Any, reactor: Any) -> None:
        self._listener = listener
        self._factory = factory
        self._reactor = reactor
        self._is_open = False
        self._pause: DelayedCall | None = None
        """Until when nobody is let in; it stays while no descriptors are left, which is said once.
        """

    def open(self) -> None:
        """Let people in, if that is not so yet."""
        if self._is_open:
            return
        self._is_open = True
        self._factory.doStart()
        self._reactor.addReader(self)

    def close(self) -> None:
        """Let nobody in any more."""
        if not self._is_open:
            return
        self._is_open = False
        self._reactor.removeReader(self)
        if self._pause is not None and self._pause.active():
            self._pause.cancel()
        self._factory.doStop()

    def fileno(self) -> int:
        return self._listener.fileno()

    def doRead(self) -> None:
        try:
            self._let_in()
        except (BlockingIOError, ConnectionError):
            pass  # he has thought better of it
        except OSError as error:
            self._rest(error)
        else:
            self._pause = None

    def _let_in(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.setblocking(False)
            self._reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, self._factory)

    def _rest(self, error: OSError) -> None:
        """No descriptors are left, or no memory: try again later."""
        if self._pause is None:
            log.error("nobody gets in by the admin socket: {error}", error=error)
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(PAUSE, self._reactor.addReader, self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "admin"
