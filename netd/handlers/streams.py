"""``rfile`` and ``wfile`` of an asynchronous handler's connection, and the protocol behind them."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.core.reactor import Reactor
from netd.handlers.reading import Reader
from netd.handlers.transports import StreamTransport
from netd.handlers.writing import Writer


@implementer(IHalfCloseableProtocol)
class StreamProtocol(Protocol):
    """Feeds ``rfile`` and serves ``wfile``, both of which exist once the connection is made.

    Each direction ends on its own: a client that has finished sending can still receive.
    """

    rfile: Reader
    wfile: Writer

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def connectionMade(self) -> None:
        transport = cast(StreamTransport, self.transport)
        self.rfile = Reader(transport, self._reactor)
        self.wfile = Writer(transport, self._reactor)

    def dataReceived(self, data: bytes) -> None:
        self.rfile.feed(data)

    def readConnectionLost(self) -> None:
        """The client has finished sending."""
        self.rfile.feed_eof()

    def writeConnectionLost(self) -> None:
        """Nothing to do: the handler itself has finished sending."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.rfile.end(reason)
        self.wfile.end(reason)


def streams(request: Any) -> tuple[Reader, Writer]:
    """Return ``rfile`` and ``wfile`` for the ``request`` of an asynchronous handler.

    For handlers that are no ``AsyncStreamRequestHandler``. Every call returns the same two files;
    netd closes the connection. In the reactor's thread. Raises TypeError for a datagram's request.
    """
    if isinstance(request, tuple):
        raise TypeError("a datagram has no streams; the request is (data, transport)")
    # A TLS transport is itself the protocol of the TCP transport: StreamProtocol is what it wraps.
    protocol = getattr(request, "wrappedProtocol", None) or request.protocol
    return protocol.rfile, protocol.wfile
