"""TLS that a handler starts itself, on a connection that it serves already (STARTTLS)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from socketserver import BaseRequestHandler, BaseServer, StreamRequestHandler
from typing import Final
from weakref import WeakKeyDictionary

Start = Callable[[socket.socket], ssl.SSLSocket]
"""Takes over a connection, and does the handshake."""

_STARTS: Final[WeakKeyDictionary[BaseServer, Start]] = WeakKeyDictionary()
"""What each service's server objects start TLS by."""


def provide(server: BaseServer, start: Start) -> None:
    """Have handlers under *server* start TLS by *start*. For netd's workers."""
    _STARTS[server] = start


def start_tls(handler: BaseRequestHandler) -> ssl.SSLSocket:
    """Start TLS with the ``[tls]`` of the handler's service; in the thread of the handler.

    To be called when the client has been told to begin, and nothing else has been said. The
    handler's ``request``, ``rfile`` and ``wfile`` are of the TLS connection from then on. Whatever
    was received in the clear and not read is thrown away: a man in the middle may have put it there
    (CVE-2011-0411). netd closes what is returned, as it does every connection.

    Raises:
        LookupError: the service has no table ``[tls]``.
        TimeoutError: ``handshake_timeout`` is over; the connection is closed.
        OSError: the handshake has failed (``ssl.SSLError``); the connection is closed.
    """
    try:
        start = _STARTS[handler.server]
    except KeyError:
        raise LookupError("the service has no table [tls] to start TLS with") from None
    if isinstance(handler, StreamRequestHandler):
        handler.wfile.flush()
    handler.request = tls = start(handler.request)
    if isinstance(handler, StreamRequestHandler):
        # Makes the two files anew, under the handler's own settings.
        StreamRequestHandler.setup(handler)
    return tls
