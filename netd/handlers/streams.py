"""A connection as asynchronous handlers see it: a Twisted protocol with two files to await."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.core.reactor import Reactor
from netd.handlers.reading import Reader
from netd.handlers.writing import Writer


@implementer(IHalfCloseableProtocol)
class StreamProtocol(Protocol):
    """Feeds ``rfile`` and carries ``wfile``; both are there once the connection is made.

    Each direction ends by itself: a client that has finished sending can still be written to.
    """

    rfile: Reader
    wfile: Writer

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def connectionMade(self) -> None:
        self.rfile = Reader(self.transport, self._reactor)
        self.wfile = Writer(self.transport, self._reactor)

    def dataReceived(self, data: bytes) -> None:
        self.rfile.feed(data)

    def readConnectionLost(self) -> None:
        """The client has finished sending."""
        self.rfile.feed_eof()

    def writeConnectionLost(self) -> None:
        """The handler has finished sending, and knows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.rfile.end(reason)
        self.wfile.end(reason)


def streams(request: Any) -> tuple[Reader, Writer]:
    """Return the ``rfile`` and ``wfile`` of a stream's *request*, the same ones every time.

    *request* is what an asynchronous handler finds under that name. Raises TypeError for that of
    a datagram.
    """
    if isinstance(request, tuple):
        raise TypeError("a datagram has no streams; the request is (data, transport)")
    # A TLS transport is itself the protocol of the one below it.
    protocol = getattr(request, "wrappedProtocol", None) or request.protocol
    return protocol.rfile, protocol.wfile
