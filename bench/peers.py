"""The program of the peers that are written in Python: ``python -m bench.peers PEER HANDLER PORT``.

Serves on 127.0.0.1 until it is ended by a signal. HANDLER is ``module:class`` for the servers
of ``socketserver``, and means nothing to the others, which answer a line and close, or answer a
datagram (``twisted-udp``). Each peer imports only what it needs.
"""

from __future__ import annotations

import importlib
import socketserver
import sys
from collections.abc import Callable
from typing import Any, Final

HOST: Final = "127.0.0.1"
BACKLOG: Final = 1024
"""netd's default; socketserver's 5 and asyncio's 100 would lose clients, not just time."""


def serve_by_socketserver(name: str, handler: str, port: int) -> None:
    """One of the server classes of the standard library."""
    module, _, handler_name = handler.partition(":")
    handler_class = getattr(importlib.import_module(module), handler_name)
    base: Any = getattr(socketserver, name)
    settings = {
        "allow_reuse_address": True,
        "request_queue_size": BACKLOG,
        "daemon_threads": True,
    }
    server_class: Any = type(name, (base,), settings)
    with server_class((HOST, port), handler_class) as server:
        server.serve_forever()


def serve_by_twisted(port: int) -> None:
    """A bare protocol on Twisted's default reactor."""
    from twisted.internet import reactor
    from twisted.internet.protocol import Factory

    from bench.protocols import Line

    tcp: Any = reactor
    tcp.listenTCP(port, Factory.forProtocol(Line), backlog=BACKLOG, interface=HOST)
    tcp.run()


def serve_datagrams_by_twisted(port: int) -> None:
    """A bare datagram protocol on Twisted's default reactor."""
    from twisted.internet import reactor

    from bench.protocols import Datagram

    udp: Any = reactor
    udp.listenUDP(port, Datagram(), interface=HOST)
    udp.run()


def serve_by_asyncio(port: int) -> None:
    """The streams of asyncio."""
    import asyncio

    asyncio.run(_serve_streams(port))


def serve_by_uvloop(port: int) -> None:
    """The streams of asyncio on uvloop's event loop."""
    uvloop: Any = importlib.import_module("uvloop")
    uvloop.run(_serve_streams(port))


async def _serve_streams(port: int) -> None:
    import asyncio

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HOST, port, backlog=BACKLOG)
    await server.serve_forever()


def serve_by_gevent(port: int) -> None:
    """A greenlet a connection, by gevent's server."""
    gevent: Any = importlib.import_module("gevent.server")

    def answer(connection: Any, _: object) -> None:
        connection.sendall(connection.recv(4096))
        connection.close()

    gevent.StreamServer((HOST, port), answer, backlog=BACKLOG).serve_forever()


PEERS: Final[dict[str, Callable[[int], None]]] = {
    "twisted": serve_by_twisted,
    "twisted-udp": serve_datagrams_by_twisted,
    "asyncio": serve_by_asyncio,
    "uvloop": serve_by_uvloop,
    "gevent": serve_by_gevent,
}


def main(peer: str, handler: str, port: str) -> None:
    """Serve until the end."""
    if peer in PEERS:
        PEERS[peer](int(port))
    else:
        serve_by_socketserver(peer, handler, int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
