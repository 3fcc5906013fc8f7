"""Where a service listens: an Internet address, a Unix address, or the name of a passed socket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias


class Transport(Enum):
    """The transport of a listener. The value is the word that starts its description."""

    TCP = "tcp"
    TCP6 = "tcp6"
    TLS = "tls"
    TLS6 = "tls6"
    UDP = "udp"
    UDP6 = "udp6"
    UNIX = "unix"
    UNIXGRAM = "unixgram"
    SYSTEMD = "systemd"
    """A socket that the service manager passes. Its family and type are only known then."""

    @property
    def family(self) -> socket.AddressFamily:
        """The socket's address family; AF_UNSPEC if it is not known."""
        if self is Transport.SYSTEMD:
            return socket.AF_UNSPEC
        if self in (Transport.UNIX, Transport.UNIXGRAM):
            return socket.AF_UNIX
        if self in (Transport.TCP6, Transport.TLS6, Transport.UDP6):
            return socket.AF_INET6
        return socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        """The socket's type: a stream has connections, a datagram socket has packets."""
        return socket.SOCK_DGRAM if self.is_datagram else socket.SOCK_STREAM

    @property
    def is_datagram(self) -> bool:
        """Whether a request is a packet instead of a connection."""
        return self in (Transport.UDP, Transport.UDP6, Transport.UNIXGRAM)

    @property
    def is_tls(self) -> bool:
        """Whether every connection begins with a TLS handshake. A Unix address has its own flag."""
        return self in (Transport.TLS, Transport.TLS6)

    @property
    def is_known(self) -> bool:
        """Whether family and type are known."""
        return self is not Transport.SYSTEMD

    @property
    def is_unix(self) -> bool:
        """Whether the address is a path or an abstract name, so that the peer has credentials."""
        return self.family == socket.AF_UNIX


InetSocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""An address as Python's sockets have it: host and port, for IPv6 with flow label and scope id."""

UnixSocketAddress: TypeAlias = str | bytes | None
"""A path, or an abstract name as bytes. The sender of a datagram without a name is None."""

SocketAddress: TypeAlias = InetSocketAddress | UnixSocketAddress
"""What ``accept``, ``recvfrom`` and ``getsockname`` return, and ``client_address`` of handlers."""

ALL_ADDRESSES: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


@dataclass(frozen=True)
class InetAddress:
    """A TCP or UDP port, on one address of this machine or on all of them."""

    transport: Transport
    port: int
    """0 lets the system pick a free one."""
    interface: str = ""
    """A numeric address; empty for all addresses of the family."""

    @property
    def is_tls(self) -> bool:
        """Whether every connection begins with a TLS handshake."""
        return self.transport.is_tls

    @property
    def host(self) -> str:
        """The address to bind."""
        return self.interface or ALL_ADDRESSES[self.transport.family]

    def __str__(self) -> str:
        if not self.interface:
            return f"{self.transport.value}:{self.port}"
        host = f"[{self.interface}]" if ":" in self.interface else self.interface
        return f"{self.transport.value}:{self.port}:interface={host}"


@dataclass(frozen=True)
class UnixAddress:
    """A Unix socket: a path with mode and owner, or an abstract name (unix(7))."""

    transport: Transport
    path: str
    """A path in the file system, or ``@`` and an abstract name."""
    mode: int = 0o660
    user: int | None = None
    """The owner's uid; None keeps that of the process that binds."""
    group: int | None = None
    is_tls: bool = False
    """Whether every connection begins with a TLS handshake."""

    @property
    def is_abstract(self) -> bool:
        """Whether the name is not in the file system, so that it has no mode and owner."""
        return self.path.startswith("@")

    @property
    def bind_name(self) -> str | bytes:
        """The name as ``socket.bind`` takes it."""
        return b"\0" + self.path[1:].encode() if self.is_abstract else self.path

    def __str__(self) -> str:
        return f"{self.transport.value}:{self.path}"


@dataclass(frozen=True)
class PassedAddress:
    """A socket that the service manager has bound, and passes by a name (sd_listen_fds(3))."""

    name: str
    """Its ``FileDescriptorName=``; its number as text if the manager passes no names."""
    transport: Transport
    number: int = 0
    """The index among the sockets of that name."""
    is_tls: bool = False
    """Whether every connection begins with a TLS handshake."""

    def __str__(self) -> str:
        return f"systemd:{self.name}"


Address = InetAddress | UnixAddress | PassedAddress


def client_text(transport: Transport) -> Callable[[SocketAddress], str]:
    """Return the function that writes a client's address for people; a Unix client has none."""
    # Chosen once for each listener, since writing the address is part of each connection's cost.
    if transport.is_unix:
        return lambda address: "unix"
    return inet6_text if transport.family == socket.AF_INET6 else _inet4_text


_MAPPED: Final = "::ffff:"
"""The prefix of an IPv4 client's address at a listener of both families (RFC 4291, 2.5.5.2)."""


def _inet4_text(address: SocketAddress) -> str:
    if not isinstance(address, tuple):  # one that a user's server class made up
        return str(address)
    return f"{address[0]}:{address[1]}"


def inet6_text(address: SocketAddress) -> str:
    """An IPv6 address with its port, for people; a v4-mapped one is written as IPv4."""
    if not isinstance(address, tuple):  # one that a user's server class made up
        return str(address)
    host, port = address[0], address[1]
    if host.startswith(_MAPPED) and "." in host:
        return f"{host.removeprefix(_MAPPED)}:{port}"
    return f"[{host}]:{port}"
