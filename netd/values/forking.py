"""What the daemon and its fork server say: one packet each, with descriptors beside it.

The socket is of the SOCK_SEQPACKET kind (unix(7)): a packet arrives whole, and its descriptors with
it. Both ends are netd's own and run no user's code.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from typing import Final

LONGEST: Final = 64 << 10
"""Bytes of a packet."""

MOST_DESCRIPTORS: Final = 250
"""Descriptors beside a packet; the kernel's own limit is 253 (SCM_MAX_FD)."""


@dataclass(frozen=True)
class Fork:
    """Become a worker in a new process, with the descriptors that come along."""

    number: int
    """By which the answers speak of this process."""
    name: str
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


Packet = Fork | Forked | Ended | NotForked

_KINDS: Final = {kind.__name__: kind for kind in (Fork, Forked, Ended, NotForked)}


def send(connection: socket.socket, packet: Packet, descriptors: tuple[int, ...] = ()) -> None:
    """Send a packet and copies of *descriptors*, which stay open here. Raises OSError."""
    data = json.dumps([type(packet).__name__, asdict(packet)]).encode()
    socket.send_fds(connection, [data], list(descriptors))


def receive(connection: socket.socket) -> tuple[Packet, list[int]] | None:
    """Receive a packet and its descriptors, which the caller closes; None at the end."""
    data, descriptors, _, _ = socket.recv_fds(connection, LONGEST, MOST_DESCRIPTORS)
    if not data:
        return None
    kind, values = json.loads(data)
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return _KINDS[kind](**values), descriptors
