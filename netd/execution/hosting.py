"""Server classes as they are, on netd's listeners: what they find, and what their overrides do.

A server object is made of the user's class with one layer put into its line of inheritance, right
above the standard library's classes. An override is therefore found first, as it would be, and its
``super()`` reaches netd instead of code that binds, forks, starts threads or prints. The object's
``socket`` is netd's listener from the start, so a constructor that binds does no harm.
"""

from __future__ import annotations

import os
import socket
import socketserver
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol

from netd.listening.inherited import ListenerSocket

_STANDARD: Final = (
    socketserver.BaseServer,
    socketserver.TCPServer,
    socketserver.UDPServer,
    socketserver.ThreadingMixIn,
    socketserver.ForkingMixIn,
)
"""The classes whose methods netd answers for; those built on them are as good as a user's."""


class Host(Protocol):
    """What the ``super()`` of an override reaches, in whatever thread the user calls from."""

    def process(self, server: socketserver.BaseServer, request: Any, client_address: Any) -> None:
        """Run the handler for a request that ``process_request`` passes on."""

    def report(self, request: Any, client_address: Any) -> None:
        """Log the exception that is being handled, with its client."""

    def suspend(self) -> None:
        """Stop taking, in all processes of the service; returns when that is so."""


@dataclass(frozen=True)
class Hooks:
    """Which methods of a server are not the standard library's own; those that are cost nothing."""

    get_request: bool
    verify_request: bool
    process_request: bool
    finish_request: bool
    shutdown_request: bool
    close_request: bool
    handle_error: bool
    service_actions: bool
    handle_timeout: bool
    server_close: bool

    @classmethod
    def of(cls, server: object) -> Hooks:
        """Find the overrides of a server class, or of an object, whose own attributes count too."""
        return cls(**{field.name: is_override(server, field.name) for field in fields(cls)})


def is_override(server: object, name: str) -> bool:
    """Whether *name* of a server class or object is not what ``socketserver`` has under it."""
    if not isinstance(server, type) and name in vars(server):
        return True
    kind = server if isinstance(server, type) else type(server)
    found = next((base for base in kind.__mro__ if name in vars(base)), None)
    return found not in (*_STANDARD, Layer)


class Layer:
    """What netd answers in the place of the standard library; in the line of inheritance only."""

    def process_request(self, request: Any, client_address: Any) -> None:
        """Pass the request on to netd's pool."""
        host_of(self).process(self, request, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what left a handler, instead of printing it."""
        host_of(self).report(request, client_address)

    def shutdown(self) -> None:
        """Suspend the service; handlers go on. Safe from every thread, a handler's own too."""
        host_of(self).suspend()

    def server_close(self) -> None:
        """Close the object's own copy of the listener. netd's listener stays."""
        self.socket.close()  # type: ignore[attr-defined]


def host_of(server: Any) -> Host:
    """The host of a server object that ``hosted`` made."""
    host: Host = type(server).netd_host
    return host


def hosted(
    kind: type[socketserver.BaseServer],
    listener: ListenerSocket,
    host: Host,
    handler: type[socketserver.BaseRequestHandler] | None,
    options: Mapping[str, Any],
) -> socketserver.BaseServer:
    """Make an object of the server class *kind* on *listener*, which it takes over.

    It is made as the class's users make it: with the address, the handler if there is one, and
    *options* as keyword arguments. Raises whatever its constructor raises.
    """
    made = _on(kind, listener, host)
    address = listener.getsockname()
    arguments = (address,) if handler is None else (address, handler)
    server: socketserver.BaseServer = made(*arguments, **options)
    # The constructor may have been told not to bind, or may have an address of its own.
    server.server_address = address
    _keep_non_blocking(listener)
    return server


def adopted(
    function: Callable[..., Any],
    listener: ListenerSocket,
    host: Host,
    handler: type[socketserver.BaseRequestHandler] | None,
    options: Mapping[str, Any],
) -> socketserver.BaseServer:
    """Let *function* make a server, and put *listener*, which it takes over, in its socket's place.

    The function is called with an address that it may bind: a free port of the loopback, or a
    path in a directory that is there for as long as the call takes, and with the handler if there
    is one. Raises TypeError when what it returns is no server of ``socketserver``'s.
    """
    with tempfile.TemporaryDirectory(prefix="netd-") as directory:
        address = _free_address(listener, directory)
        arguments = (address,) if handler is None else (address, handler)
        server = function(*arguments, **options)
    if not isinstance(server, socketserver.BaseServer):
        raise TypeError(f"returned {server!r:.80}, which is no socketserver.BaseServer")
    own = getattr(server, "socket", None)
    if isinstance(own, socket.socket):
        own.close()
    vars(server).pop("socket", None)
    server.__class__ = _on(type(server), listener, host)
    server.server_address = listener.getsockname()
    if isinstance(server, socketserver.TCPServer):
        server.server_bind()
    return server


def _on(
    kind: type[socketserver.BaseServer], listener: ListenerSocket, host: Host
) -> type[socketserver.BaseServer]:
    """The class *kind* with netd's layer in its line, and with *listener* as its socket."""

    class Line(type(kind)):  # type: ignore[misc]
        def mro(cls) -> list[type]:
            line = list(super().mro())
            place = next(index for index, base in enumerate(line) if base in _STANDARD)
            return [*line[:place], Layer, *line[place:]]

    namespace = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "netd_host": host,
        "socket": _Socket(listener),
        "address_family": listener.family,
    }
    return Line(kind.__name__, (kind,), namespace)


class _Socket:
    """The ``socket`` of one server object: netd's listener, or what the object makes of it.

    Descriptor. A constructor's new socket is closed and forgotten; the listener wrapped in
    something else (``SSLContext.wrap_socket``) is kept.
    """

    def __init__(self, listener: ListenerSocket) -> None:
        self._socket: Any = listener
        self._identity = _identity(listener)

    def __get__(self, server: object, kind: type) -> Any:
        return self._socket

    def __set__(self, server: object, value: Any) -> None:
        if value is self._socket:
            return
        if _identity(value) == self._identity:
            self._socket = value
            _keep_non_blocking(value)
        elif isinstance(value, socket.socket):
            value.close()


def _identity(value: Any) -> tuple[int, int] | None:
    """What tells a kernel socket from all others, whatever Python object holds it."""
    try:
        status = os.fstat(value.fileno())
    except (OSError, AttributeError, ValueError, TypeError):
        return None
    return status.st_dev, status.st_ino


def _keep_non_blocking(listener: socket.socket) -> None:
    """Undo what wrapping may have done: O_NONBLOCK is that of the open file, in all processes."""
    if listener.type == socket.SOCK_STREAM:
        os.set_blocking(listener.fileno(), False)


def _free_address(listener: socket.socket, directory: str) -> Any:
    if listener.family == socket.AF_UNIX:
        return os.path.join(directory, "socket")
    host = "::1" if listener.family == socket.AF_INET6 else "127.0.0.1"
    with socket.socket(listener.family, listener.type) as free:
        free.bind((host, 0))
        return free.getsockname()[:2]
