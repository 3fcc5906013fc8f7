"""What a service can run by the reactor: which clients it takes, and how one is served."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import AbstractDatagramProtocol, Factory

from netd.handlers.asynchronous import (
    AsyncDatagramRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
)
from netd.ipc.probe import Requests


class NotRunnable(TypeError):
    """A thing that the reactor cannot run; the text says what it is, and what would do."""


def requests_of(what: Any) -> Requests:
    """Say which requests the reactor can serve by *what*. Raises NotRunnable."""
    kind = what if isinstance(what, type) else None
    if kind is not None and issubclass(kind, AsyncRequestHandler):
        if issubclass(kind, AsyncStreamRequestHandler):
            return "stream"
        return "datagram" if issubclass(kind, AsyncDatagramRequestHandler) else "any"
    if kind is not None and issubclass(kind, AbstractDatagramProtocol):
        return "datagram"
    if _makes(IProtocolFactory, what) or (kind is not None and IProtocol.implementedBy(kind)):
        return "stream"
    raise NotRunnable(
        f"is {_described(what)}; a Twisted Protocol, DatagramProtocol or protocol factory, or an"
        " asynchronous handler of netd.handlers would do"
    )


def is_handler(what: Any) -> bool:
    """Whether *what* is an asynchronous handler class."""
    return isinstance(what, type) and issubclass(what, AsyncRequestHandler)


def factory_of(what: Any, options: Mapping[str, Any]) -> Any:
    """Return an IProtocolFactory: *what* itself, or one made of it, with *options*.

    The options are keyword arguments of each protocol, or of the factory. Raises NotRunnable
    for a factory that is made already and gets options, and what the factory's class raises.
    """
    if not isinstance(what, type):
        if options:
            raise NotRunnable("is a factory object, made already, so it cannot have options")
        return what
    if IProtocolFactory.implementedBy(what):
        return what(**options)
    factory: Any = Factory.forProtocol(partial(what, **options) if options else what)
    factory.noisy = False
    return factory


def _makes(interface: Any, what: Any) -> bool:
    if isinstance(what, type):
        return bool(interface.implementedBy(what))
    return bool(interface.providedBy(what))


def _described(value: Any) -> str:
    if isinstance(value, type):
        return f'the class "{value.__qualname__}"'
    try:
        return f"{' '.join(repr(value).split()):.80}"
    except Exception:
        return f'a "{type(value).__qualname__}"'
