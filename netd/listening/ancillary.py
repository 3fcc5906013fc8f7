"""The ancillary data that the kernel passes with a datagram (cmsg(3)), as plain Python values.

Each value is named by the option that asks for it, as in ``[services.NAME.socket]``.
"""

from __future__ import annotations

import os
import socket
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final, TypeAlias

from netd.listening.options.table import Level

Messages = Iterable[tuple[int, int, bytes]]
"""Level, type and data of each message, as ``socket.recvmsg`` returns them."""

Value: TypeAlias = (
    int | float | str | bytes | list[int] | tuple[str, int] | dict[str, int | str | None]
)
"""What a message is read as."""

SPACE: Final = 1024
"""Bytes for all messages of a datagram. Some IPv6 extension headers can be longer; they are cut."""

IP_PKTINFO: Final = 8
IPV6_PKTINFO: Final = 50
SCM_PIDFD: Final = 4
"""Message types without a name in Python's ``socket``: <linux/in.h>, <linux/in6.h>,
<linux/socket.h>."""

PKTINFO4: Final = struct.Struct("i4s4s")
"""``struct in_pktinfo`` of ip(7): interface, local address, destination in the header."""

PKTINFO6: Final = struct.Struct("16sI")
"""``struct in6_pktinfo`` (RFC 3542, 6.1): destination, interface."""

_UCRED: Final = struct.Struct("3i")
_TIMEVAL: Final = struct.Struct("ll")
"""``struct timeval`` and ``struct timespec``."""

_NANOSECONDS: Final = 1_000_000_000
"""In a second."""


def _number(data: bytes) -> int:
    """A C int, or a single byte: Linux sends either for the same option."""
    return int(struct.unpack("i", data[:4])[0]) if len(data) >= 4 else data[0]


def _unsigned(data: bytes) -> int:
    return int(struct.unpack("I", data[:4])[0])


def _big_endian(data: bytes) -> int:
    return int.from_bytes(data[:4])


def _microseconds(data: bytes) -> float:
    seconds, rest = _TIMEVAL.unpack(data[: _TIMEVAL.size])
    return float(seconds + rest / 1_000_000)


def _nanoseconds(data: bytes) -> int:
    seconds, rest = _TIMEVAL.unpack(data[: _TIMEVAL.size])
    return int(seconds * _NANOSECONDS + rest)


def _timestamps(data: bytes) -> list[int]:
    return [_nanoseconds(data[at:]) for at in range(0, len(data), _TIMEVAL.size)]


def _packet_info4(data: bytes) -> dict[str, int | str | None]:
    index, local, destination = PKTINFO4.unpack(data[: PKTINFO4.size])
    return {
        "address": socket.inet_ntoa(destination),
        "local": socket.inet_ntoa(local),
        "index": index,
        "interface": _interface_name(index),
    }


def _packet_info6(data: bytes) -> dict[str, int | str | None]:
    destination, index = PKTINFO6.unpack(data[: PKTINFO6.size])
    address = socket.inet_ntop(socket.AF_INET6, destination)
    return {"address": address, "index": index, "interface": _interface_name(index)}


def _interface_name(index: int) -> str | None:
    try:
        return socket.if_indextoname(index)
    except OSError:  # the interface was removed since
        return None


# struct sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)): family, port, (flow label,) address.


def _socket_address4(data: bytes) -> tuple[str, int]:
    return socket.inet_ntoa(data[4:8]), int.from_bytes(data[2:4])


def _socket_address6(data: bytes) -> tuple[str, int]:
    return socket.inet_ntop(socket.AF_INET6, data[8:24]), int.from_bytes(data[2:4])


def _credentials(data: bytes) -> dict[str, int | str | None]:
    pid, uid, gid = _UCRED.unpack(data[: _UCRED.size])
    return {"pid": pid, "uid": uid, "gid": gid}


def _security_label(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


_S, _I, _6, _U = Level.SOL_SOCKET, Level.IPPROTO_IP, Level.IPPROTO_IPV6, Level.IPPROTO_UDP

KNOWN: Final[Mapping[tuple[int, int], tuple[str, Callable[[bytes], Value]]]] = MappingProxyType(
    {
        (_S, 2): ("SO_PASSCRED", _credentials),
        (_S, 3): ("SO_PASSSEC", _security_label),
        (_S, 12): ("SO_RCVPRIORITY", _unsigned),
        (_S, 29): ("SO_TIMESTAMP", _microseconds),
        (_S, 35): ("SO_TIMESTAMPNS", _nanoseconds),
        (_S, 36): ("SO_RCVMARK", _unsigned),
        (_S, 37): ("SO_TIMESTAMPING", _timestamps),
        (_S, 40): ("SO_RXQ_OVFL", _unsigned),
        (_I, 1): ("IP_RECVTOS", lambda data: data[0]),
        (_I, 2): ("IP_RECVTTL", _number),
        (_I, 6): ("IP_RECVOPTS", bytes),
        (_I, 7): ("IP_RECVRETOPTS", bytes),
        (_I, IP_PKTINFO): ("IP_PKTINFO", _packet_info4),
        (_I, 20): ("IP_RECVORIGDSTADDR", _socket_address4),
        (_I, 23): ("IP_CHECKSUM", _unsigned),
        (_I, 25): ("IP_RECVFRAGSIZE", _number),
        (_6, 11): ("IPV6_FLOWINFO", _big_endian),
        (_6, IPV6_PKTINFO): ("IPV6_RECVPKTINFO", _packet_info6),
        (_6, 52): ("IPV6_RECVHOPLIMIT", _number),
        (_6, 54): ("IPV6_RECVHOPOPTS", bytes),
        (_6, 57): ("IPV6_RECVRTHDR", bytes),
        (_6, 59): ("IPV6_RECVDSTOPTS", bytes),
        (_6, 61): ("IPV6_RECVPATHMTU", bytes),
        (_6, 67): ("IPV6_RECVTCLASS", _number),
        (_6, 74): ("IPV6_RECVORIGDSTADDR", _socket_address6),
        (_6, 77): ("IPV6_RECVFRAGSIZE", _number),
        (_U, 104): ("UDP_GRO", _number),
    }
)
"""By level and type of a message: the option that asks for it, and the function that reads it."""


def values(messages: Messages) -> dict[str, Value]:
    """Read *messages*. Unknown ones and those that were cut are left out."""
    found: dict[str, Value] = {}
    for level, kind, data in messages:
        known = KNOWN.get((level, kind))
        if known is not None:
            name, read = known
            # A message is cut if SPACE is too small for it.
            with suppress(ValueError, IndexError, struct.error, OSError):
                found[name] = read(data)
    return found


def close_descriptors(messages: Messages) -> None:
    """Close the descriptors that a Unix client has passed.

    No handler asks for them, and a client could otherwise use up the process's descriptors.
    """
    for level, kind, data in messages:
        if level == _S and kind in (socket.SCM_RIGHTS, SCM_PIDFD):
            # A message that was cut may end within a descriptor's number.
            descriptors = array("i", data[: len(data) // 4 * 4])
            for descriptor in descriptors:
                with suppress(OSError):
                    os.close(descriptor)
