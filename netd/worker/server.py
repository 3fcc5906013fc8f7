"""The ``socketserver`` objects that handlers find as ``self.server``."""

from __future__ import annotations

import socket
import socketserver
from typing import Final

from netd.listening.inherited import ListenerSocket
from netd.values.address import Transport


class _Inet6StreamServer(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6


class _Inet6DatagramServer(socketserver.ThreadingUDPServer):
    address_family = socket.AF_INET6


_CLASSES: Final[dict[Transport, type[socketserver.TCPServer]]] = {
    Transport.TCP: socketserver.ThreadingTCPServer,
    Transport.TCP6: _Inet6StreamServer,
    Transport.UDP: socketserver.ThreadingUDPServer,
    Transport.UDP6: _Inet6DatagramServer,
    Transport.UNIX: socketserver.ThreadingUnixStreamServer,
    Transport.UNIXGRAM: socketserver.ThreadingUnixDatagramServer,
}


def server_for(
    transport: Transport,
    listener: ListenerSocket,
    handler: type[socketserver.BaseRequestHandler],
) -> socketserver.TCPServer:
    """Make the server object of a listener: real, bound, and never asked to serve by itself.

    Takes over *listener*, which closes with it.
    """
    server = _CLASSES[transport]("", handler, bind_and_activate=False)  # type: ignore[arg-type]
    server.socket.close()
    server.socket = listener
    server.server_address = listener.getsockname()
    return server
