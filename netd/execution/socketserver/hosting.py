"""Server classes as they are, on netd's listeners: what they find, and what their overrides do.

A server object is made of the user's class with layers put into its line of inheritance, each right
above the standard library's class that it answers for. An override is therefore found first, as it
would be, and its ``super()`` reaches netd instead of code that binds, forks, starts threads or
prints. The object's ``socket`` is netd's listener from the start, so a constructor that binds does
no harm.
"""

from __future__ import annotations

import os
import socket
import socketserver
import ssl
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final, Protocol

from netd.execution.sources.datagram import handle
from netd.listening.handler_view import ListenerSocket, unchanging

_STANDARD_BASES: Final = (
    socketserver.BaseServer,
    socketserver.TCPServer,
    socketserver.UDPServer,
)
_STANDARD: Final = (*_STANDARD_BASES, socketserver.ThreadingMixIn, socketserver.ForkingMixIn)
"""The classes whose methods netd answers for; those built on them are as good as a user's."""


class Host(Protocol):
    """What the ``super()`` of an override reaches, in whatever thread the user calls from."""

    def process(self, server: socketserver.BaseServer, request: Any, client_address: Any) -> None:
        """Run the handler for a request that ``process_request`` passes on."""

    def report(self, request: Any, client_address: Any) -> None:
        """Log the exception that is being handled, with its client."""

    def suspend(self) -> None:
        """Stop taking, in all processes of the service; returns when that is so."""

    def busy_processes(self) -> set[int]:
        """The pids of the service's processes that have a client inside."""


@dataclass(frozen=True)
class Overrides:
    """Which methods of a server are not the standard library's own; those that are cost nothing."""

    get_request: bool
    verify_request: bool
    process_request: bool
    process_request_thread: bool
    finish_request: bool
    shutdown_request: bool
    close_request: bool
    handle_error: bool
    service_actions: bool
    handle_timeout: bool
    server_close: bool

    @classmethod
    def of(cls, server: object) -> Overrides:
        """Find the overrides of a server class, or of an object, whose own attributes count too."""
        return cls(**{field.name: is_override(server, field.name) for field in fields(cls)})


def is_override(server: object, name: str) -> bool:
    """Whether *name* of a server class or object is not what ``socketserver`` has under it."""
    if not isinstance(server, type) and name in vars(server):
        return True
    kind = server if isinstance(server, type) else type(server)
    # That of the mix-ins calls the one behind it.
    passed_over = tuple(_MIXINS) if name == "server_close" else ()
    line = (base for base in kind.__mro__ if base not in passed_over)
    found = next((base for base in line if name in vars(base)), None)
    return found not in (None, *_STANDARD, ThreadingLayer, ForkingLayer, Layer)


def _process_request(self: Any, request: Any, client_address: Any) -> None:
    """Pass the request on to netd's pool."""
    host_of(self).process(self, request, client_address)


# No layer has a base but ``object``: it stands in the line of inheritance alone.


class ThreadingLayer:
    """What netd answers in the place of ThreadingMixIn.

    Only what that defines stands here: everything else of a class behind it is to be found.
    """

    process_request = _process_request

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Run the handler; netd reports what it raises, and ends the connection."""
        self.finish_request(request, client_address)  # type: ignore[attr-defined]


class ForkingLayer:
    """What netd answers in the place of ForkingMixIn."""

    process_request = _process_request

    def collect_children(self, *, blocking: bool = False) -> None:
        """Do nothing: the daemon reaps its workers, and a handler's children are its own."""

    @property
    def active_children(self) -> set[int]:
        """The pids of the service's busy workers."""
        return host_of(self).busy_processes()

    @active_children.setter
    def active_children(self, value: object) -> None:
        """Keep what is true."""


class Layer:
    """What netd answers in the place of TCPServer and BaseServer."""

    process_request = _process_request

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Run the handler, which may want to know what came with its datagram."""
        handle(self.RequestHandlerClass, request, client_address, self)  # type: ignore[attr-defined]

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
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> socketserver.BaseServer:
    """Make an object of the server class *kind* on *listener*, which it takes over.

    It is made as the class's users make it: with the address, the handler if there is one, and
    *options* as keyword arguments; *attributes* are those of its class that the service's file has
    a say in. Raises whatever its constructor raises.
    """
    made: Any = _on(kind, listener, host, attributes)
    address = listener.getsockname()
    arguments = (address,) if handler is None else (address, handler)
    server: socketserver.BaseServer = made(*arguments, **options)
    # The constructor may have been told not to bind, or may have an address of its own.
    server.server_address = address
    _keep_non_blocking(made.socket)
    return server


def adopted(
    function: Callable[..., Any],
    listener: ListenerSocket,
    host: Host,
    handler: type[socketserver.BaseRequestHandler] | None,
    options: Mapping[str, Any],
    attributes: Mapping[str, Any] = MappingProxyType({}),
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
    _check_adoptable(server, listener)
    own = vars(server).pop("socket", None)
    if isinstance(own, socket.socket):
        own.close()
    server.__class__ = _on(type(server), listener, host, attributes)
    server.server_address = listener.getsockname()
    if isinstance(server, socketserver.TCPServer):
        server.server_bind()
    if isinstance(own, ssl.SSLSocket):
        vars(type(server))["socket"].__set__(server, _wrapped_like(own, listener))
    return server


def _check_adoptable(server: socketserver.BaseServer, listener: socket.socket) -> None:
    """See that a server can be put on *listener*. Raises TypeError."""
    if isinstance(server, socketserver.TCPServer) and server.socket_type != listener.type:
        wanted = "streams" if listener.type == socket.SOCK_STREAM else "datagrams"
        raise TypeError(f"returned a {type(server).__name__}, which cannot serve {wanted}")
    if hasattr(type(server), "netd_host"):
        raise TypeError("returned the same server twice: every listener needs one of its own")


def _wrapped_like(own: ssl.SSLSocket, listener: socket.socket) -> ssl.SSLSocket:
    """Wrap *listener* as a function has wrapped the socket that it made."""
    settings: Any = own  # the type stubs know of none of these
    return own.context.wrap_socket(
        listener,
        server_side=settings.server_side,
        do_handshake_on_connect=settings.do_handshake_on_connect,
        suppress_ragged_eofs=settings.suppress_ragged_eofs,
    )


def _on(
    kind: type[socketserver.BaseServer],
    listener: ListenerSocket,
    host: Host,
    attributes: Mapping[str, Any],
) -> type[socketserver.BaseServer]:
    """The class *kind* with netd's layer in its line, and with *listener* as its socket."""

    class Line(type(kind)):  # type: ignore[misc]
        def mro(cls) -> list[type]:
            line = list(super().mro())
            line.insert(_first_of(_STANDARD_BASES, line), Layer)
            for mixin, layer in _MIXINS.items():
                if mixin in line:
                    line.insert(line.index(mixin), layer)
            return line

    namespace = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "netd_host": host,
        "socket": _Socket(listener),
        "address_family": listener.family,
        **attributes,
    }
    return Line(kind.__name__, (kind,), namespace)


_MIXINS: Final[Mapping[type, type]] = {
    socketserver.ThreadingMixIn: ThreadingLayer,
    socketserver.ForkingMixIn: ForkingLayer,
}


def _first_of(classes: Collection[type], line: Sequence[type]) -> int:
    """Where in *line* the first of *classes* is."""
    return next(place for place, kind in enumerate(line) if kind in classes)


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
            _keep_non_blocking(value)
            self._socket = unchanging(value)
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
