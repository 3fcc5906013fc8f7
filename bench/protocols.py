"""Twisted protocols: the bare ones that netd is compared with, and netd's reactor services."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import DatagramProtocol, Protocol


class Line(Protocol):
    """A line in, the same line out, close."""

    def dataReceived(self, data: bytes) -> None:
        """Answer and close."""
        assert self.transport is not None
        self.transport.write(data)
        self.transport.loseConnection()


class Datagram(DatagramProtocol):
    """A datagram in, the same datagram out."""

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Answer."""
        assert self.transport is not None
        self.transport.write(datagram, addr)
