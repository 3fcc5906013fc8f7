"""The sender of a datagram, and from which address of this machine an answer must leave.

A socket that is bound to all addresses answers from the address that the routing table chooses. A
client that sent its datagram to another address of this machine discards such an answer.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from netd.listening.ancillary import IP_PKTINFO, IPV6_PKTINFO, PKTINFO4, PKTINFO6, Messages
from netd.listening.options.table import OPTIONS, Level
from netd.model.address import SocketAddress, Transport
from netd.model.socket_options import SetOption

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_DESTINATION_OPTIONS: Final = {
    socket.AF_INET: OPTIONS["IP_PKTINFO"],
    socket.AF_INET6: OPTIONS["IPV6_RECVPKTINFO"],
}
"""The option with which the kernel passes the destination of each datagram."""

GONE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH, errno.ENODEV})
"""Errors of an answer that cannot leave from an address, for example because it was removed."""

_MULTICAST6: Final = 0xFF
"""The first byte of an IPv6 group (RFC 4291, 2.7)."""

_Control = list[tuple[int, int, bytes]]
"""Ancillary data for ``sendmsg``."""


class Allowance:
    """How many bytes may still be sent to one client; *over* is called with each excess size.

    Not locked: it belongs to one request, which one thread serves.
    """

    __slots__ = ("_left", "_over")

    def __init__(self, most: float, over: Callable[[int], None]) -> None:
        self._left = most
        self._over = over

    def takes(self, size: int) -> bool:
        """Whether *size* bytes may be sent. If so, they are subtracted."""
        if size > self._left:
            self._over(size)
            return False
        self._left -= size
        return True


class Sender(tuple[Any, ...]):
    """The address of a client, with what the kernel needs for an answer to it.

    It equals the plain address and is of the same type, so a handler may compare and print it. An
    address that a handler makes from its parts is a plain one: the kernel chooses where an answer
    leaves from, and no allowance bounds it.
    """

    control: _Control
    allowance: Allowance | None

    def __reduce__(self) -> tuple[type, tuple[tuple[Any, ...]]]:
        """Pickle as the plain address: the rest means nothing in another process."""
        return tuple, (tuple(self),)


def sender(
    address: SocketAddress, messages: Messages, allowance: Allowance | None = None
) -> SocketAddress:
    """The *address* of the sender of a datagram that came with *messages*."""
    for level, kind, data in messages:
        control = _control(level, kind, data)
        if control is not None:
            return _sender(address, control, allowance)
    return address if allowance is None else _sender(address, [], allowance)


def like(address: SocketAddress, other: Sender) -> Sender:
    """The same client with another form of its *address*."""
    return _sender(address, other.control, other.allowance)


def _sender(address: SocketAddress, control: _Control, allowance: Allowance | None) -> Sender:
    assert isinstance(address, tuple)  # only Internet sockets have destinations and allowances
    made = Sender(address)
    made.control = control
    made.allowance = allowance
    return made


def _control(level: int, kind: int, data: bytes) -> _Control | None:
    """What to send with an answer; None for another kind of message, and for a group."""
    if (level, kind) == (Level.IPPROTO_IP, IP_PKTINFO):
        # The local address, and not the destination: for a packet to a group it is that of the
        # interface (ip(7)). The interface stays 0, since routing chooses it.
        _, local, _ = PKTINFO4.unpack(data[: PKTINFO4.size])
        return [(level, kind, PKTINFO4.pack(0, local, bytes(4)))]
    # IPv6 has no such local address, and an answer cannot come from a group.
    if (level, kind) == (Level.IPPROTO_IPV6, IPV6_PKTINFO) and data[0] != _MULTICAST6:
        return [(level, kind, PKTINFO6.pack(data[:16], 0))]
    return None


def answer(sock: Any, data: ReadableBuffer, flags: int, to: Sender) -> int:
    """Send *data* by *sock* from the address that *to* has sent to. Raises OSError.

    *sock* is a socket, or ``super()`` in one of its methods. Data beyond the allowance is dropped
    and counts as sent, as if the network had lost it.
    """
    size = memoryview(data).nbytes
    if to.allowance is not None and not to.allowance.takes(size):
        return size
    sent: int
    try:
        sent = sock.sendmsg([data], to.control, flags, to)
    except OSError as error:
        if error.errno not in GONE:
            raise
        # An answer from another address is better than none: some clients accept it.
        sent = sock.sendto(data, flags, tuple(to))
    return sent


def request_destinations(
    sock: socket.socket, transport: Transport, options: Iterable[SetOption] = ()
) -> None:
    """Let the kernel pass the destination of each datagram to a UDP socket of all addresses.

    Not if the service's own *options* have that option, on or off. Raises nothing: without it the
    socket still serves, and every Linux has it.
    """
    if transport.is_unix or not transport.is_datagram:
        return
    option = _DESTINATION_OPTIONS[sock.family]
    if any(one.number == option.number for one in options):
        return
    with suppress(OSError):
        # A socket of one address answers from that address anyway.
        if sock.getsockname()[0] in ("0.0.0.0", "::"):
            sock.setsockopt(option.level, option.number, 1)


def tells_destinations(sock: socket.socket) -> bool:
    """Whether datagrams of *sock* come with their destination."""
    option = _DESTINATION_OPTIONS.get(sock.family)
    if option is None or sock.type != socket.SOCK_DGRAM:
        return False
    try:
        return bool(sock.getsockopt(option.level, option.number))
    except OSError:
        return False
