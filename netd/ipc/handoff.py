"""Connections that the daemon hands to workers, through a socket that these take from in turn.

It is one of the SOCK_SEQPACKET kind (unix(7)), which all workers of a service share as they do a
listener: whichever is free receives the next connection.
"""

from __future__ import annotations

import errno
import os
import pickle
import socket
from array import array
from dataclasses import dataclass
from typing import Any, Final

LONGEST: Final = 4096
"""Bytes of a packet: an address or two, and their texts; a path of unix(7) has 108."""

_DESCRIPTOR: Final = array("i").itemsize


@dataclass(frozen=True, slots=True)
class HandoffMetadata:
    """What is known of a connection of which nothing has been received but its PROXY header."""

    client_address: Any
    """As ``socketserver`` passes it: of the client itself, where a proxy has said who that is."""
    client: str
    """The same for people."""
    since: float
    """When it was taken: seconds of CLOCK_MONOTONIC."""
    is_proxied: bool = False
    """Whether the client is another one than who has connected here."""


def hand_over(queue: socket.socket, connection: socket.socket, handed: HandoffMetadata) -> None:
    """Put a copy of *connection* into *queue*. Raises BlockingIOError when that is full."""
    rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [connection.fileno()])
    # Not socket.send_fds, which forgets its flags and would wait for a worker.
    queue.sendmsg([pickle.dumps(handed)], [rights], socket.MSG_DONTWAIT)


def receive(queue: socket.socket) -> tuple[int, HandoffMetadata]:
    """Take the next connection, without waiting: its descriptor, which the caller closes.

    Raises BlockingIOError when there is none, and OSError; of a packet whose descriptor did not fit
    into this process, EMFILE.
    """
    flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    data, ancillary, _, _ = queue.recvmsg(LONGEST, socket.CMSG_LEN(_DESCRIPTOR), flags)
    descriptors = array("i")
    for _, _, content in ancillary:
        descriptors.frombytes(content[: len(content) - len(content) % _DESCRIPTOR])
    if not descriptors:
        # The daemon has gone, or the connection has been lost on its way.
        reason = errno.EMFILE if data else errno.ECONNABORTED
        raise OSError(reason, os.strerror(reason))
    # From the daemon, which commands its workers in any case.
    handed: HandoffMetadata = pickle.loads(data)
    return descriptors[0], handed
