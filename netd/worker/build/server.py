"""The ``socketserver`` objects that handlers find as ``self.server``, where the file names none."""

from __future__ import annotations

import os
import socketserver
from collections.abc import Callable
from typing import Any, Final

from netd.execution.socketserver.hosting import Host, hosted
from netd.execution.tracebacks import current_traceback
from netd.listening.handler_view import ListenerSocket
from netd.model.address import Transport

_CLASSES: Final[dict[Transport, type[socketserver.TCPServer]]] = {
    Transport.TCP: socketserver.ThreadingTCPServer,
    Transport.TCP6: socketserver.ThreadingTCPServer,
    Transport.TLS: socketserver.ThreadingTCPServer,
    Transport.TLS6: socketserver.ThreadingTCPServer,
    Transport.UDP: socketserver.ThreadingUDPServer,
    Transport.UDP6: socketserver.ThreadingUDPServer,
    Transport.UNIX: socketserver.ThreadingUnixStreamServer,
    Transport.UNIXGRAM: socketserver.ThreadingUnixDatagramServer,
}


def server_of(
    transport: Transport,
    listener: ListenerSocket,
    host: Host,
    handler: type[socketserver.BaseRequestHandler] = socketserver.BaseRequestHandler,
) -> socketserver.BaseServer:
    """Make the server object of a listener, which it takes over; it serves nothing by itself."""
    return hosted(server_class(transport), listener, host, handler, {"bind_and_activate": False})


def server_class(transport: Transport) -> type[socketserver.TCPServer]:
    """The standard library's server class for a transport."""
    return _CLASSES[transport]


class HandlerHost:
    """What the methods of such an object come to, if a handler calls them. Any thread.

    netd itself calls none of them but ``shutdown_request`` and ``close_request``.
    """

    def __init__(self, say: Callable[[str, str], None], suspend: Callable[[], None]) -> None:
        self._say = say
        self.suspend = suspend

    def process(self, server: socketserver.BaseServer, request: Any, client_address: Any) -> None:
        """Serve a request that a handler has made up, here and now, as BaseServer does."""
        server.finish_request(request, client_address)
        server.shutdown_request(request)

    def busy_processes(self) -> set[int]:
        """This process, whose handler asks."""
        return {os.getpid()}

    def report(self, request: Any, client_address: Any) -> None:
        """Log the exception that is being handled."""
        self._say("error", f"{client_address}: {current_traceback()}")
