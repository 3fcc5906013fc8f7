"""Request handlers in the shape of ``socketserver``'s that await instead of blocking.

The reactor runs them, all in one thread, so a handler costs a client's worth of memory and no
thread, and must not block. It may await Deferreds and other coroutines. (Of asyncio it can await
nothing directly; where the worker runs Twisted's asyncio reactor, ``Deferred.fromFuture`` wraps a
future.)

When the connection of a stream's handler is lost, whoever awaits ``rfile`` or ``wfile`` gets a
ConnectionError, and whoever awaits something else is cancelled
(``twisted.internet.defer.CancelledError``), so that every handler comes to its ``finish``.
"""

from __future__ import annotations

from socketserver import BaseServer
from typing import Any, ClassVar

from netd.handlers.reading import Reader
from netd.handlers.streams import streams
from netd.handlers.writing import PacketWriter, Writer


class AsyncRequestHandler:
    """Serves one connection or one datagram; the form of ``socketserver.BaseRequestHandler``.

    ``request`` is Twisted's transport for a stream (``netd.handlers.streams`` makes it readable),
    and ``(data, transport)`` for a datagram. ``client_address`` and ``server`` are what
    ``socketserver`` gives: ``server`` is a real server object of its. netd awaits ``setup``,
    ``handle`` and ``finish`` in that order, ``finish`` unless ``setup`` has raised, and then
    closes the connection. Options of the service come as further keyword arguments.
    """

    def __init__(self, request: Any, client_address: Any, server: BaseServer) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server

    @classmethod
    def listening(cls, server: BaseServer) -> None:
        """Called for each listener before its first request; does nothing unless overridden.

        What it raises keeps the service from starting.
        """

    async def setup(self) -> None:
        """Prepare; does nothing unless overridden."""

    async def handle(self) -> None:
        """Serve; does nothing unless overridden."""

    async def finish(self) -> None:
        """Clean up; does nothing unless overridden."""


class AsyncStreamRequestHandler(AsyncRequestHandler):
    """Serves a connection by ``rfile`` and ``wfile``, files whose methods are awaited.

    ``connection`` is the transport, as ``request`` is.
    """

    timeout: ClassVar[float | None] = None
    """Seconds that each wait for the client may take before it raises TimeoutError."""

    disable_nagle_algorithm: ClassVar[bool] = False
    """Send small segments at once (TCP_NODELAY, tcp(7))."""

    connection: Any
    rfile: Reader
    wfile: Writer

    async def setup(self) -> None:
        """Make ``rfile`` and ``wfile``; an override that uses them awaits this first."""
        self.connection = self.request
        if self.disable_nagle_algorithm:
            self.connection.setTcpNoDelay(True)
        self.rfile, self.wfile = streams(self.request)
        self.rfile.timeout = self.wfile.timeout = self.timeout

    async def start_tls(self, go_ahead: bytes = b"") -> None:
        """Send *go_ahead* in the clear, and go on by TLS, by the service's ``tls`` table.

        What the client has sent and nobody has read is dropped: it came in the clear, from whoever,
        and must not be taken for something that came by TLS (CVE-2011-0411). Afterwards ``rfile``
        and ``wfile`` speak TLS, and ``request`` and ``connection`` are the transport that does.

        Raises LookupError where the service has no such table, RuntimeError where TLS is there
        already, and ConnectionError when the handshake fails or takes longer than
        ``handshake_timeout``; the connection is closed then.
        """
        self.rfile.discard()
        starting = self.request.start_tls(go_ahead)
        self.request = self.connection = starting.layer
        self.rfile.switch(starting.layer)
        self.wfile.switch(starting.layer)
        await starting.done


class AsyncDatagramRequestHandler(AsyncRequestHandler):
    """Serves a datagram: ``rfile`` reads it, and what ``wfile`` is given goes back as one packet.

    ``packet`` is the data and ``socket`` the transport. Where nothing is written nothing is sent,
    nor to a client of a Unix socket that has no address.
    """

    packet: bytes
    socket: Any
    rfile: Reader
    wfile: PacketWriter

    async def setup(self) -> None:
        """Make ``rfile`` and ``wfile``; an override that uses them awaits this first."""
        self.packet, self.socket = self.request
        self.rfile = Reader()
        self.rfile.feed(self.packet)
        self.rfile.feed_eof()
        self.wfile = PacketWriter()

    async def finish(self) -> None:
        """Send what has been written."""
        content = self.wfile.getvalue()
        if content and self.client_address:
            self.socket.write(content, self.client_address)


async def run(handler: AsyncRequestHandler) -> None:
    """Await the parts of *handler* as ``socketserver`` calls those of its own."""
    await handler.setup()
    try:
        await handler.handle()
    finally:
        await handler.finish()
