"""Lines from a socket, for a conversation of a line or two."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.core.reactor import Reading

LONGEST: Final = 65536
"""Bytes of a line."""


@implementer(IReadDescriptor)
class LineReader:
    """Calls *received* with each line from *channel*, and *ended* when no more can come.

    Unlike a transport of Twisted's it does not own *channel*: the caller closes it after ``stop``.
    In the reactor's thread.
    """

    def __init__(
        self,
        channel: socket.socket,
        reactor: Reading,
        received: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._reactor = reactor
        self._received = received
        self._ended = ended
        self._rest = b""
        self._is_reading = False

    def start(self) -> None:
        """Start reading."""
        self._is_reading = True
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Stop reading."""
        # A flag, too, because doRead may be in the middle of several lines.
        self._is_reading = False
        self._reactor.removeReader(self)

    def fileno(self) -> int:
        return self._channel.fileno()

    def doRead(self) -> None:
        try:
            data = self._channel.recv(LONGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # ECONNRESET: the other end has gone with something unread
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._is_reading:  # each line may lead to a stop
                self._received(line)
        if self._is_reading and (not data or len(self._rest) > LONGEST):
            self._ended()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is stopping."""

    def logPrefix(self) -> str:
        return "netd"
