"""Messages between the daemon and its fork server: one packet each, with descriptors beside it.

The socket is of the SOCK_SEQPACKET kind (unix(7)): a packet arrives whole, and its descriptors with
it. Both ends are netd's own and run no user code, so packets are read without suspicion. The daemon
sends ``PassDescriptors`` and ``Fork``, and reads answers, in its reactor's thread; the fork server
has one thread. A ``Fork`` has exactly one answer, ``Forked`` or ``ForkFailed``; after ``Forked``
comes ``ChildEnded`` once.
"""

from __future__ import annotations

import json
import socket
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, get_args

LONGEST: Final = 64 << 10
"""Bytes of a packet. The longest one, with the numbers of 250 descriptors, has 3 KiB."""

MOST_DESCRIPTORS: Final = 250
"""Descriptors beside a packet. The kernel's own limit is 253 (SCM_MAX_FD)."""


@dataclass(frozen=True)
class PassDescriptors:
    """To the fork server: descriptors that do not fit beside the ``Fork`` that follows."""

    number: int
    """The number of that ``Fork``."""
    targets: tuple[int, ...]
    """Which number each descriptor beside this packet gets in the new process."""


@dataclass(frozen=True)
class Fork:
    """To the fork server: fork a process that becomes a worker, with the descriptors beside this.

    The process has an end of the worker's channel among them, and waits there for ``StartWorker``.
    """

    number: int
    """Identifies the process in the answers. The daemon never uses one twice."""
    name: str
    """The worker's name, for ``ps``."""
    count: int
    """How many descriptors the process gets, those of ``PassDescriptors`` included."""
    targets: tuple[int, ...]
    """Which number each descriptor beside this packet gets in the new process."""


@dataclass(frozen=True)
class Forked:
    """To the daemon: the process exists. Its pidfd (pidfd_open(2)) is beside this packet."""

    number: int
    pid: int


@dataclass(frozen=True)
class ChildEnded:
    """To the daemon: the process has ended and was reaped."""

    number: int
    code: int
    """Its exit status, or the negative number of the signal (``os.waitstatus_to_exitcode``)."""


@dataclass(frozen=True)
class ForkFailed:
    """To the daemon: the process could not be forked. *reason* is the system's text."""

    number: int
    reason: str


Packet = PassDescriptors | Fork | Forked | ChildEnded | ForkFailed

_KINDS: Final[dict[str, type[Packet]]] = {kind.__name__: kind for kind in get_args(Packet)}


def fork_packets(
    number: int, name: str, descriptors: Mapping[int, int]
) -> list[tuple[PassDescriptors | Fork, tuple[int, ...]]]:
    """Return the packets that order a fork, each with the descriptors to send beside it.

    *descriptors* maps a number in the new process to a descriptor of the daemon.
    """
    targets = tuple(descriptors)
    pieces = [
        targets[start : start + MOST_DESCRIPTORS]
        for start in range(0, len(targets), MOST_DESCRIPTORS)
    ]
    *given, last = pieces or [()]
    packets: list[PassDescriptors | Fork] = [PassDescriptors(number, piece) for piece in given]
    packets.append(Fork(number, name, len(targets), last))
    return [(packet, tuple(map(descriptors.__getitem__, packet.targets))) for packet in packets]


def send(connection: socket.socket, packet: Packet, descriptors: tuple[int, ...] = ()) -> None:
    """Send a packet and copies of *descriptors*, which stay open here. Raises OSError."""
    data = json.dumps([type(packet).__name__, asdict(packet)]).encode()
    socket.send_fds(connection, [data], list(descriptors))


def receive(connection: socket.socket) -> tuple[Packet, list[int]] | None:
    """Wait for a packet and its descriptors, which the caller closes. None at the stream's end.

    If this process has too few descriptors free, the last ones of the packet are missing.
    Raises OSError.
    """
    descriptors = array("i")
    room = socket.CMSG_LEN(MOST_DESCRIPTORS * descriptors.itemsize)
    # socket.recv_fds passes no flags on, and programs would inherit what it returns.
    data, ancillary, _, _ = connection.recvmsg(LONGEST, room, socket.MSG_CMSG_CLOEXEC)
    for _, _, content in ancillary:
        descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if not data:
        return None
    kind, values = json.loads(data)
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return _KINDS[kind](**values), descriptors.tolist()
