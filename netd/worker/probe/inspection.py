"""What a configuration's handlers, servers, protocols, programs and plugins are, by inspection."""

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
"""The highest value of the key ``processes``."""


class Unusable(Exception):
    """An object cannot serve as what its key names. The text continues after the object's name."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        """The key that causes this, if it is not the one that names the object."""


@dataclass(frozen=True)
class Inspection:
    """What a service runs; see ``ipc.probe.Facts``, which has these fields."""

    requests: Requests
    execution: Execution
    server: ServerFacts | None = None
    notes: tuple[str, ...] = ()


def inspect_code(key: str, loaded: Mapping[str, Any], options: Collection[str]) -> Inspection:
    """Inspect the object that *key* names, and check that it can be called with *options*.

    *loaded* has every imported object by its key. Raises Unusable.
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


def inspect_installed(what: Program | Plugin) -> Inspection:
    """Check that this process's user can execute a program, or that a plugin takes its arguments.

    Raises Unusable.
    """
    if isinstance(what, Program):
        if not os.access(what.path, os.X_OK):
            raise Unusable(f"uid {os.geteuid()} cannot execute {what.path}")
        return Inspection("any", "program")
    # Imported here: most services run no plugin, and this costs as much as their own imports.
    from netd.worker.build import plugins

    try:
        plugins.parse_arguments(what)
    except plugins.NoSuchPlugin as error:
        raise Unusable(str(error)) from None
    except plugins.BadArguments as error:
        raise Unusable(str(error), "arguments") from None
    return Inspection("any", "plugin")


# Handlers and protocols.


def _handler(handler: Any, options: Collection[str]) -> Inspection:
    if isinstance(handler, type) and issubclass(handler, socketserver.BaseRequestHandler):
        _check_call(handler, 3, options)
        return Inspection(_requests_of(handler), "blocking")
    # Imported here: most handlers are blocking, and need no Twisted.
    from netd.execution.reactor.runnable import is_handler, requests_of

    if is_handler(handler):
        _check_call(handler, 3, options)
        return Inspection(requests_of(handler), "reactor")
    raise Unusable(
        f"is {_described(handler)}, not a subclass of socketserver.BaseRequestHandler or "
        "netd.handlers.AsyncRequestHandler"
    )


def _requests_of(handler: type) -> Requests:
    if issubclass(handler, socketserver.StreamRequestHandler):
        return "stream"
    return "datagram" if issubclass(handler, socketserver.DatagramRequestHandler) else "any"


def _protocol(what: Any) -> Inspection:
    from netd.execution.reactor.runnable import NotRunnable, requests_of

    try:
        return Inspection(requests_of(what), "reactor")
    except NotRunnable as error:
        raise Unusable(str(error)) from None


# Servers.


def _server(server: Any, handler: Any, options: Collection[str]) -> Inspection:
    arguments = 1
    if handler is not None:
        _check_server_handler(handler)
        arguments = 2
    if isinstance(server, type):
        if not issubclass(server, socketserver.BaseServer):
            raise Unusable(f"is {_described(server)}, not a subclass of socketserver.BaseServer")
        _check_call(server, arguments, options)
        return Inspection(_kind_of(server), "blocking", _facts_of(server), _notes_of(server))
    if not callable(server):
        raise Unusable(f"is {_described(server)}, not a server class, or a function that makes one")
    _check_call(server, arguments, options)
    return Inspection("any", "blocking")


def _check_server_handler(handler: Any) -> None:
    # Any class will do: only the server calls it.
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
    """``request_queue_size`` of a user's class. The standard library's 5 expresses no decision."""
    setter = next((base for base in server.__mro__ if "request_queue_size" in vars(base)), None)
    if setter is None or setter.__module__.partition(".")[0] in sys.stdlib_module_names:
        return None
    return _number(vars(setter)["request_queue_size"], 1, 65535)


def _number(value: Any, least: int, most: int) -> int | None:
    """An attribute's number, moved into the range that can be used; None if it is no number."""
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
    """Check that *what* can be called with so many arguments, and with the options by name."""
    try:
        signature = inspect.signature(what)
    except (TypeError, ValueError):  # written in C, or with a broken __signature__
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
    except Exception:  # a user's __repr__
        return f'a "{type(value).__qualname__}"'
