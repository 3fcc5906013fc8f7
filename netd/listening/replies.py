"""Who has sent a datagram, and from which address of this machine an answer has to leave.

A service that is bound to all addresses would answer from whichever the routing table says, and a
client that asked another one throws such an answer away.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from netd.listening.ancillary import IP_PKTINFO, IPV6_PKTINFO, PKTINFO4, PKTINFO6, Messages
from netd.listening.options.table import OPTIONS, Level
from netd.model.address import Transport

TELLING: Final = {
    socket.AF_INET: OPTIONS["IP_PKTINFO"],
    socket.AF_INET6: OPTIONS["IPV6_RECVPKTINFO"],
}
"""What has the system say to which address a datagram came."""

GONE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH, errno.ENODEV})
"""Why an answer cannot leave from an address: this machine does not have it any more, say."""

_MULTICAST6: Final = 0xFF


class Allowance:
    """How many bytes a client may still be answered with; *over* is told what was too much.

    It is the client's, so nobody else takes from it at the same time.
    """

    __slots__ = ("_left", "_over")

    def __init__(self, most: float, over: Callable[[int], None]) -> None:
        self._left = most
        self._over = over

    def takes(self, size: int) -> bool:
        """Whether *size* bytes may be sent, which are taken off then."""
        if size > self._left:
            self._over(size)
            return False
        self._left -= size
        return True


class Sender(tuple[Any, ...]):
    """The address of a client, and what is to be said to the system when it is answered.

    It is equal to the address itself, and of its type. Whoever makes another one of its parts has
    the address only: the system chooses where an answer leaves from, and nothing bounds it.
    """

    control: list[tuple[int, int, bytes]]
    allowance: Allowance | None

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes the address only."""
        return tuple, (tuple(self),)


def sender(address: Any, messages: Messages, allowance: Allowance | None = None) -> Any:
    """The *address* that a datagram is from, which came with these *messages*."""
    for level, kind, data in messages:
        control = _control(level, kind, data)
        if control is not None:
            return _made(address, control, allowance)
    return address if allowance is None else _made(address, [], allowance)


def like(address: Any, other: Sender) -> Sender:
    """Another form of the *address* of a sender."""
    return _made(address, other.control, other.allowance)


def _made(
    address: Any, control: list[tuple[int, int, bytes]], allowance: Allowance | None
) -> Sender:
    made = Sender(address)
    made.control = control
    made.allowance = allowance
    return made


def _control(level: int, kind: int, data: bytes) -> list[tuple[int, int, bytes]] | None:
    """What an answer says; None where a message is not about that, or nothing can be said."""
    if (level, kind) == (Level.IPPROTO_IP, IP_PKTINFO):
        # The local one: of a packet to a group, that of the interface (ip(7)). Which interface an
        # answer leaves by is for the routing table to say.
        _, local, _ = PKTINFO4.unpack(data[: PKTINFO4.size])
        return [(level, kind, PKTINFO4.pack(0, local, bytes(4)))]
    if (level, kind) == (Level.IPPROTO_IPV6, IPV6_PKTINFO) and data[0] != _MULTICAST6:
        return [(level, kind, PKTINFO6.pack(data[:16], 0))]
    return None


def answer(sock: Any, data: Any, flags: int, to: Sender) -> int:
    """Send *data* by *sock*, a socket, from where *to* has sent to. Raises OSError.

    What is more than it may be answered with is lost, as it may be anywhere on its way.
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
        sent = sock.sendto(data, flags, tuple(to))
    return sent


def tell_destinations(sock: socket.socket, transport: Transport) -> None:
    """Have the system say, of a UDP socket that is bound to all addresses, where datagrams come to.

    Raises nothing: a system that cannot is none that Linux is.
    """
    if transport.is_unix or not transport.is_datagram:
        return
    with suppress(OSError):
        if sock.getsockname()[0] in ("0.0.0.0", "::"):
            option = TELLING[sock.family]
            sock.setsockopt(option.level, option.number, 1)


def tells_destinations(sock: socket.socket) -> bool:
    """Whether it does."""
    option = TELLING.get(sock.family)
    if option is None or sock.type != socket.SOCK_DGRAM:
        return False
    try:
        return bool(sock.getsockopt(option.level, option.number))
    except OSError:
        return False
