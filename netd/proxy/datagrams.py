"""Datagrams that a proxy has handed on: whose they are, and where the answer goes.

A proxy's header stands before the payload, in the same datagram. The client is who the header
names; the answer goes to the proxy, which knows by the port that it comes to whom it is for.
"""

from __future__ import annotations

from typing import Any

from netd.model.address import inet6_text
from netd.proxy.header import parse_datagram


class Proxied:
    """The address of a client that comes by a proxy; what is sent to it goes to ``proxy``.

    It is equal to the address itself, and of its type. Whoever makes another one of its parts has
    the address of the client only.
    """

    proxy: Any


class ProxiedAddress(Proxied, tuple[Any, ...]):
    """An Internet client's."""


class ProxiedPath(Proxied, str):
    """A Unix client's."""


class ProxiedName(Proxied, bytes):
    """That of a Unix client with an abstract name (unix(7))."""


def proxied(address: Any, proxy: Any) -> Any:
    """The *address* of a client that comes by the proxy at that other address."""
    made: ProxiedAddress | ProxiedPath | ProxiedName
    if isinstance(address, tuple):
        made = ProxiedAddress(address)
    else:
        made = ProxiedPath(address) if isinstance(address, str) else ProxiedName(address)
    made.proxy = proxy
    return made


def unwrapped(data: bytes, sender: Any) -> tuple[bytes, Any]:
    """Return the payload of a datagram from a proxy at *sender*, and whose it is.

    Raises ``proxy_protocol.InvalidHeader``.
    """
    header, payload = parse_datagram(data)
    return payload, sender if header.source is None else proxied(header.source, sender)


def receiver(address: Any) -> Any:
    """Where an answer to *address* is to be sent to."""
    return address.proxy if isinstance(address, Proxied) else address


def text_of(address: Any) -> str:
    """An address that a proxy has named, for people; a Unix client's path says nothing of it."""
    if not isinstance(address, tuple):
        return "unix"
    return inet6_text(address) if ":" in address[0] else f"{address[0]}:{address[1]}"
