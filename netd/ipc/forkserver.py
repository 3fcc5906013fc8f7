"""What the daemon and its fork server say: one packet each, with descriptors beside it.

The socket is of the SOCK_SEQPACKET kind (unix(7)): a packet arrives whole, and its descriptors with
it. Both ends are netd's own and run no user's code.
"""

from __future__ import annotations

import json
import socket
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

LONGEST: Final = 64 << 10
"""Bytes of a packet; the longest, with as many descriptors as there can be, has 3 KiB."""

MOST_DESCRIPTORS: Final = 250
"""Descriptors beside a packet; the kernel's own limit is 253 (SCM_MAX_FD)."""


@dataclass(frozen=True)
class Give:
    """Descriptors that do not fit beside the ``Fork`` of the same number, which follows."""

    number: int
    targets: tuple[int, ...]
    """What each descriptor that comes along is to be in the new process."""


@dataclass(frozen=True)
class Fork:
    """Become a worker in a new process, with the descriptors that come along."""

    number: int
    """By which the answers speak of this process."""
    name: str
    count: int
    """Of its descriptors, those that were given before included."""
    targets: tuple[int, ...]
    """What each descriptor is to be in the new process."""


@dataclass(frozen=True)
class Forked:
    """The process is there; a pidfd of it comes along (pidfd_open(2))."""

    number: int
    pid: int


@dataclass(frozen=True)
class Ended:
    """The process has ended and was reaped; *code* as ``os.waitstatus_to_exitcode`` has it."""

    number: int
    code: int


@dataclass(frozen=True)
class NotForked:
    """There is no process, because of *reason*."""

    number: int
    reason: str


Packet = Give | Fork | Forked | Ended | NotForked

_KINDS: Final = {kind.__name__: kind for kind in (Give, Fork, Forked, Ended, NotForked)}


def orders(
    number: int, name: str, descriptors: Mapping[int, int]
) -> list[tuple[Give | Fork, tuple[int, ...]]]:
    """The packets that have a worker forked, each with the descriptors that go along.

    *descriptors* says which of ours is which of the worker's.
    """
    targets = tuple(descriptors)
    pieces = [
        targets[start : start + MOST_DESCRIPTORS]
        for start in range(0, len(targets), MOST_DESCRIPTORS)
    ]
    *given, last = pieces or [()]
    packets: list[Give | Fork] = [Give(number, piece) for piece in given]
    packets.append(Fork(number, name, len(targets), last))
    return [(packet, tuple(map(descriptors.__getitem__, packet.targets))) for packet in packets]


def send(connection: socket.socket, packet: Packet, descriptors: tuple[int, ...] = ()) -> None:
    """Send a packet and copies of *descriptors*, which stay open here. Raises OSError."""
    data = json.dumps([type(packet).__name__, asdict(packet)]).encode()
    socket.send_fds(connection, [data], list(descriptors))


def receive(connection: socket.socket) -> tuple[Packet, list[int]] | None:
    """Receive a packet and its descriptors, which the caller closes; None at the end.

    When this process has not enough descriptors free, the last ones of the packet are missing.
    Raises OSError.
    """
    descriptors = array("i")
    room = socket.CMSG_LEN(MOST_DESCRIPTORS * descriptors.itemsize)
    # socket.recv_fds passes no flags on, and what it returns would be inherited by programs.
    data, ancillary, _, _ = connection.recvmsg(LONGEST, room, socket.MSG_CMSG_CLOEXEC)
    for _, _, content in ancillary:
        descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if not data:
        return None
    kind, values = json.loads(data)
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return _KINDS[kind](**values), descriptors.tolist()
