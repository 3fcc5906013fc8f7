"""The socket options that a configuration can set: one row each, and why others are refused.

The numbers are Linux's own (<asm-generic/socket.h>, <linux/in.h>, <linux/in6.h>, <linux/tcp.h>,
<linux/udp.h>), since Python's ``socket`` names only some. Whether a connection inherits an option
is measured: a test sets each option on a listener and reads it from a connection.

This module is long because it is data. One table in one file can be compared with the manual pages
line by line, and a new option is one row; split by level, its readers would need all parts anyway.
Rows are packed by hand (``fmt: skip``), or each would take ten lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from socket import AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM
from types import MappingProxyType
from typing import Final

from netd.listening.options.values import (
    DEVICE,
    FLAG,
    GROUPS4,
    GROUPS6,
    HEX,
    INTERFACE4,
    INTERFACE_INDEX,
    LINGER,
    NAME,
    NETWORK_INTERFACE_INDEX,
    PACKET_INFORMATION,
    SIZE,
    SOURCES4,
    TIMEVAL,
    Form,
    choice,
    number,
)
from netd.model.socket_options import V6ONLY, Applied, Kind


class Level(IntEnum):
    """The protocol that an option belongs to: the level of setsockopt(2)."""

    SOL_SOCKET = 1
    IPPROTO_IP = 0
    IPPROTO_IPV6 = 41
    IPPROTO_TCP = 6
    IPPROTO_UDP = 17


@dataclass(frozen=True)
class Fit:
    """The sockets that an option has a meaning for."""

    words: str
    """For people."""
    kinds: frozenset[Kind]
    fits_mapped: bool = False
    """Whether IPv6 sockets that also serve IPv4 are among them."""


def _kinds(*families: int, of: tuple[int, ...] = (SOCK_STREAM, SOCK_DGRAM)) -> frozenset[Kind]:
    return frozenset((int(family), int(kind)) for family in families for kind in of)


ALL: Final = Fit("all", _kinds(AF_INET, AF_INET6, AF_UNIX))
INET: Final = Fit("tcp, udp", _kinds(AF_INET, AF_INET6))
TCP: Final = Fit("tcp", _kinds(AF_INET, AF_INET6, of=(SOCK_STREAM,)))
UDP: Final = Fit("udp", _kinds(AF_INET, AF_INET6, of=(SOCK_DGRAM,)))
UNIX: Final = Fit("unix, unixgram", _kinds(AF_UNIX))
STREAMS: Final = Fit("tcp, unix", _kinds(AF_INET, AF_INET6, AF_UNIX, of=(SOCK_STREAM,)))
DATAGRAMS: Final = Fit("udp, unixgram", _kinds(AF_INET, AF_INET6, AF_UNIX, of=(SOCK_DGRAM,)))
IPV4: Final = Fit("tcp, udp, of IPv4", _kinds(AF_INET), fits_mapped=True)
IPV4_UDP: Final = Fit("udp, of IPv4", _kinds(AF_INET, of=(SOCK_DGRAM,)), fits_mapped=True)
IPV6: Final = Fit("tcp6, udp6", _kinds(AF_INET6))
IPV6_UDP: Final = Fit("udp6", _kinds(AF_INET6, of=(SOCK_DGRAM,)))


@dataclass(frozen=True)
class Option:
    """A row of the table."""

    name: str
    level: Level
    number: int
    form: Form
    fit: Fit
    meaning: str
    """A sentence or two, in Markdown."""
    source: str
    """Where it is documented."""
    applied: Applied = Applied.ON_LISTENER
    leaves: int | None = None
    """The number of the option that takes a value back, if this one has several values."""


_S, _I, _6, _T, _U = (
    Level.SOL_SOCKET,
    Level.IPPROTO_IP,
    Level.IPPROTO_IPV6,
    Level.IPPROTO_TCP,
    Level.IPPROTO_UDP,
)
_BIND, _CONNECTION = Applied.BEFORE_BIND, Applied.ON_CONNECTION

_SOCKET7, _UNIX7, _IP7, _IPV67 = "socket(7)", "unix(7)", "ip(7)", "ipv6(7)"
_TCP7, _UDP7 = "tcp(7)", "udp(7)"
_NETWORKING: Final = "Linux, Documentation/networking"
_RFC3493, _RFC3542 = "RFC 3493", "RFC 3542"

_BYTE: Final = number(0, 255)
_HOPS: Final = number(-1, 255)
_SECONDS: Final = number(1, 32767, "seconds")
_MICROSECONDS: Final = number(0, unit="microseconds")
_MTU_DISCOVERY: Final = choice(dont=0, want=1, do=2, probe=3, interface=4, omit=5)
"""IP_PMTUDISC_DONT and so on."""

_ROWS: Final = (
    # SOL_SOCKET
    Option("SO_BINDTODEVICE", _S, 25, DEVICE, INET,
           "Receive only what arrives at this interface.", _SOCKET7, _BIND),
    Option("SO_BINDTOIFINDEX", _S, 62, INTERFACE_INDEX, INET,
           "The same as `SO_BINDTODEVICE`; the kernel gets the interface by its number.",
           _NETWORKING, _BIND),
    Option("SO_BROADCAST", _S, 6, FLAG, UDP,
           "Datagrams may be sent to broadcast addresses.", _SOCKET7),
    Option("SO_BUF_LOCK", _S, 72, number(0, 3), INET,
           "Which buffers the kernel does not resize: 1 the send buffer, 2 the receive buffer,"
           " 3 both.", _SOCKET7),
    Option("SO_BUSY_POLL", _S, 46, _MICROSECONDS, INET,
           "How long a read of an empty socket polls the device.", _SOCKET7),
    Option("SO_DEBUG", _S, 1, FLAG, INET, "The kernel's socket debugging.", _SOCKET7),
    Option("SO_DONTROUTE", _S, 5, FLAG, INET,
           "Send only to hosts on the same link, without gateways.", _SOCKET7),
    Option("SO_INCOMING_CPU", _S, 49, number(0, 65535), INET,
           "The processor whose packets this socket receives, among sockets that share a port.",
           _SOCKET7),
    Option("SO_KEEPALIVE", _S, 9, FLAG, TCP,
           "Probe idle connections; `TCP_KEEPIDLE`, `TCP_KEEPINTVL` and `TCP_KEEPCNT` say how"
           " often.", _SOCKET7),
    Option("SO_LINGER", _S, 13, LINGER, TCP,
           "How long a close waits for data to be acknowledged; 0 resets the connection.",
           _SOCKET7),
    Option("SO_MARK", _S, 36, number(0, 2**32 - 1), INET,
           "A mark on packets that are sent, for routing and filters.", _SOCKET7),
    Option("SO_MAX_PACING_RATE", _S, 47, number(1, 2**32 - 1, "bytes a second"), INET,
           "The highest rate at which each connection sends.", _NETWORKING),
    Option("SO_NO_CHECK", _S, 11, FLAG, Fit("udp, of IPv4", IPV4_UDP.kinds),
           "Send UDP datagrams without a checksum.", _NETWORKING),
    Option("SO_OOBINLINE", _S, 10, FLAG, STREAMS,
           "Leave urgent data in the stream, instead of for MSG_OOB.", _SOCKET7),
    Option("SO_PASSCRED", _S, 16, FLAG, UNIX,
           "Every message brings its sender's credentials. netd sets it for datagrams, because"
           " access rules need it.", _UNIX7),
    Option("SO_PASSPIDFD", _S, 76, FLAG, UNIX,
           "Every message brings a pidfd of its sender.", _UNIX7),
    Option("SO_PASSRIGHTS", _S, 83, FLAG, UNIX,
           "Whether a sender may pass descriptors.", _NETWORKING),
    Option("SO_PASSSEC", _S, 34, FLAG, UNIX,
           "Every message brings its sender's security label.", _UNIX7),
    Option("SO_PEEK_OFF", _S, 42, number(-1), ALL,
           "Where a read by MSG_PEEK starts; -1 always starts at the beginning.", _SOCKET7),
    Option("SO_PREFER_BUSY_POLL", _S, 69, FLAG, INET,
           "Prefer polling the device to interrupts.", _NETWORKING),
    Option("SO_PRIORITY", _S, 12, number(0), INET,
           "The priority of packets that are sent. Above 6 the service's user needs the right"
           " CAP_NET_ADMIN.", _SOCKET7, _CONNECTION),
    Option("SO_RCVBUF", _S, 8, SIZE, INET,
           "The receive buffer; the kernel doubles it, and stops growing it automatically.",
           _SOCKET7),
    Option("SO_RCVBUFFORCE", _S, 33, SIZE, INET,
           "The same without the system's limit; it needs a right (CAP_NET_ADMIN).", _SOCKET7),
    Option("SO_RCVLOWAT", _S, 18, number(1), STREAMS,
           "Bytes that must have arrived before a read returns.", _SOCKET7),
    Option("SO_RCVMARK", _S, 75, FLAG, UDP,
           "Every datagram brings its mark.", _NETWORKING),
    Option("SO_RCVPRIORITY", _S, 82, FLAG, UDP,
           "Every datagram brings its priority.", _NETWORKING),
    Option("SO_RCVTIMEO", _S, 20, TIMEVAL, ALL,
           "A read that blocks for longer fails with EAGAIN.", _SOCKET7),
    Option("SO_REUSEADDR", _S, 2, FLAG, INET,
           "Bind even while old connections are in TIME_WAIT. netd sets it for TCP. Two UDP sockets"
           " with it can share a port, and the last one bound gets the datagrams.",
           _SOCKET7, _BIND),
    Option("SO_REUSEPORT", _S, 15, FLAG, INET,
           "Share the port with other sockets that set it, too.", _SOCKET7, _BIND),
    Option("SO_RXQ_OVFL", _S, 40, FLAG, DATAGRAMS,
           "Every datagram brings the number of datagrams dropped because the buffer was full.",
           _SOCKET7),
    Option("SO_SELECT_ERR_QUEUE", _S, 45, FLAG, ALL,
           "A poll for exceptional conditions also reports the error queue.", _SOCKET7),
    Option("SO_SNDBUF", _S, 7, SIZE, ALL,
           "The send buffer; the kernel doubles it, and stops growing it automatically.", _SOCKET7),
    Option("SO_SNDBUFFORCE", _S, 32, SIZE, ALL,
           "The same without the system's limit; it needs a right (CAP_NET_ADMIN).", _SOCKET7),
    Option("SO_SNDTIMEO", _S, 21, TIMEVAL, ALL,
           "A write that blocks for longer fails with EAGAIN.", _SOCKET7),
    Option("SO_TIMESTAMP", _S, 29, FLAG, DATAGRAMS,
           "Every datagram brings the time at which it was received.", _SOCKET7),
    Option("SO_TIMESTAMPING", _S, 37, number(0, 2**19 - 1), DATAGRAMS,
           "Time stamps from hardware and software, as a sum of flags.", _NETWORKING),
    Option("SO_TIMESTAMPNS", _S, 35, FLAG, DATAGRAMS,
           "The same as `SO_TIMESTAMP`, in nanoseconds.", _SOCKET7),
    Option("SO_TXREHASH", _S, 74, FLAG, TCP,
           "Choose another path when a connection seems stuck.", _NETWORKING),
    Option("SO_ZEROCOPY", _S, 60, FLAG, INET,
           "Allow MSG_ZEROCOPY.", _NETWORKING),
    # IPPROTO_IP
    Option("IP_ADD_MEMBERSHIP", _I, 35, GROUPS4, IPV4_UDP,
           "Join multicast groups, on the named interface or on the one that the routing table"
           " chooses.", _IP7, leaves=36),
    Option("IP_ADD_SOURCE_MEMBERSHIP", _I, 39, SOURCES4, IPV4_UDP,
           "Join multicast groups for the datagrams of one source.", _IP7, leaves=40),
    Option("IP_CHECKSUM", _I, 23, FLAG, IPV4_UDP,
           "Every datagram brings its checksum.", _NETWORKING),
    Option("IP_DROP_MEMBERSHIP", _I, 36, GROUPS4, IPV4_UDP,
           "Leave groups again: those of `IP_ADD_MEMBERSHIP` in `[defaults]`, or those that a"
           " socket from the service manager is in.", _IP7),
    Option("IP_FREEBIND", _I, 15, FLAG, IPV4,
           "Bind an address that this machine does not have yet.", _IP7, _BIND),
    Option("IP_MINTTL", _I, 21, _BYTE, IPV4,
           "Drop packets whose TTL is lower (RFC 5082).", _IP7),
    Option("IP_MTU_DISCOVER", _I, 10, _MTU_DISCOVERY, IPV4,
           "Whether packets may be fragmented on their path.", _IP7),
    Option("IP_MULTICAST_ALL", _I, 49, FLAG, IPV4_UDP,
           "Receive from every group that this machine is in, instead of only from this socket's.",
           _IP7),
    Option("IP_MULTICAST_IF", _I, 32, INTERFACE4, IPV4_UDP,
           "The interface that multicast datagrams leave by.", _IP7),
    Option("IP_MULTICAST_LOOP", _I, 34, FLAG, IPV4_UDP,
           "Whether this machine receives its own multicast datagrams.", _IP7),
    Option("IP_MULTICAST_TTL", _I, 33, _HOPS, IPV4_UDP,
           "Hops of multicast datagrams; default: 1, this link.", _IP7),
    Option("IP_OPTIONS", _I, 4, HEX, IPV4,
           "IP options on packets that are sent, in the form of the header.", _IP7, _CONNECTION),
    Option("IP_PKTINFO", _I, 8, FLAG, IPV4_UDP,
           "Every datagram brings the address and the interface that it arrived at.", _IP7),
    Option("IP_RECVERR", _I, 11, FLAG, IPV4,
           "Put network errors into the error queue.", _IP7),
    Option("IP_RECVERR_RFC4884", _I, 26, FLAG, IPV4_UDP,
           "Keep the extensions of ICMP errors as well (RFC 4884).", _NETWORKING),
    Option("IP_RECVFRAGSIZE", _I, 25, FLAG, IPV4_UDP,
           "Every datagram brings the size of its largest fragment.", _NETWORKING),
    Option("IP_RECVOPTS", _I, 6, FLAG, IPV4_UDP,
           "Every datagram brings its IP options.", _IP7),
    Option("IP_RECVORIGDSTADDR", _I, 20, FLAG, IPV4_UDP,
           "Every datagram brings the address that it was sent to, before any redirection.", _IP7),
    Option("IP_RECVRETOPTS", _I, 7, FLAG, IPV4_UDP,
           "Every datagram brings its IP options, in the form to send them back.", _IP7),
    Option("IP_RECVTOS", _I, 13, FLAG, IPV4_UDP,
           "Every datagram brings its type of service.", _IP7),
    Option("IP_RECVTTL", _I, 12, FLAG, IPV4_UDP, "Every datagram brings its TTL.", _IP7),
    Option("IP_RETOPTS", _I, 7, FLAG, IPV4_UDP,
           "Another name of `IP_RECVRETOPTS`.", _IP7),
    Option("IP_TOS", _I, 1, _BYTE, IPV4,
           "Type of service: the whole byte of DSCP and ECN.", _IP7),
    Option("IP_TRANSPARENT", _I, 19, FLAG, IPV4,
           "Accept redirected connections and datagrams for any address (TPROXY); it needs a"
           " right (CAP_NET_ADMIN).", _IP7, _BIND),
    Option("IP_TTL", _I, 2, number(1, 255), IPV4, "Hops that packets may take.", _IP7),
    Option("IP_UNICAST_IF", _I, 50, NETWORK_INTERFACE_INDEX, IPV4,
           "The interface that packets leave by, except multicast ones.", _NETWORKING),
    # IPPROTO_IPV6
    Option("IPV6_ADDR_PREFERENCES", _6, 72, choice(temporary=1, public=2, default=0x100), IPV6,
           "Which source addresses are preferred.", "RFC 5014"),
    Option("IPV6_AUTOFLOWLABEL", _6, 70, FLAG, IPV6,
           "Whether the kernel chooses flow labels.", _NETWORKING),
    Option("IPV6_DONTFRAG", _6, 62, FLAG, IPV6,
           "Send no fragments; packets that are too long are not sent.", _RFC3542),
    Option("IPV6_DSTOPTS", _6, 59, HEX, IPV6,
           "Destination options on packets that are sent, as a whole header.", _RFC3542),
    Option("IPV6_FLOWINFO", _6, 11, FLAG, IPV6_UDP,
           "Every datagram brings its flow label.", _NETWORKING),
    Option("IPV6_FLOWINFO_SEND", _6, 33, FLAG, IPV6,
           "Use the flow label in the destination address.", _NETWORKING),
    Option("IPV6_FREEBIND", _6, 78, FLAG, IPV6,
           "Bind an address that this machine does not have yet.", _NETWORKING, _BIND),
    Option("IPV6_HOPOPTS", _6, 54, HEX, IPV6,
           "Hop-by-hop options on packets that are sent, as a whole header; it needs a right"
           " (CAP_NET_RAW).", _RFC3542),
    Option("IPV6_JOIN_GROUP", _6, 20, GROUPS6, IPV6_UDP,
           "Join multicast groups, on the named interface or on the one that the kernel"
           " chooses.", _RFC3493, leaves=21),
    Option("IPV6_ADD_MEMBERSHIP", _6, 20, GROUPS6, IPV6_UDP,
           "Linux's name of `IPV6_JOIN_GROUP`.", _IPV67, leaves=21),
    Option("IPV6_LEAVE_GROUP", _6, 21, GROUPS6, IPV6_UDP,
           "Leave groups again: those of `IPV6_JOIN_GROUP` in `[defaults]`, or those that a socket"
           " from the service manager is in.", _RFC3493),
    Option("IPV6_DROP_MEMBERSHIP", _6, 21, GROUPS6, IPV6_UDP,
           "Linux's name of `IPV6_LEAVE_GROUP`.", _IPV67),
    Option("IPV6_MINHOPCOUNT", _6, 73, _BYTE, IPV6,
           "Drop packets whose hop limit is lower (RFC 5082).", _NETWORKING),
    Option("IPV6_MTU_DISCOVER", _6, 23, _MTU_DISCOVERY, IPV6,
           "Whether packets may be fragmented by this machine.", _IPV67),
    Option("IPV6_MULTICAST_ALL", _6, 29, FLAG, IPV6_UDP,
           "Receive from every group that this machine is in, instead of only from this socket's.",
           _NETWORKING),
    Option("IPV6_MULTICAST_HOPS", _6, 18, _HOPS, IPV6_UDP,
           "Hops of multicast datagrams; default: 1, this link.", _RFC3493),
    Option("IPV6_MULTICAST_IF", _6, 17, INTERFACE_INDEX, IPV6_UDP,
           "The interface that multicast datagrams leave by.", _RFC3493),
    Option("IPV6_MULTICAST_LOOP", _6, 19, FLAG, IPV6_UDP,
           "Whether this machine receives its own multicast datagrams.", _RFC3493),
    Option("IPV6_PKTINFO", _6, 50, PACKET_INFORMATION, IPV6,
           "The source address and the interface of packets that are sent.", _RFC3542),
    Option("IPV6_RECVDSTOPTS", _6, 58, FLAG, IPV6_UDP,
           "Every datagram brings its destination options.", _RFC3542),
    Option("IPV6_RECVERR", _6, 25, FLAG, IPV6,
           "Put network errors into the error queue.", _IPV67),
    Option("IPV6_RECVERR_RFC4884", _6, 31, FLAG, IPV6_UDP,
           "Keep the extensions of ICMP errors as well (RFC 4884).", _NETWORKING),
    Option("IPV6_RECVFRAGSIZE", _6, 77, FLAG, IPV6_UDP,
           "Every datagram brings the size of its largest fragment.", _NETWORKING),
    Option("IPV6_RECVHOPLIMIT", _6, 51, FLAG, IPV6_UDP,
           "Every datagram brings its hop limit.", _RFC3542),
    Option("IPV6_RECVHOPOPTS", _6, 53, FLAG, IPV6_UDP,
           "Every datagram brings its hop-by-hop options.", _RFC3542),
    Option("IPV6_RECVORIGDSTADDR", _6, 74, FLAG, IPV6_UDP,
           "Every datagram brings the address that it was sent to, before any redirection.",
           _NETWORKING),
    Option("IPV6_RECVPATHMTU", _6, 60, FLAG, IPV6_UDP,
           "Report when the largest packet size of a path has changed.", _RFC3542),
    Option("IPV6_RECVPKTINFO", _6, 49, FLAG, IPV6_UDP,
           "Every datagram brings the address and the interface that it arrived at.", _RFC3542),
    Option("IPV6_RECVRTHDR", _6, 56, FLAG, IPV6_UDP,
           "Every datagram brings its routing header.", _RFC3542),
    Option("IPV6_RECVTCLASS", _6, 66, FLAG, IPV6_UDP,
           "Every datagram brings its traffic class.", _RFC3542),
    Option("IPV6_RTHDR", _6, 57, HEX, IPV6,
           "A whole routing header on packets that are sent.", _RFC3542),
    Option("IPV6_RTHDRDSTOPTS", _6, 55, HEX, IPV6,
           "Destination options before the routing header of packets that are sent, as a whole"
           " header.", _RFC3542),
    Option("IPV6_TCLASS", _6, 67, _HOPS, IPV6,
           "Traffic class: the whole byte of DSCP and ECN; -1 is the kernel's default.", _RFC3542),
    Option("IPV6_TRANSPARENT", _6, 75, FLAG, IPV6,
           "Accept redirected connections and datagrams for any address (TPROXY); it needs a"
           " right (CAP_NET_ADMIN).", _NETWORKING, _BIND),
    Option("IPV6_UNICAST_HOPS", _6, 16, _HOPS, IPV6,
           "Hops of packets, except multicast ones; -1 is the kernel's default.", _RFC3493),
    Option("IPV6_UNICAST_IF", _6, 76, NETWORK_INTERFACE_INDEX, IPV6,
           "The interface that packets leave by, except multicast ones.", _NETWORKING),
    Option(V6ONLY, _6, 26, FLAG, IPV6,
           "Whether an IPv6 listener serves only IPv6. netd sets it; if it is false, `tcp6:` and"
           " `udp6:` serve both families, and rules see an IPv4 client's own address.",
           _RFC3493, _BIND),
    # IPPROTO_TCP
    Option("TCP_CONGESTION", _T, 13, NAME, TCP,
           "The congestion control algorithm, one that the system has.", _TCP7),
    Option("TCP_CORK", _T, 3, FLAG, TCP,
           "Send only full segments, until the option is cleared or 200 ms have passed.", _TCP7),
    Option("TCP_DEFER_ACCEPT", _T, 9, _SECONDS, TCP,
           "Accept a connection only when data has arrived, or after this time.", _TCP7),
    Option("TCP_DELACK_MAX_US", _T, 46, number(1, 500_000, "microseconds"), TCP,
           "The longest delay of an acknowledgement.", _NETWORKING),
    Option("TCP_FASTOPEN", _T, 23, number(0, 65535), TCP,
           "How many handshakes with data in the first packet may be open (RFC 7413).", _TCP7),
    Option("TCP_FASTOPEN_KEY", _T, 33, HEX, TCP,
           "The key of the cookies for `TCP_FASTOPEN`, 16 or 32 bytes.", _NETWORKING),
    Option("TCP_FASTOPEN_NO_COOKIE", _T, 34, FLAG, TCP,
           "Accept data in the first packet without a cookie.", _NETWORKING),
    Option("TCP_INQ", _T, 36, FLAG, TCP,
           "Each recvmsg reports how much there is left to read.", _TCP7),
    Option("TCP_KEEPCNT", _T, 6, number(1, 127), TCP,
           "Unanswered probes after which an idle connection is closed.", _TCP7),
    Option("TCP_KEEPIDLE", _T, 4, _SECONDS, TCP,
           "Idle time before the first probe, with `SO_KEEPALIVE`.", _TCP7),
    Option("TCP_KEEPINTVL", _T, 5, _SECONDS, TCP,
           "Time between two probes, with `SO_KEEPALIVE`.", _TCP7),
    Option("TCP_LINGER2", _T, 8, number(-1, unit="seconds"), TCP,
           "How long a closed connection waits for the client's FIN; -1 does not wait.", _TCP7),
    Option("TCP_MAXSEG", _T, 2, number(88, 32767, "bytes"), TCP,
           "The largest segment of new connections.", _TCP7),
    Option("TCP_NODELAY", _T, 1, FLAG, TCP,
           "Send small segments immediately (no Nagle algorithm).", _TCP7),
    Option("TCP_NOTSENT_LOWAT", _T, 25, number(0, unit="bytes"), TCP,
           "A socket is writable while fewer unsent bytes than this are queued.", _TCP7),
    Option("TCP_QUICKACK", _T, 12, FLAG, TCP,
           "Acknowledge immediately at first; the kernel may change that later.", _TCP7,
           _CONNECTION),
    Option("TCP_RTO_MAX_MS", _T, 44, number(1000, 120_000, "milliseconds"), TCP,
           "The longest retransmission timeout.", _NETWORKING),
    Option("TCP_RTO_MIN_US", _T, 45, number(1, 200_000_000, "microseconds"), TCP,
           "The shortest retransmission timeout.", _NETWORKING),
    Option("TCP_SAVE_SYN", _T, 27, number(0, 2), TCP,
           "Keep the client's first packet for a handler, which reads `TCP_SAVED_SYN`; 2 includes"
           " the link's header.", _NETWORKING),
    Option("TCP_SYNCNT", _T, 7, number(1, 127), TCP,
           "How often the first packet is sent, of connections that a handler makes.", _TCP7),
    Option("TCP_THIN_LINEAR_TIMEOUTS", _T, 16, FLAG, TCP,
           "Retransmit at a constant interval on connections with little data in flight.",
           _NETWORKING),
    Option("TCP_TX_DELAY", _T, 37, number(0, 2**31 // 1000, "microseconds"), TCP,
           "Delay every packet that is sent; for tests.", _NETWORKING),
    Option("TCP_USER_TIMEOUT", _T, 18, number(0, unit="milliseconds"), TCP,
           "How long sent data may stay unacknowledged; 0 is the system's default.", _TCP7),
    Option("TCP_WINDOW_CLAMP", _T, 10, number(0, unit="bytes"), TCP,
           "The largest receive window.", _TCP7),
    # IPPROTO_UDP
    Option("UDP_CORK", _U, 1, FLAG, UDP,
           "Collect sent data in one datagram, until the option is cleared.", _UDP7),
    Option("UDP_GRO", _U, 104, FLAG, UDP,
           "Receive several datagrams of one client as one (GRO).", _UDP7),
    Option("UDP_NO_CHECK6_RX", _U, 102, FLAG, IPV6_UDP,
           "Accept datagrams without a checksum (RFC 6935).", _NETWORKING),
    Option("UDP_NO_CHECK6_TX", _U, 101, FLAG, IPV6_UDP,
           "Send datagrams without a checksum (RFC 6935).", _NETWORKING),
    Option("UDP_SEGMENT", _U, 103, number(0, 65535, "bytes"), UDP,
           "Split sent data into datagrams of this size; 0 does not.", _UDP7),
)  # fmt: skip

OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({row.name: row for row in _ROWS})
"""By name, in the order of the levels."""


def _read(how: str) -> str:
    return f"is read only: a handler reads it, by {how}"


_GETSOCKOPT: Final = _read("getsockopt()")
_ABSENT: Final = "is not on this system"
_RAW: Final = "is for raw sockets, which netd does not have: leave it out"
_OF_MEMORY: Final = (
    "needs an address in memory, so a file cannot have it: set it in server_bind() of a server"
    " class"
)
_ANCILLARY: Final = "belongs to a single datagram on Linux (sendmsg), and not to a socket"
_OF_CLIENTS: Final = "is for clients: a handler sets it on a socket that it connects"
_OTHER: Final = "is not an option of the sockets that netd has: leave it out"

IMPOSSIBLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "SO_ACCEPTCONN": _GETSOCKOPT,
        "SO_BPF_EXTENSIONS": _GETSOCKOPT,
        "SO_COOKIE": _GETSOCKOPT,
        "SO_DOMAIN": _read("family of its socket"),
        "SO_ERROR": _GETSOCKOPT,
        "SO_INCOMING_NAPI_ID": _GETSOCKOPT,
        "SO_MEMINFO": _GETSOCKOPT,
        "SO_NETNS_COOKIE": _GETSOCKOPT,
        "SO_PEERCRED": _GETSOCKOPT,
        "SO_PEERGROUPS": _GETSOCKOPT,
        "SO_PEERNAME": _read("getpeername()"),
        "SO_PEERPIDFD": _GETSOCKOPT,
        "SO_PEERSEC": _GETSOCKOPT,
        "SO_PROTOCOL": _read("proto of its socket"),
        "SO_TYPE": _read("type of its socket"),
        "IP_MTU": _GETSOCKOPT,
        "IP_PROTOCOL": _GETSOCKOPT,
        "IPV6_MTU": "needs a connected socket: a handler sets and reads it on one that it connects",
        "IPV6_PATHMTU": _GETSOCKOPT,
        "TCP_CC_INFO": _GETSOCKOPT,
        "TCP_INFO": _GETSOCKOPT,
        "TCP_IS_MPTCP": _GETSOCKOPT,
        "TCP_SAVED_SYN": _GETSOCKOPT,
        "SO_SNDLOWAT": "is always 1 on Linux, and cannot be changed (socket(7)): leave it out, or"
        " use TCP_NOTSENT_LOWAT",
        "SO_EXCLUSIVEADDRUSE": f"{_ABSENT}: it is Windows'; without SO_REUSEPORT a port is not"
        " shared here",
        "SO_USELOOPBACK": f"{_ABSENT}: it is for the routing sockets of other systems; leave it"
        " out",
        "SO_NOSIGPIPE": f"{_ABSENT}, and not needed: Python ignores SIGPIPE",
        "SO_ACCEPTFILTER": f"{_ABSENT}: use TCP_DEFER_ACCEPT",
        "IP_RECVDSTADDR": f"{_ABSENT}: use IP_PKTINFO",
        "IP_SENDSRCADDR": f"{_ABSENT}: use IP_PKTINFO",
        "IP_RECVIF": f"{_ABSENT}: use IP_PKTINFO",
        "IP_BINDANY": f"{_ABSENT}: use IP_FREEBIND or IP_TRANSPARENT",
        "IPV6_USE_MIN_MTU": f"{_ABSENT}: the kernel finds the packet size of a path; leave it out",
        "TCP_NOPUSH": f"{_ABSENT}: use TCP_CORK",
        "TCP_KEEPALIVE": f"{_ABSENT}: use TCP_KEEPIDLE",
        "IPV6_HOPLIMIT": f"{_ANCILLARY}: use IPV6_UNICAST_HOPS",
        "IPV6_NEXTHOP": f"{_ANCILLARY}: use the routing table",
        "IP_MAX_MEMBERSHIPS": "is a limit of the system and not an option (another option has"
        " its number): leave it out",
        "IP_DEFAULT_MULTICAST_LOOP": "is a default and not an option: use IP_MULTICAST_LOOP",
        "IP_DEFAULT_MULTICAST_TTL": "is a default and not an option: use IP_MULTICAST_TTL",
        "IPV6_RTHDR_TYPE_0": "is a value and not an option: leave it out",
        "IP_HDRINCL": _RAW,
        "IP_NODEFRAG": _RAW,
        "IP_ROUTER_ALERT": _RAW,
        "IPV6_CHECKSUM": _RAW,
        "IPV6_HDRINCL": _RAW,
        "IPV6_ROUTER_ALERT": _RAW,
        "SO_ATTACH_FILTER": _OF_MEMORY,
        "SO_ATTACH_BPF": _OF_MEMORY,
        "SO_ATTACH_REUSEPORT_CBPF": _OF_MEMORY,
        "SO_ATTACH_REUSEPORT_EBPF": _OF_MEMORY,
        "TCP_MD5SIG": _OF_MEMORY,
        "TCP_MD5SIG_EXT": _OF_MEMORY,
        "TCP_ZEROCOPY_RECEIVE": _OF_MEMORY,
        "SO_LOCK_FILTER": "would keep netd from closing the listener without losing connections:"
        " leave it out",
        **dict.fromkeys(
            (
                "TCP_QUEUE_SEQ",
                "TCP_REPAIR",
                "TCP_REPAIR_OPTIONS",
                "TCP_REPAIR_QUEUE",
                "TCP_REPAIR_WINDOW",
                "TCP_TIMESTAMP",
            ),
            "is for migrating existing connections: leave it out",
        ),
        **dict.fromkeys(
            ("IP_BLOCK_SOURCE", "IP_DROP_SOURCE_MEMBERSHIP", "IP_UNBLOCK_SOURCE"),
            "changes an existing membership: name the sources in IP_ADD_SOURCE_MEMBERSHIP",
        ),
        "TCP_THIN_DUPACK": "has no effect since Linux 4.11: leave it out",
        "TCP_ULP": 'is for existing connections; for TLS, listen on "tls:PORT"',
        "IP_BIND_ADDRESS_NO_PORT": _OF_CLIENTS,
        "IP_LOCAL_PORT_RANGE": _OF_CLIENTS,
        "TCP_FASTOPEN_CONNECT": _OF_CLIENTS,
        **dict.fromkeys(
            (
                "SO_J1939_ERRQUEUE",
                "SO_J1939_FILTER",
                "SO_J1939_PROMISC",
                "SO_J1939_SEND_PRIO",
                "SO_VM_SOCKETS_BUFFER_MAX_SIZE",
                "SO_VM_SOCKETS_BUFFER_MIN_SIZE",
                "SO_VM_SOCKETS_BUFFER_SIZE",
            ),
            _OTHER,
        ),
    }
)
"""Known names that no service can have: why not, and what to use instead."""
