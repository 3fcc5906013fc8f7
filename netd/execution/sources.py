"""What a pool takes requests from: a listening stream socket, or a datagram socket.

A source belongs to the worker process; its descriptor stays the daemon's own listener (the same
kernel socket), so a source never closes, shuts down or re-configures it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Any, Final, NamedTuple, Protocol

from netd.admission.lists import Credentials, PeerCertificate
from netd.admission.peers import UCRED, credentials_of
from netd.listening.ancillary import Messages, close_descriptors
from netd.listening.counted import CountedSocket
from netd.listening.taking import client_text
from netd.values.address import Transport
from netd.values.handing import receive

STANDARD: Final = 3
"""Descriptors below this one are standard input, output and error."""


class TooLong(Exception):
    """A datagram was longer than the service takes; it has been read and is gone."""

    def __init__(self, client: str, limit: int) -> None:
        super().__init__(f"datagram from {client} is longer than {limit} bytes")


class Taken(NamedTuple):
    """A request, as ``socketserver`` passes it to a handler, and what netd knows about it."""

    request: Any
    """The connection's socket, or ``(data, socket)``. Who serves it closes the connection."""
    client_address: Any
    client: str
    """The client for people: ``192.0.2.7:4711``, ``[::1]:4711``, ``uid:1000,pid:4242``."""
    peer: Credentials | None
    """Of a Unix peer; None for everybody else, and where they are unknown."""
    certificate: PeerCertificate | None = None
    """What the client has shown in its TLS handshake; None before that, and without one."""
    since: float | None = None
    """When the daemon took it (CLOCK_MONOTONIC), where that has waited for its first bytes."""

    @property
    def facts(self) -> tuple[Any, Any, str, Credentials | None, PeerCertificate | None]:
        """What the rules are asked about."""
        return self[:5]


class Source(Protocol):
    """Where requests come from."""

    transport: Transport
    may_block: bool
    """Whether ``take`` may wait for one client, so that others must be able to take meanwhile."""

    def fileno(self) -> int:
        """The descriptor to watch for readability."""
        ...

    def take(self) -> Any:
        """Take one request (``Taken``) without waiting; or a connection that has not begun.

        Raises BlockingIOError when there is none, another OSError when taking failed, TooLong
        when the datagram was dropped.
        """
        ...


def clear_of_standard(descriptor: int) -> int:
    """Move *descriptor* to a number that is nobody's standard stream, if it is on one.

    The system gives out the lowest number that is free. After a handler has closed its standard
    output, whoever prints would write to the next client. Raises OSError.
    """
    if descriptor >= STANDARD:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STANDARD)
    finally:
        os.close(descriptor)


class InetStream:
    """Takes TCP connections."""

    may_block = False

    def __init__(self, listener: socket.socket, transport: Transport) -> None:
        self.transport = transport
        self.fileno = listener.fileno
        self._accept = listener.accept
        self._text = client_text(transport)

    def take(self) -> Taken:
        """Accept one connection; the caller closes it."""
        request, address = self._accept()
        if request.fileno() < STANDARD:
            request = socket.socket(fileno=clear_of_standard(request.detach()))
        return Taken(request, address, self._text(address), None)


class UnixStream:
    """Takes connections to a Unix socket."""

    transport = Transport.UNIX
    may_block = False

    def __init__(self, listener: socket.socket, with_groups: bool) -> None:
        """With *with_groups*, a peer's supplementary groups are read too (a rule asks for them)."""
        self.fileno = listener.fileno
        self._accept = listener.accept
        self._with_groups = with_groups

    def take(self) -> Taken:
        """Accept one connection, in a socket that counts its bytes; the caller closes it."""
        accepted, address = self._accept()
        descriptor = clear_of_standard(accepted.detach())
        request = CountedSocket(accepted.family, accepted.type, 0, fileno=descriptor)
        try:
            pid, credentials = credentials_of(request, with_groups=self._with_groups)
        except OSError:
            return Taken(request, address, "unix", None)
        return Taken(request, address, f"uid:{credentials.uid},pid:{pid}", credentials)


class Handed:
    """Takes connections that the daemon has taken, and waited for until they had begun."""

    may_block = False

    def __init__(self, queue: socket.socket, transport: Transport) -> None:
        self.transport = transport
        self.fileno = queue.fileno
        self._queue = queue

    def take(self) -> Taken:
        """Take one connection; the caller closes it."""
        descriptor, handed = receive(self._queue)
        kind = CountedSocket if self.transport.is_unix else socket.socket
        family, type_ = self.transport.family, self.transport.type
        request = kind(family, type_, 0, fileno=clear_of_standard(descriptor))
        request.settimeout(socket.getdefaulttimeout())  # as accept() leaves it: it was not to block
        # Of a proxy's client the kernel does not know the credentials.
        peer = None if handed.is_proxied else peer_of(request)
        return Taken(request, handed.client_address, handed.client, peer, since=handed.since)


class InetDatagram:
    """Takes UDP packets of at most *limit* bytes."""

    may_block = False

    def __init__(
        self, listener: socket.socket, transport: Transport, shown: socket.socket, limit: int
    ) -> None:
        """*shown* is the socket that a handler gets beside the data."""
        self.transport = transport
        self.fileno = listener.fileno
        self._receive = listener.recvfrom
        self._shown = shown
        self._limit = limit
        self._text = client_text(transport)

    def take(self) -> Taken:
        """Receive one packet."""
        # One byte more than the limit tells a long packet from one that just fits. (MSG_TRUNC
        # would tell its length, but recvfrom then returns memory that was never written.)
        data, address = self._receive(self._limit + 1, socket.MSG_DONTWAIT)
        client = self._text(address)
        if len(data) > self._limit:
            raise TooLong(client, self._limit)
        return Taken((data, self._shown), address, client, None)


class UnixDatagram:
    """Takes packets sent to a Unix socket, with their sender's credentials (unix(7))."""

    transport = Transport.UNIXGRAM
    may_block = False
    space = socket.CMSG_SPACE(UCRED.size)
    """Bytes for what comes with a packet."""

    def __init__(self, listener: socket.socket, shown: socket.socket, limit: int) -> None:
        """*shown* is the socket that a handler gets beside the data."""
        self.fileno = listener.fileno
        self._receive = listener.recvmsg
        self._shown = shown
        self._limit = limit

    def take(self) -> Taken:
        """Receive one packet."""
        data, ancillary, _flags, address = self._receive(
            self._limit + 1, self.space, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        )
        close_descriptors(ancillary)
        peer, client = None, "unix"
        for level, kind, body in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, uid, gid = UCRED.unpack(body[: UCRED.size])
                peer, client = Credentials(uid, gid), f"uid:{uid},pid:{pid}"
        if len(data) > self._limit:
            raise TooLong(client, self._limit)
        return Taken(self.request(data, ancillary), address, client, peer)

    def request(self, data: bytes, messages: Messages) -> Any:
        """What a handler gets."""
        return data, self._shown


def peer_of(request: Any) -> Credentials | None:
    """The credentials of a Unix connection's other side; None of everything else."""
    if not isinstance(request, socket.socket) or request.family != socket.AF_UNIX:
        return None
    try:
        return credentials_of(request, with_groups=True)[1]
    except OSError:
        return None
