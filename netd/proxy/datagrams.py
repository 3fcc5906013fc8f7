"""Datagrams that a proxy has passed on: their client's address, and where an answer goes.

The proxy's header stands before the payload, in the same datagram, and names the client. An answer
goes to the proxy, which knows by the port that it arrives at which client it is for.
"""

from __future__ import annotations

from typing import Any, TypeVar

from netd.model.address import SocketAddress, inet6_text
from netd.proxy.header import parse_datagram

_T = TypeVar("_T")


class Proxied:
    """The address of a client behind a proxy; an answer to it is sent to ``proxy``.

    It equals the plain address and is of the same type, so a handler may compare and print it. An
    address that a handler makes from its parts is the client's only, without the way back.
    """

    proxy: SocketAddress


class ProxiedAddress(Proxied, tuple[Any, ...]):
    """The address of an Internet client."""


class ProxiedPath(Proxied, str):
    """The path of a Unix client."""


class ProxiedName(Proxied, bytes):
    """The abstract name of a Unix client (unix(7))."""


def proxied(address: SocketAddress, proxy: SocketAddress) -> SocketAddress:
    """The *address* of a client that was passed on by the *proxy* at that address."""
    made: ProxiedAddress | ProxiedPath | ProxiedName
    if isinstance(address, tuple):
        made = ProxiedAddress(address)
    elif isinstance(address, bytes):
        made = ProxiedName(address)
    else:
        made = ProxiedPath(address or "")
    made.proxy = proxy
    return made


def unwrapped(data: bytes, sender: SocketAddress) -> tuple[bytes, SocketAddress]:
    """Return the payload of a datagram from a proxy at *sender*, and its client's address.

    Raises ``netd.proxy.header.InvalidHeader``.
    """
    header, payload = parse_datagram(data)
    return payload, sender if header.source is None else proxied(header.source, sender)


def receiver(address: _T) -> _T | SocketAddress:
    """The address to send an answer for *address* to."""
    return address.proxy if isinstance(address, Proxied) else address


def text_of(address: SocketAddress | Proxied) -> str:
    """An address that a proxy has named, for people; a Unix client's path is not shown."""
    if not isinstance(address, tuple):
        return "unix"
    # By the address and not by the listener: a proxy may name a client of another family.
    return inet6_text(address) if ":" in address[0] else f"{address[0]}:{address[1]}"
