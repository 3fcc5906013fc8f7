"""Twisted protocols: the bare ones that netd is compared with, and netd's reactor services."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.protocol import DatagramProtocol, Protocol

from bench.handlers import MUCH

_PIECE: Final = bytes(1 << 16)


class Line(Protocol):
    """A line in, the same line out, close."""

    def dataReceived(self, data: bytes) -> None:
        """Answer and close."""
        assert self.transport is not None
        self.transport.write(data)
        self.transport.loseConnection()


class Much(Protocol):
    """Much out for every line in."""

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        assert self.transport is not None
        for _ in range(data.count(b"\n") * MUCH // len(_PIECE)):
            self.transport.write(_PIECE)


class Datagram(DatagramProtocol):
    """A datagram in, the same datagram out."""

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Answer."""
        assert self.transport is not None
        self.transport.write(datagram, addr)
