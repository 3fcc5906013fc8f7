"""The queue through which the daemon passes connections to workers that serve one at a time.

It is a socket pair of the SOCK_SEQPACKET kind (unix(7)): one packet, one connection. The daemon
sends, in its reactor's thread. All workers of a service share the other end as they share a
listener, so the next connection goes to whichever worker is free.
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
"""Bytes of a packet: an address or two, and their texts. A path of unix(7) has at most 108."""

_DESCRIPTOR: Final = array("i").itemsize


@dataclass(frozen=True, slots=True)
class HandoffMetadata:
    """What the daemon knows of a connection when it passes it on.

    Of the connection itself, the daemon has received at most the PROXY header.
    """

    client_address: Any
    """The client's address as ``socketserver`` passes it; if a proxy names a client, that one's."""
    client: str
    """The same as text, for the log and the scoreboard."""
    since: float
    """When the daemon accepted it: seconds of CLOCK_MONOTONIC."""
    is_proxied: bool = False
    """Whether a proxy has named the client, which is then not the connected peer."""


def send_connection(
    queue: socket.socket, connection: socket.socket, handed: HandoffMetadata
) -> None:
    """Put a copy of *connection* into *queue*, without waiting. The caller closes its own.

    Raises BlockingIOError if the queue is full, another OSError if no worker is left.
    """
    rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [connection.fileno()])
    # Not socket.send_fds: it drops its flags, and the daemon's reactor would wait for a worker.
    queue.sendmsg([pickle.dumps(handed)], [rights], socket.MSG_DONTWAIT)


def receive_connection(queue: socket.socket) -> tuple[int, HandoffMetadata]:
    """Receive the next connection, without waiting: its descriptor, which the caller closes.

    Raises BlockingIOError if the queue is empty, and OSError: EMFILE if this process had no
    descriptor free for the connection (the kernel has closed it), ECONNABORTED at the queue's end.
    """
    # Not socket.recv_fds: it drops its flags, and a program started meanwhile would inherit it.
    flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    data, ancillary, _, _ = queue.recvmsg(LONGEST, socket.CMSG_LEN(_DESCRIPTOR), flags)
    descriptors = array("i")
    for _, _, content in ancillary:
        descriptors.frombytes(content[: len(content) - len(content) % _DESCRIPTOR])
    if not descriptors:
        # Without data the daemon has closed the queue; with it, the descriptor did not fit.
        reason = errno.EMFILE if data else errno.ECONNABORTED
        raise OSError(reason, os.strerror(reason))
    # A pickle is safe here: it comes from the daemon, which commands its workers in any case.
    handed: HandoffMetadata = pickle.loads(data)
    return descriptors[0], handed
