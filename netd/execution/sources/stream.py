"""Sources of connections: a listening socket, or the queue of the daemon's handoffs.

A source belongs to the worker process. Its descriptor is a copy of the daemon's listener (the same
kernel socket), so a source never closes, shuts down or re-configures it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Any, Final

from netd.admission.peers import unix_client
from netd.execution.request import Request
from netd.ipc.handoff import receive_connection
from netd.listening.counted import CountedSocket
from netd.model.address import Transport, client_text
from netd.model.peer import Credentials

STANDARD: Final = 3
"""Descriptors below this one are standard input, output and error."""


def clear_of_standard(descriptor: int) -> int:
    """Move *descriptor* to a number above those of the standard streams, if it has one of theirs.

    The system gives out the lowest number that is free. After a handler has closed its standard
    output, a ``print()`` would write to the next client. Raises OSError.
    """
    if descriptor >= STANDARD:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STANDARD)
    finally:
        os.close(descriptor)


class InetStream:
    """Accepts TCP connections."""

    may_block = False

    def __init__(self, listener: socket.socket, transport: Transport) -> None:
        self.transport = transport
        self.fileno = listener.fileno
        self._accept = listener.accept
        self._text = client_text(transport)

    def next_request(self) -> Request:
        """Accept one connection; the caller closes it."""
        request, address = self._accept()
        if request.fileno() < STANDARD:
            request = socket.socket(fileno=clear_of_standard(request.detach()))
        return Request(request, address, self._text(address), None)


class UnixStream:
    """Accepts connections to a Unix socket."""

    transport = Transport.UNIX
    may_block = False

    def __init__(self, listener: socket.socket, with_groups: bool) -> None:
        """With *with_groups*, a peer's supplementary groups are read too (a rule asks for them)."""
        self.fileno = listener.fileno
        self._accept = listener.accept
        self._with_groups = with_groups

    def next_request(self) -> Request:
        """Accept one connection, in a socket that counts its bytes; the caller closes it."""
        accepted, address = self._accept()
        descriptor = clear_of_standard(accepted.detach())
        request = CountedSocket(accepted.family, accepted.type, 0, fileno=descriptor)
        client, credentials = unix_client(request, with_groups=self._with_groups)
        return Request(request, address, client, credentials)


class HandoffSource:
    """Receives connections that the daemon has accepted, and whose first bytes have come."""

    may_block = False

    def __init__(self, queue: socket.socket, transport: Transport) -> None:
        self.transport = transport
        self.fileno = queue.fileno
        self._queue = queue

    def next_request(self) -> Request:
        """Receive one connection; the caller closes it."""
        descriptor, handed = receive_connection(self._queue)
        kind = CountedSocket if self.transport.is_unix else socket.socket
        family, type_ = self.transport.family, self.transport.type
        request = kind(family, type_, 0, fileno=clear_of_standard(descriptor))
        # As accept() leaves it; the daemon has made it non-blocking.
        request.settimeout(socket.getdefaulttimeout())
        # The kernel has no credentials for a proxied client.
        peer = None if handed.is_proxied else peer_of(request)
        return Request(request, handed.client_address, handed.client, peer, since=handed.since)


def peer_of(request: Any) -> Credentials | None:
    """The credentials of a Unix connection's peer; None for other connections."""
    if not isinstance(request, socket.socket) or request.family != socket.AF_UNIX:
        return None
    _, credentials = unix_client(request, with_groups=True)
    return credentials
