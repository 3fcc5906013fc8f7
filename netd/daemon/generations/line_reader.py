"""Lines that come by a socket, for who has no use for a protocol."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

LONGEST: Final = 65536
"""Bytes of a line."""


@implementer(IReadDescriptor)
class LineReader:
    """Calls *said* with each line that comes by *channel*, and *ended* when no more can come.

    In the reactor's thread; the caller closes *channel*, after ``stop``.
    """

    def __init__(
        self,
        channel: socket.socket,
        reactor: Any,
        said: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._reactor = reactor
        self._said = said
        self._ended = ended
        self._rest = b""
        self._is_reading = False

    def start(self) -> None:
        """Read from now on."""
        self._is_reading = True
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Read no more."""
        self._is_reading = False
        self._reactor.removeReader(self)

    def fileno(self) -> int:
        return self._channel.fileno()

    def doRead(self) -> None:
        try:
            data = self._channel.recv(LONGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # its other end went with something unread
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._is_reading:
                self._said(line)
        if self._is_reading and (not data or len(self._rest) > LONGEST):
            self._ended()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "netd"
