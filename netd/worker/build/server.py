"""The objects that handlers find as ``self.server`` if the service names no server class."""

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
    """Make the server object of a listener, and give it *listener*. It serves nothing by itself."""
    return hosted(server_class(transport), listener, host, handler, {"bind_and_activate": False})


def server_class(transport: Transport) -> type[socketserver.TCPServer]:
    """Return the standard library's server class for a transport."""
    return _CLASSES[transport]


class HandlerHost:
    """What the methods of such a server do if a handler calls them. Any thread.

    netd itself calls only ``shutdown_request`` and ``close_request``.
    """

    def __init__(self, say: Callable[[str, str], None], suspend: Callable[[], None]) -> None:
        self._say = say
        self.suspend = suspend

    def process(self, server: socketserver.BaseServer, request: Any, client_address: Any) -> None:
        """Serve a request that a handler has made itself, in its thread, as BaseServer does."""
        server.finish_request(request, client_address)
        server.shutdown_request(request)

    def busy_processes(self) -> set[int]:
        """Return this process: a handler that asks is running in it."""
        return {os.getpid()}

    def report(self, request: Any, client_address: Any) -> None:
        """Log the exception that is being handled, for ``handle_error``."""
        self._say("error", f"{client_address}: {current_traceback()}")
