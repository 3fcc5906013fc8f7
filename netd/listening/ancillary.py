"""What the system tells with a datagram (cmsg(3)), as plain Python values.

Each is under the name of the option that asks for it, as in ``[services.NAME.socket]``.
"""

from __future__ import annotations

import os
import socket
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from netd.listening.options.table import Level

Messages = Iterable[tuple[int, int, bytes]]
"""Level, type and data of each, as ``socket.recvmsg`` returns them."""

SPACE: Final = 1024
"""Bytes for all that comes with a datagram; some extension headers may be longer, and are cut."""

IP_PKTINFO: Final = 8
IPV6_PKTINFO: Final = 50
SCM_PIDFD: Final = 4
"""Types of messages that Python's ``socket`` does not name: <linux/in.h>, <linux/in6.h>,
<linux/socket.h>."""

PKTINFO4: Final = struct.Struct("i4s4s")
"""``struct in_pktinfo`` of ip(7): interface, local address, destination in the header."""

PKTINFO6: Final = struct.Struct("16sI")
"""``struct in6_pktinfo`` (RFC 3542, 6.1): destination, interface."""

_UCRED: Final = struct.Struct("3i")
_TIMEVAL: Final = struct.Struct("ll")
"""``struct timeval`` and ``struct timespec``."""

_A_SECOND: Final = 1_000_000_000
"""Nanoseconds."""


def _number(data: bytes) -> int:
    """An int of C's, or a byte, which some kernels send."""
    return int(struct.unpack("i", data[:4])[0]) if len(data) >= 4 else data[0]


def _unsigned(data: bytes) -> int:
    return int(struct.unpack("I", data[:4])[0])


def _network_order(data: bytes) -> int:
    return int.from_bytes(data[:4])


def _microseconds(data: bytes) -> float:
    seconds, rest = _TIMEVAL.unpack(data[: _TIMEVAL.size])
    return float(seconds + rest / 1_000_000)


def _nanoseconds(data: bytes) -> int:
    seconds, rest = _TIMEVAL.unpack(data[: _TIMEVAL.size])
    return int(seconds * _A_SECOND + rest)


def _stamps(data: bytes) -> list[int]:
    return [_nanoseconds(data[at:]) for at in range(0, len(data), _TIMEVAL.size)]


def _packet4(data: bytes) -> dict[str, Any]:
    index, local, destination = PKTINFO4.unpack(data[: PKTINFO4.size])
    return {
        "address": socket.inet_ntoa(destination),
        "local": socket.inet_ntoa(local),
        "index": index,
        "interface": _interface(index),
    }


def _packet6(data: bytes) -> dict[str, Any]:
    destination, index = PKTINFO6.unpack(data[: PKTINFO6.size])
    address = socket.inet_ntop(socket.AF_INET6, destination)
    return {"address": address, "index": index, "interface": _interface(index)}


def _interface(index: int) -> str | None:
    try:
        return socket.if_indextoname(index)
    except OSError:  # it has gone
        return None


def _address4(data: bytes) -> tuple[str, int]:
    return socket.inet_ntoa(data[4:8]), int.from_bytes(data[2:4])


def _address6(data: bytes) -> tuple[str, int]:
    return socket.inet_ntop(socket.AF_INET6, data[8:24]), int.from_bytes(data[2:4])


def _credentials(data: bytes) -> dict[str, int]:
    pid, uid, gid = _UCRED.unpack(data[: _UCRED.size])
    return {"pid": pid, "uid": uid, "gid": gid}


def _label(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


_S, _I, _6, _U = Level.SOL_SOCKET, Level.IPPROTO_IP, Level.IPPROTO_IPV6, Level.IPPROTO_UDP

KNOWN: Final[Mapping[tuple[int, int], tuple[str, Callable[[bytes], Any]]]] = MappingProxyType(
    {
        (_S, 2): ("SO_PASSCRED", _credentials),
        (_S, 3): ("SO_PASSSEC", _label),
        (_S, 12): ("SO_RCVPRIORITY", _unsigned),
        (_S, 29): ("SO_TIMESTAMP", _microseconds),
        (_S, 35): ("SO_TIMESTAMPNS", _nanoseconds),
        (_S, 36): ("SO_RCVMARK", _unsigned),
        (_S, 37): ("SO_TIMESTAMPING", _stamps),
        (_S, 40): ("SO_RXQ_OVFL", _unsigned),
        (_I, 1): ("IP_RECVTOS", lambda data: data[0]),
        (_I, 2): ("IP_RECVTTL", _number),
        (_I, 6): ("IP_RECVOPTS", bytes),
        (_I, 7): ("IP_RECVRETOPTS", bytes),
        (_I, IP_PKTINFO): ("IP_PKTINFO", _packet4),
        (_I, 20): ("IP_RECVORIGDSTADDR", _address4),
        (_I, 23): ("IP_CHECKSUM", _unsigned),
        (_I, 25): ("IP_RECVFRAGSIZE", _number),
        (_6, 11): ("IPV6_FLOWINFO", _network_order),
        (_6, IPV6_PKTINFO): ("IPV6_RECVPKTINFO", _packet6),
        (_6, 52): ("IPV6_RECVHOPLIMIT", _number),
        (_6, 54): ("IPV6_RECVHOPOPTS", bytes),
        (_6, 57): ("IPV6_RECVRTHDR", bytes),
        (_6, 59): ("IPV6_RECVDSTOPTS", bytes),
        (_6, 61): ("IPV6_RECVPATHMTU", bytes),
        (_6, 67): ("IPV6_RECVTCLASS", _number),
        (_6, 74): ("IPV6_RECVORIGDSTADDR", _address6),
        (_6, 77): ("IPV6_RECVFRAGSIZE", _number),
        (_U, 104): ("UDP_GRO", _number),
    }
)
"""By level and type of the message: the option that asks for it, and how it is read."""


def values(messages: Messages) -> dict[str, Any]:
    """What *messages* say; those that nobody here knows are left out."""
    found = {}
    for level, kind, data in messages:
        known = KNOWN.get((level, kind))
        if known is not None:
            # One that was cut, for want of space.
            with suppress(ValueError, IndexError, struct.error, OSError):
                found[known[0]] = known[1](data)
    return found


def close_descriptors(messages: Messages) -> None:
    """Close the descriptors that a Unix client has passed: nobody has asked for them."""
    for level, kind, data in messages:
        if level == _S and kind in (socket.SCM_RIGHTS, SCM_PIDFD):
            descriptors = array("i", data[: len(data) // 4 * 4])
            for descriptor in descriptors:
                with suppress(OSError):
                    os.close(descriptor)
