"""Taking from a listener: what the errors of accept(2) mean, and how a client is called."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, Final

from netd.values.address import Transport

TIMED_OUT: Final = "handshake_timeout"
"""Why a client is not served that had not begun in time."""

CROWDED: Final = "handshakes"
"""Why one is not while too many others have not begun."""

LAST_CALL: Final = 3.0
"""Seconds that those who have not begun get when nobody new is taken any more: a client whose first
packet was lost sends it again after one second and once more after two (RFC 6298)."""

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The system has no more descriptors or memory: try again later, never at once."""

NEXT: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EINTR,
        # The client gave up before it was taken, or the network told a lie about it: accept(2),
        # "Error handling", wants these treated like "nothing there".
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
    }
)
"""Errors of one client's own: take the next."""


def client_text(transport: Transport) -> Callable[[Any], str]:
    """Return what writes a client's address for people; of a Unix client there is none."""
    if transport.is_unix:
        return lambda address: "unix"
    if transport.family == socket.AF_INET6:
        return inet6_text
    return lambda address: f"{address[0]}:{address[1]}"


_MAPPED: Final = "::ffff:"
"""How an IPv4 client's address begins at a listener of both families (RFC 4291, 2.5.5.2)."""


def inet6_text(address: Any) -> str:
    """An IPv6 address for people, or the IPv4 one that it stands for, with its port."""
    host: str = address[0]
    if host.startswith(_MAPPED) and "." in host:
        return f"{host.removeprefix(_MAPPED)}:{address[1]}"
    return f"[{host}]:{address[1]}"
