"""What the things that a configuration names are, and what that says of how to run them."""

from __future__ import annotations

import inspect
import os
import socket
import socketserver
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from netd.execution.socketserver.hosting import is_override
from netd.ipc.probe import Execution, MixIn, Requests, ServerFacts
from netd.model.service import Plugin, Program

_MOST_CHILDREN: Final = 1_000
"""As many as the key ``processes`` takes."""


class Unusable(Exception):
    """Something cannot be what its key wants; the text goes on from its name."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        """The key to blame, if it is not the one that names the thing."""


@dataclass(frozen=True)
class Seen:
    """What a service runs."""

    requests: Requests
    execution: Execution
    server: ServerFacts | None = None
    notes: tuple[str, ...] = ()


def inspected(key: str, loaded: Mapping[str, Any], options: Collection[str]) -> Seen:
    """Say what *loaded*, by the keys that name it, is, and whether it takes *options*.

    Raises Unusable.
    """
    what = loaded[key]
    if key == "protocol":
        return _protocol(what)
    if key == "server":
        return _server(what, loaded.get("handler"), options)
    return _handler(what, options)


def check_callable(function: Any) -> None:
    """Raise Unusable if *function* cannot be called."""
    if not callable(function):
        raise Unusable(f"is {_described(function)}, not a function")


def checked(what: Program | Plugin) -> Seen:
    """See that a program can be executed, or a plugin's arguments be understood, by us.

    Raises Unusable.
    """
    if isinstance(what, Program):
        if not os.access(what.path, os.X_OK):
            raise Unusable(f"uid {os.geteuid()} cannot execute {what.path}")
        return Seen("any", "program")
    # Here, because most services need nothing of it.
    from netd.worker.build import plugins

    try:
        plugins.parsed(what)
    except plugins.NoSuchPlugin as error:
        raise Unusable(str(error)) from None
    except plugins.BadArguments as error:
        raise Unusable(str(error), "arguments") from None
    return Seen("any", "plugin")


# Handlers and protocols.


def _handler(handler: Any, options: Collection[str]) -> Seen:
    if isinstance(handler, type) and issubclass(handler, socketserver.BaseRequestHandler):
        _check_call(handler, 3, options)
        return Seen(_requests_of(handler), "blocking")
    # Here, because blocking handlers, which are most, need nothing of it.
    from netd.execution.reactor.runnable import is_handler, requests_of

    if is_handler(handler):
        _check_call(handler, 3, options)
        return Seen(requests_of(handler), "reactor")
    raise Unusable(
        f"is {_described(handler)}, not a subclass of socketserver.BaseRequestHandler or "
        "netd.handlers.AsyncRequestHandler"
    )


def _requests_of(handler: type) -> Requests:
    if issubclass(handler, socketserver.StreamRequestHandler):
        return "stream"
    return "datagram" if issubclass(handler, socketserver.DatagramRequestHandler) else "any"


def _protocol(what: Any) -> Seen:
    from netd.execution.reactor.runnable import NotRunnable, requests_of

    try:
        return Seen(requests_of(what), "reactor")
    except NotRunnable as error:
        raise Unusable(str(error)) from None


# Servers.


def _server(server: Any, handler: Any, options: Collection[str]) -> Seen:
    arguments = 1
    if handler is not None:
        _check_server_handler(handler)
        arguments = 2
    if isinstance(server, type):
        if not issubclass(server, socketserver.BaseServer):
            raise Unusable(f"is {_described(server)}, not a subclass of socketserver.BaseServer")
        _check_call(server, arguments, options)
        return Seen(_kind_of(server), "blocking", _facts_of(server), _notes_of(server))
    if not callable(server):
        raise Unusable(f"is {_described(server)}, not a server class, or a function that makes one")
    _check_call(server, arguments, options)
    return Seen("any", "blocking")


def _check_server_handler(handler: Any) -> None:
    # Of any class: it is the server that calls it.
    if not callable(handler):
        raise Unusable(f"is {_described(handler)}, not a request handler class", "handler")


def _kind_of(server: type[socketserver.BaseServer]) -> Requests:
    kind = getattr(server, "socket_type", None)
    if kind == socket.SOCK_STREAM:
        return "stream"
    return "datagram" if kind == socket.SOCK_DGRAM else "any"


def _facts_of(server: type[socketserver.BaseServer]) -> ServerFacts:
    forking, threading = socketserver.ForkingMixIn, socketserver.ThreadingMixIn
    mixins: dict[type, MixIn] = {forking: "process", threading: "thread"}
    children = getattr(server, "max_children", None)
    return ServerFacts(
        mixin=next((mixins[base] for base in server.__mro__ if base in mixins), None),
        reuse_port=bool(getattr(server, "allow_reuse_port", False)),
        backlog=_backlog_of(server),
        datagram_size=_number(getattr(server, "max_packet_size", None), 1, 1 << 20),
        children=_number(children, 1, _MOST_CHILDREN),
    )


def _backlog_of(server: type) -> int | None:
    """``request_queue_size``, but not the standard library's own, which is 5."""
    setter = next((base for base in server.__mro__ if "request_queue_size" in vars(base)), None)
    if setter is None or setter.__module__.partition(".")[0] in sys.stdlib_module_names:
        return None
    return _number(vars(setter)["request_queue_size"], 1, 65535)


def _number(value: Any, least: int, most: int) -> int | None:
    """A number that an attribute has, as far as it can be used; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return max(least, min(value, most))


def _notes_of(server: type[socketserver.BaseServer]) -> tuple[str, ...]:
    if not is_override(server, "serve_forever"):
        return ()
    return (
        f'"{server.__qualname__}" overrides serve_forever(), and netd takes requests itself: the '
        "override is not run",
    )


def _check_call(what: Callable[..., Any], arguments: int, options: Collection[str]) -> None:
    """See that *what* can be called with so many arguments, and the options' names."""
    try:
        signature = inspect.signature(what)
    except (TypeError, ValueError):  # made in C, or with a signature that is none
        return
    try:
        signature.bind(*range(arguments), **dict.fromkeys(options))
    except TypeError as error:
        given = ", ".join(options)
        with_options = f" and options ({given})" if options else ""
        key = "options" if options else None
        raise Unusable(
            f"cannot be called with {arguments} argument{'s' if arguments > 1 else ''}"
            f"{with_options}: {error}",
            key,
        ) from None


def _described(value: Any) -> str:
    if isinstance(value, type):
        return f'the class "{value.__qualname__}"'
    try:
        return f"{value!r:.80}"
    except Exception:
        return f'a "{type(value).__qualname__}"'
