"""Both sides of a service's TLS, and a client of the standard library's, in memory."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL

from netd.model.tls import Tls
from netd.tls.blocking import blocking_context
from netd.tls.reactor import reactor_context

MOST: Final = 1 << 16
"""Bytes that are moved at once."""


class Blocking:
    """The standard library's."""

    def __init__(self, context: ssl.SSLContext, **keywords: Any) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.connection = context.wrap_bio(self._incoming, self._outgoing, **keywords)
        self.put, self.get = self._incoming.write, self._outgoing.read

    def step(self) -> bool:
        try:
            self.connection.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    @property
    def version(self) -> str | None:
        return self.connection.version()

    @property
    def alpn(self) -> str | None:
        return self.connection.selected_alpn_protocol()

    @property
    def client(self) -> x509.Certificate | None:
        shown = self.connection.getpeercert(True)
        return None if shown is None else x509.load_der_x509_certificate(shown)


class OfReactor:
    """pyOpenSSL's, as Twisted moves its bytes."""

    def __init__(self, context: Any) -> None:
        self.connection: SSL.Connection = context.serverConnectionForTLS(None)
        self.connection.set_accept_state()

    def put(self, data: bytes) -> None:
        if data:  # nothing at all would be an error
            self.connection.bio_write(data)

    def get(self) -> bytes:
        try:
            return self.connection.bio_read(MOST)
        except SSL.WantReadError:
            return b""

    def step(self) -> bool:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    @property
    def version(self) -> str | None:
        return self.connection.get_protocol_version_name()

    @property
    def alpn(self) -> str | None:
        return self.connection.get_alpn_proto_negotiated().decode() or None

    @property
    def client(self) -> x509.Certificate | None:
        return self.connection.get_peer_certificate(as_cryptography=True)


Serving = Callable[[], Any]
"""Makes the server's end of a connection."""


def of_blocking(tls: Tls) -> Serving:
    """The standard library's, with one context for all connections."""
    context = blocking_context(tls)
    return lambda: Blocking(context, server_side=True)


def of_reactor(tls: Tls) -> Serving:
    """pyOpenSSL's."""
    context = reactor_context(tls)
    return lambda: OfReactor(context)


BOTH = [of_blocking, of_reactor]


def shaken(server: Any, client: Blocking) -> Any:
    """Bring a handshake to its end on both sides; return the *server*.

    Raises what one of them raises.
    """
    for _ in range(10):
        client_done = client.step()
        server.put(client.get())
        server_done = server.step()
        client.put(server.get())
        if client_done and server_done:
            return server
    raise AssertionError("no end of the handshake")


@contextmanager
def listening(serve: Serving) -> Iterator[int]:
    """The port of a server that shakes hands with whoever comes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve_all, args=(listener, serve), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve_all(listener: socket.socket, serve: Serving) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, serve()), daemon=True).start()


def _serve(connection: socket.socket, side: Any) -> None:
    with connection, suppress(OSError, SSL.Error):
        connection.settimeout(5)
        serve_one(connection, side)


def serve_one(connection: socket.socket, side: Any) -> None:
    """Shake hands, then wait for the client to go. Raises what the handshake does."""
    done = False
    while not done and (data := connection.recv(MOST)):
        side.put(data)
        try:
            done = side.step()
        finally:
            connection.sendall(side.get())
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(MOST):
        pass
