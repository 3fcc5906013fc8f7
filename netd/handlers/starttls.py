"""STARTTLS for blocking handlers: TLS that a handler starts on a connection that it serves."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from socketserver import BaseRequestHandler, BaseServer, StreamRequestHandler
from typing import Final
from weakref import WeakKeyDictionary

Start = Callable[[socket.socket], ssl.SSLSocket]
"""Takes over a connection, does the handshake, and returns the connection over TLS."""

_STARTS: Final[WeakKeyDictionary[BaseServer, Start]] = WeakKeyDictionary()
"""How to start TLS for the handlers of each server object. Here and not on the server, where users
would find an attribute of netd's."""


def provide(server: BaseServer, start: Start) -> None:
    """Let ``start_tls`` of handlers under *server* call *start*. For netd's workers."""
    _STARTS[server] = start


def start_tls(handler: BaseRequestHandler) -> ssl.SSLSocket:
    """Start TLS on the handler's connection, with the ``[tls]`` table of its service.

    Call this in the handler's thread, after sending the answer that tells the client to begin; it
    flushes ``wfile`` first, and returns once the handshake is complete. Afterwards the handler's
    ``request``, ``rfile`` and ``wfile`` are over TLS. Bytes that were received but not read are
    dropped: they came unencrypted, possibly from an attacker (CVE-2011-0411). netd closes the
    returned connection after the handler, as it closes every connection.

    Raises:
        LookupError: the service has no ``[tls]`` table.
        TimeoutError: the handshake took longer than ``handshake_timeout``; the connection is
            closed.
        OSError: the handshake failed (``ssl.SSLError``); the connection is closed.
    """
    try:
        start = _STARTS[handler.server]
    except KeyError:
        raise LookupError("the service has no [tls] table to start TLS with") from None
    if isinstance(handler, StreamRequestHandler):
        handler.wfile.flush()
    handler.request = tls = start(handler.request)
    if isinstance(handler, StreamRequestHandler):
        # Makes both files again, with the handler's own timeout and buffer sizes.
        StreamRequestHandler.setup(handler)
    return tls
