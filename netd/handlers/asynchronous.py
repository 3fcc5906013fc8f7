"""Request handlers with the methods of ``socketserver``'s, which await instead of blocking.

The reactor runs all of them in one thread. A handler costs its client's memory and no thread, and
must never block. It may await Deferreds and other coroutines. It cannot await asyncio's futures
directly: with Twisted's asyncio reactor, ``Deferred.fromFuture`` wraps one.

When the connection of a stream is lost, what its handler awaits raises: a method of ``rfile`` or
``wfile`` a ConnectionError, anything else ``twisted.internet.defer.CancelledError``. So every
handler reaches its ``finish``.
"""

from __future__ import annotations

from socketserver import BaseServer
from typing import Any, ClassVar

from netd.handlers.reading import Reader
from netd.handlers.streams import streams
from netd.handlers.writing import PacketWriter, Writer


class AsyncRequestHandler:
    """Serves one connection or one datagram, like ``socketserver.BaseRequestHandler``.

    Attributes:
        request: for a stream, Twisted's transport (``netd.handlers.streams`` makes its files);
            for a datagram, ``(data, transport)``.
        client_address: the client's address, as ``socketserver`` gives it.
        server: a server object of ``socketserver``; its ``shutdown()`` suspends the service.

    netd awaits ``setup()``, then ``handle()``, then ``finish()``, the last even if ``handle()`` has
    raised, but not if ``setup()`` has. Then it closes the connection, and logs what was raised.
    ``options`` of the service are further keyword arguments of the constructor. Every method runs
    in the reactor's thread.
    """

    def __init__(self, request: Any, client_address: Any, server: BaseServer) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server

    @classmethod
    def listening(cls, server: BaseServer) -> None:
        """Prepare for a listener; called for each of them, before its first request.

        Does nothing unless overridden. An exception keeps the service from starting.
        """

    async def setup(self) -> None:
        """Prepare for the request. Does nothing unless overridden."""

    async def handle(self) -> None:
        """Serve the request. Does nothing unless overridden."""

    async def finish(self) -> None:
        """Clean up. Does nothing unless overridden."""


class AsyncStreamRequestHandler(AsyncRequestHandler):
    """Serves a connection, like ``socketserver.StreamRequestHandler``.

    ``rfile`` and ``wfile`` are files whose methods are awaited. ``connection`` is Twisted's
    transport, the same as ``request``.
    """

    timeout: ClassVar[float | None] = None
    """Seconds that one wait of ``rfile`` or ``wfile`` may take before it raises TimeoutError.

    Default: no limit."""

    disable_nagle_algorithm: ClassVar[bool] = False
    """Send small segments immediately (TCP_NODELAY, tcp(7)). Only for TCP and TLS."""

    connection: Any
    rfile: Reader
    wfile: Writer

    async def setup(self) -> None:
        """Make ``rfile`` and ``wfile``. An override that uses them awaits this method first."""
        self.connection = self.request
        if self.disable_nagle_algorithm:
            self.connection.setTcpNoDelay(True)
        self.rfile, self.wfile = streams(self.request)
        self.rfile.timeout = self.wfile.timeout = self.timeout

    async def start_tls(self, go_ahead: bytes = b"") -> None:
        """Start TLS on this connection (STARTTLS), with the ``[tls]`` table of the service.

        *go_ahead* is sent unencrypted first: the answer that tells the client to begin. Bytes that
        were received but not read are dropped. They came unencrypted, possibly from an attacker,
        and must not pass for bytes that came over TLS (CVE-2011-0411). Afterwards ``rfile`` and
        ``wfile`` are over TLS, and ``request`` and ``connection`` are the TLS transport. Returns
        once the handshake is complete.

        Raises:
            LookupError: the service has no ``[tls]`` table.
            RuntimeError: the connection is over TLS already.
            ConnectionError: the handshake failed, or took longer than ``handshake_timeout``; the
                connection is closed.
        """
        # Before the go-ahead: everything that arrives after it belongs to the handshake.
        self.rfile.discard()
        starting = self.request.start_tls(go_ahead)
        self.request = self.connection = starting.layer
        self.rfile.switch(starting.layer)
        self.wfile.switch(starting.layer)
        await starting.done


class AsyncDatagramRequestHandler(AsyncRequestHandler):
    """Serves a datagram, like ``socketserver.DatagramRequestHandler``.

    ``rfile`` reads the datagram, and everything that is written to ``wfile`` is sent to the client
    as one datagram by ``finish()``. ``packet`` is the data, ``socket`` Twisted's transport. Nothing
    is sent if nothing was written, or if the client is a Unix socket without an address.
    """

    packet: bytes
    socket: Any
    rfile: Reader
    wfile: PacketWriter

    async def setup(self) -> None:
        """Make ``rfile`` and ``wfile``. An override that uses them awaits this method first."""
        self.packet, self.socket = self.request
        self.rfile = Reader()
        self.rfile.feed(self.packet)
        self.rfile.feed_eof()
        self.wfile = PacketWriter()

    async def finish(self) -> None:
        """Send what was written to ``wfile``. An override awaits this method last."""
        content = self.wfile.getvalue()
        if content and self.client_address:
            self.socket.write(content, self.client_address)


async def run(handler: AsyncRequestHandler) -> None:
    """Await the parts of *handler*, in the order in which ``socketserver`` calls its own."""
    await handler.setup()
    try:
        await handler.handle()
    finally:
        await handler.finish()
