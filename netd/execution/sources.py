"""What a pool takes requests from: a listening stream socket, or a datagram socket.

A source belongs to the worker process; its descriptor stays the daemon's own listener (the same
kernel socket), so a source never closes, shuts down or re-configures it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from netd.admission.lists import Credentials
from netd.values.address import Transport

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The system has no more descriptors or memory: try again later, never at once."""

NEXT: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EINTR,
        # The client gave up before it was taken, or the network told a lie about it: accept(2),
        # "Error handling", wants these treated like "nothing there".
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
    }
)
"""Errors of one client's own: take the next."""


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


class Source(Protocol):
    """Where requests come from."""

    transport: Transport
    may_block: bool
    """Whether ``take`` may wait for one client, so that others must be able to take meanwhile."""

    def fileno(self) -> int:
        """The descriptor to watch for readability."""
        ...

    def take(self) -> Taken:
        """Take one request without waiting.

        Raises BlockingIOError when there is none, another OSError when taking failed, TooLong
        when the datagram was dropped.
        """
        ...


def client_text(transport: Transport) -> Callable[[Any], str]:
    """Return what writes a client's address for people; of a Unix client there is none."""
    if transport.is_unix:
        return lambda address: "unix"
    if transport.family == socket.AF_INET6:
        return lambda address: f"[{address[0]}]:{address[1]}"
    return lambda address: f"{address[0]}:{address[1]}"


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
            pid, credentials = _peer(request, self._with_groups)
        except OSError:
            return Taken(request, address, "unix", None)
        return Taken(request, address, f"uid:{credentials.uid},pid:{pid}", credentials)


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

    def __init__(self, listener: socket.socket, shown: socket.socket, limit: int) -> None:
        """*shown* is the socket that a handler gets beside the data."""
        self.fileno = listener.fileno
        self._receive = listener.recvmsg
        self._shown = shown
        self._limit = limit

    def take(self) -> Taken:
        """Receive one packet."""
        data, ancillary, _flags, address = self._receive(
            self._limit + 1, _UCRED_SPACE, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        )
        peer, client = None, "unix"
        for level, kind, body in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, uid, gid = _UCRED.unpack(body[: _UCRED.size])
                peer, client = Credentials(uid, gid), f"uid:{uid},pid:{pid}"
        if len(data) > self._limit:
            raise TooLong(client, self._limit)
        return Taken((data, self._shown), address, client, peer)


_UCRED: Final = struct.Struct("3i")
"""``struct ucred`` of unix(7): process, user, group."""

_UCRED_SPACE: Final = socket.CMSG_SPACE(_UCRED.size)

_SO_PEERGROUPS: Final = 59
"""SO_PEERGROUPS of <asm-generic/socket.h> (Linux 4.13), which Python's socket does not name."""

_MOST_GROUPS: Final = 256
"""As many as Python's getsockopt (1024 bytes) can take; a peer with more counts as unknown."""


def peer_of(request: Any) -> Credentials | None:
    """The credentials of a Unix connection's other side; None of everything else."""
    if not isinstance(request, socket.socket) or request.family != socket.AF_UNIX:
        return None
    try:
        return _peer(request, with_groups=True)[1]
    except OSError:
        return None


def _peer(request: socket.socket, with_groups: bool) -> tuple[int, Credentials]:
    """Process and credentials of the other side. Raises OSError."""
    packed = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(packed)
    groups = _peer_groups(request) if with_groups else frozenset[int]()
    return pid, Credentials(uid, gid, groups)


def _peer_groups(request: socket.socket) -> frozenset[int]:
    packed = request.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    return frozenset(struct.unpack(f"{len(packed) // 4}I", packed))


class CountedSocket(socket.socket):
    """A connection that counts its bytes, where the kernel does not (Unix sockets)."""

    __slots__ = ("received", "sent")

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.received = self.sent = 0

    def _count(self, received: int, flags: int) -> None:
        """What was only peeked at is received again, or never."""
        if not flags & socket.MSG_PEEK:
            self.received += received

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(size, flags)
        self._count(len(data), flags)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        count = super().recv_into(buffer, nbytes, flags)
        self._count(count, flags)
        return count

    def recvfrom(self, size: int, flags: int = 0, /) -> tuple[bytes, Any]:
        data, address = super().recvfrom(size, flags)
        self._count(len(data), flags)
        return data, address

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        count, address = super().recvfrom_into(buffer, nbytes, flags)
        self._count(count, flags)
        return count, address

    def recvmsg(
        self, size: int, ancillary_size: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        data, ancillary, returned, address = super().recvmsg(size, ancillary_size, flags)
        self._count(len(data), flags)
        return data, ancillary, returned, address

    def recvmsg_into(
        self, buffers: Any, ancillary_size: int = 0, flags: int = 0, /
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        count, ancillary, returned, address = super().recvmsg_into(buffers, ancillary_size, flags)
        self._count(count, flags)
        return count, ancillary, returned, address

    def send(self, *args: Any) -> int:
        count = super().send(*args)
        self.sent += count
        return count

    def sendall(self, data: Any, *args: Any) -> None:
        super().sendall(data, *args)
        self.sent += memoryview(data).nbytes

    def sendmsg(self, *args: Any) -> int:
        count = super().sendmsg(*args)
        self.sent += count
        return count

    def sendfile(self, *args: Any, **keywords: Any) -> int:
        before = self.sent
        count = super().sendfile(*args, **keywords)
        # With a file that has no descriptor it falls back on send(), which has counted already.
        self.sent = before + count
        return count
