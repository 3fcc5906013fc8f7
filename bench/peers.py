"""The peers that are written in Python: ``python -m bench.peers PEER HANDLER PORT [CERTIFICATE]``.

Serves on 127.0.0.1 until it is ended by a signal. HANDLER is ``module:class`` for the servers
of ``socketserver``, and a protocol of Twisted's with a CERTIFICATE; it means nothing to the others,
which answer a line and close, or answer a datagram (``twisted-udp``). With a CERTIFICATE, a file
that has the key, too, they speak TLS. Each peer imports only what it needs.
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


def serve_by_socketserver(name: str, handler: str, port: int, certificate: str | None) -> None:
    """One of the server classes of the standard library."""
    handler_class = _class(handler)
    base: Any = getattr(socketserver, name)
    if certificate is not None:
        base = _with_tls(base, certificate)
    settings = {
        "allow_reuse_address": True,
        "request_queue_size": BACKLOG,
        "daemon_threads": True,
    }
    server_class: Any = type(name, (base,), settings)
    with server_class((HOST, port), handler_class) as server:
        server.serve_forever()


def _class(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _with_tls(base: Any, certificate: str) -> Any:
    """The class with TLS as people write it who know that a handshake may take its time."""
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    class WithTls(base):  # type: ignore[misc]
        def finish_request(self, request: Any, client_address: Any) -> None:
            with context.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)

    return WithTls


def serve_by_twisted_with_tls(handler: str, port: int, certificate: str) -> None:
    """A bare protocol on Twisted's default reactor, with TLS as Twisted documents it."""
    from twisted.internet import reactor
    from twisted.internet.protocol import Factory
    from twisted.internet.ssl import PrivateCertificate

    with open(certificate, "rb") as file:
        options = PrivateCertificate.loadPEM(file.read()).options()
    tcp: Any = reactor
    factory = Factory.forProtocol(_class(handler))
    tcp.listenSSL(port, factory, options, backlog=BACKLOG, interface=HOST)
    tcp.run()


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


def main(peer: str, handler: str, port: str, certificate: str | None = None) -> None:
    """Serve until the end."""
    if peer == "twisted" and certificate is not None:
        serve_by_twisted_with_tls(handler, int(port), certificate)
    elif peer in PEERS:
        PEERS[peer](int(port))
    else:
        serve_by_socketserver(peer, handler, int(port), certificate)


if __name__ == "__main__":
    main(*sys.argv[1:])
