"""The socket options that a configuration can have: one row each, and why others cannot be there.

The numbers are Linux's own (<asm-generic/socket.h>, <linux/in.h>, <linux/in6.h>, <linux/tcp.h>,
<linux/udp.h>), since Python's ``socket`` names only some. What a row says of inheritance was tried:
a test sets each option and asks the connection.
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
    """The protocol that an option belongs to, as setsockopt(2) has it."""

    SOL_SOCKET = 1
    IPPROTO_IP = 0
    IPPROTO_IPV6 = 41
    IPPROTO_TCP = 6
    IPPROTO_UDP = 17


@dataclass(frozen=True)
class Fit:
    """Which sockets an option means something to."""

    words: str
    """For people."""
    kinds: frozenset[Kind]
    fits_mapped: bool = False
    """Whether an IPv6 socket that serves IPv4, too, is one of them."""


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
    """The option that takes one of several values back."""


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
           "Only what comes in by this interface.", _SOCKET7, _BIND),
    Option("SO_BINDTOIFINDEX", _S, 62, INTERFACE_INDEX, INET,
           "The same as `SO_BINDTODEVICE`, which the kernel is told by a number.",
           _NETWORKING, _BIND),
    Option("SO_BROADCAST", _S, 6, FLAG, UDP,
           "Datagrams may be sent to broadcast addresses.", _SOCKET7),
    Option("SO_BUF_LOCK", _S, 72, number(0, 3), INET,
           "Which buffers the kernel leaves at their size: 1 that for sending, 2 that for"
           " receiving.", _SOCKET7),
    Option("SO_BUSY_POLL", _S, 46, _MICROSECONDS, INET,
           "How long a read polls the device for more, when there is nothing.", _SOCKET7),
    Option("SO_DEBUG", _S, 1, FLAG, INET, "The kernel's socket debugging.", _SOCKET7),
    Option("SO_DONTROUTE", _S, 5, FLAG, INET,
           "Send to hosts on the same link only, past gateways.", _SOCKET7),
    Option("SO_INCOMING_CPU", _S, 49, number(0, 65535), INET,
           "The processor whose packets this socket is for, among those that share a port.",
           _SOCKET7),
    Option("SO_KEEPALIVE", _S, 9, FLAG, TCP,
           "Ask idle clients whether they are still there; `TCP_KEEPIDLE` and its neighbours say"
           " how often.", _SOCKET7),
    Option("SO_LINGER", _S, 13, LINGER, TCP,
           "How long a close waits until what was sent has arrived; 0 resets the connection.",
           _SOCKET7),
    Option("SO_MARK", _S, 36, number(0, 2**32 - 1), INET,
           "A mark on packets that are sent, for routing and filters.", _SOCKET7),
    Option("SO_MAX_PACING_RATE", _S, 47, number(1, 2**32 - 1, "bytes a second"), INET,
           "The most that is sent a second, on each connection.", _NETWORKING),
    Option("SO_NO_CHECK", _S, 11, FLAG, Fit("udp, of IPv4", IPV4_UDP.kinds),
           "Send UDP datagrams without a checksum.", _NETWORKING),
    Option("SO_OOBINLINE", _S, 10, FLAG, STREAMS,
           "Urgent data stays among the rest, instead of being read by MSG_OOB.", _SOCKET7),
    Option("SO_PASSCRED", _S, 16, FLAG, UNIX,
           "Every message brings its sender's credentials. netd sets it for datagrams, whose"
           " senders rules are about.", _UNIX7),
    Option("SO_PASSPIDFD", _S, 76, FLAG, UNIX,
           "Every message brings a pidfd of its sender.", _UNIX7),
    Option("SO_PASSRIGHTS", _S, 83, FLAG, UNIX,
           "Whether a sender may pass descriptors.", _NETWORKING),
    Option("SO_PASSSEC", _S, 34, FLAG, UNIX,
           "Every message brings its sender's security label.", _UNIX7),
    Option("SO_PEEK_OFF", _S, 42, number(-1), ALL,
           "Where a read by MSG_PEEK starts; -1 is the beginning, each time.", _SOCKET7),
    Option("SO_PREFER_BUSY_POLL", _S, 69, FLAG, INET,
           "Poll the device rather than be interrupted by it.", _NETWORKING),
    Option("SO_PRIORITY", _S, 12, number(0), INET,
           "The queue of packets that are sent; above 6 it needs a right (CAP_NET_ADMIN), of the"
           " service's own user for connections.", _SOCKET7, _CONNECTION),
    Option("SO_RCVBUF", _S, 8, SIZE, INET,
           "The receive buffer; the kernel doubles it, and grows it no more by itself.", _SOCKET7),
    Option("SO_RCVBUFFORCE", _S, 33, SIZE, INET,
           "The same beyond the system's limit; it needs a right (CAP_NET_ADMIN).", _SOCKET7),
    Option("SO_RCVLOWAT", _S, 18, number(1), STREAMS,
           "Bytes that must have come before a read returns.", _SOCKET7),
    Option("SO_RCVMARK", _S, 75, FLAG, UDP,
           "Every datagram brings the mark that it came with.", _NETWORKING),
    Option("SO_RCVPRIORITY", _S, 82, FLAG, UDP,
           "Every datagram brings the priority that it came with.", _NETWORKING),
    Option("SO_RCVTIMEO", _S, 20, TIMEVAL, ALL,
           "A read that waits for longer fails with EAGAIN.", _SOCKET7),
    Option("SO_REUSEADDR", _S, 2, FLAG, INET,
           "Bind although old connections are still ending. netd sets it for TCP; two UDP sockets"
           " that have it share a port, and the last one bound gets the datagrams.",
           _SOCKET7, _BIND),
    Option("SO_REUSEPORT", _S, 15, FLAG, INET,
           "Share the port with other processes that say the same.", _SOCKET7, _BIND),
    Option("SO_RXQ_OVFL", _S, 40, FLAG, DATAGRAMS,
           "Every datagram brings the number of those that were lost for want of room.", _SOCKET7),
    Option("SO_SELECT_ERR_QUEUE", _S, 45, FLAG, ALL,
           "A poll for exceptional conditions reports the error queue, too.", _SOCKET7),
    Option("SO_SNDBUF", _S, 7, SIZE, ALL,
           "The send buffer; the kernel doubles it, and grows it no more by itself.", _SOCKET7),
    Option("SO_SNDBUFFORCE", _S, 32, SIZE, ALL,
           "The same beyond the system's limit; it needs a right (CAP_NET_ADMIN).", _SOCKET7),
    Option("SO_SNDTIMEO", _S, 21, TIMEVAL, ALL,
           "A write that waits for longer fails with EAGAIN.", _SOCKET7),
    Option("SO_TIMESTAMP", _S, 29, FLAG, DATAGRAMS,
           "Every datagram brings the time when it was received.", _SOCKET7),
    Option("SO_TIMESTAMPING", _S, 37, number(0, 2**19 - 1), DATAGRAMS,
           "Time stamps of the network's hardware and others, as a sum of flags.", _NETWORKING),
    Option("SO_TIMESTAMPNS", _S, 35, FLAG, DATAGRAMS,
           "The same as `SO_TIMESTAMP`, to a nanosecond.", _SOCKET7),
    Option("SO_TXREHASH", _S, 74, FLAG, TCP,
           "Take another path when a connection seems stuck.", _NETWORKING),
    Option("SO_ZEROCOPY", _S, 60, FLAG, INET,
           "Allow MSG_ZEROCOPY.", _NETWORKING),
    # IPPROTO_IP
    Option("IP_ADD_MEMBERSHIP", _I, 35, GROUPS4, IPV4_UDP,
           "Join multicast groups, on the interface that is named or the one that the routing"
           " table says.", _IP7, leaves=36),
    Option("IP_ADD_SOURCE_MEMBERSHIP", _I, 39, SOURCES4, IPV4_UDP,
           "Join multicast groups, for what one source sends to them.", _IP7, leaves=40),
    Option("IP_CHECKSUM", _I, 23, FLAG, IPV4_UDP,
           "Every datagram brings its checksum.", _NETWORKING),
    Option("IP_DROP_MEMBERSHIP", _I, 36, GROUPS4, IPV4_UDP,
           "Leave groups after all: those that `IP_ADD_MEMBERSHIP` of `[defaults]` has, or a"
           " socket of the service manager's is in.", _IP7),
    Option("IP_FREEBIND", _I, 15, FLAG, IPV4,
           "Bind an address that this machine does not have yet.", _IP7, _BIND),
    Option("IP_MINTTL", _I, 21, _BYTE, IPV4,
           "Drop packets whose TTL is lower (RFC 5082).", _IP7),
    Option("IP_MTU_DISCOVER", _I, 10, _MTU_DISCOVERY, IPV4,
           "Whether packets may be fragmented on their way.", _IP7),
    Option("IP_MULTICAST_ALL", _I, 49, FLAG, IPV4_UDP,
           "Get what is sent to any group that this machine is in, rather than to this socket's.",
           _IP7),
    Option("IP_MULTICAST_IF", _I, 32, INTERFACE4, IPV4_UDP,
           "The interface that multicast datagrams are sent by.", _IP7),
    Option("IP_MULTICAST_LOOP", _I, 34, FLAG, IPV4_UDP,
           "Whether multicast datagrams that are sent come back to this machine.", _IP7),
    Option("IP_MULTICAST_TTL", _I, 33, _HOPS, IPV4_UDP,
           "How far multicast datagrams go; 1, the default, is this link.", _IP7),
    Option("IP_OPTIONS", _I, 4, HEX, IPV4,
           "IP options on packets that are sent, as the header has them.", _IP7, _CONNECTION),
    Option("IP_PKTINFO", _I, 8, FLAG, IPV4_UDP,
           "Every datagram brings the address and the interface that it came to.", _IP7),
    Option("IP_RECVERR", _I, 11, FLAG, IPV4,
           "Keep errors of the network in the error queue.", _IP7),
    Option("IP_RECVERR_RFC4884", _I, 26, FLAG, IPV4_UDP,
           "Keep the extensions of ICMP errors, too (RFC 4884).", _NETWORKING),
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
           "Type of service: DSCP and ECN, the whole byte.", _IP7),
    Option("IP_TRANSPARENT", _I, 19, FLAG, IPV4,
           "Take what is redirected here (TPROXY), from any address; it needs a right"
           " (CAP_NET_ADMIN).", _IP7, _BIND),
    Option("IP_TTL", _I, 2, number(1, 255), IPV4, "How far packets go.", _IP7),
    Option("IP_UNICAST_IF", _I, 50, NETWORK_INTERFACE_INDEX, IPV4,
           "The interface that packets are sent by, but multicast ones.", _NETWORKING),
    # IPPROTO_IPV6
    Option("IPV6_ADDR_PREFERENCES", _6, 72, choice(temporary=1, public=2, default=0x100), IPV6,
           "Which source addresses are preferred.", "RFC 5014"),
    Option("IPV6_AUTOFLOWLABEL", _6, 70, FLAG, IPV6,
           "Whether the kernel makes up flow labels.", _NETWORKING),
    Option("IPV6_DONTFRAG", _6, 62, FLAG, IPV6,
           "Send no fragments: what is too long is not sent.", _RFC3542),
    Option("IPV6_DSTOPTS", _6, 59, HEX, IPV6,
           "Destination options on packets that are sent, the whole header.", _RFC3542),
    Option("IPV6_FLOWINFO", _6, 11, FLAG, IPV6_UDP,
           "Every datagram brings its flow label.", _NETWORKING),
    Option("IPV6_FLOWINFO_SEND", _6, 33, FLAG, IPV6,
           "Use the flow label of the address that is sent to.", _NETWORKING),
    Option("IPV6_FREEBIND", _6, 78, FLAG, IPV6,
           "Bind an address that this machine does not have yet.", _NETWORKING, _BIND),
    Option("IPV6_HOPOPTS", _6, 54, HEX, IPV6,
           "Hop-by-hop options on packets that are sent, the whole header; it needs a right"
           " (CAP_NET_RAW).", _RFC3542),
    Option("IPV6_JOIN_GROUP", _6, 20, GROUPS6, IPV6_UDP,
           "Join multicast groups, on the interface that is named or the one that the kernel"
           " chooses.", _RFC3493, leaves=21),
    Option("IPV6_ADD_MEMBERSHIP", _6, 20, GROUPS6, IPV6_UDP,
           "Linux's name of `IPV6_JOIN_GROUP`.", _IPV67, leaves=21),
    Option("IPV6_LEAVE_GROUP", _6, 21, GROUPS6, IPV6_UDP,
           "Leave groups after all: those that `IPV6_JOIN_GROUP` of `[defaults]` has, or a socket"
           " of the service manager's is in.", _RFC3493),
    Option("IPV6_DROP_MEMBERSHIP", _6, 21, GROUPS6, IPV6_UDP,
           "Linux's name of `IPV6_LEAVE_GROUP`.", _IPV67),
    Option("IPV6_MINHOPCOUNT", _6, 73, _BYTE, IPV6,
           "Drop packets whose hop limit is lower (RFC 5082).", _NETWORKING),
    Option("IPV6_MTU_DISCOVER", _6, 23, _MTU_DISCOVERY, IPV6,
           "Whether packets may be fragmented by this machine.", _IPV67),
    Option("IPV6_MULTICAST_ALL", _6, 29, FLAG, IPV6_UDP,
           "Get what is sent to any group that this machine is in, rather than to this socket's.",
           _NETWORKING),
    Option("IPV6_MULTICAST_HOPS", _6, 18, _HOPS, IPV6_UDP,
           "How far multicast datagrams go; 1, the default, is this link.", _RFC3493),
    Option("IPV6_MULTICAST_IF", _6, 17, INTERFACE_INDEX, IPV6_UDP,
           "The interface that multicast datagrams are sent by.", _RFC3493),
    Option("IPV6_MULTICAST_LOOP", _6, 19, FLAG, IPV6_UDP,
           "Whether multicast datagrams that are sent come back to this machine.", _RFC3493),
    Option("IPV6_PKTINFO", _6, 50, PACKET_INFORMATION, IPV6,
           "The source address and the interface of packets that are sent.", _RFC3542),
    Option("IPV6_RECVDSTOPTS", _6, 58, FLAG, IPV6_UDP,
           "Every datagram brings its destination options.", _RFC3542),
    Option("IPV6_RECVERR", _6, 25, FLAG, IPV6,
           "Keep errors of the network in the error queue.", _IPV67),
    Option("IPV6_RECVERR_RFC4884", _6, 31, FLAG, IPV6_UDP,
           "Keep the extensions of ICMP errors, too (RFC 4884).", _NETWORKING),
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
           "Tell when the largest packet of a path has changed.", _RFC3542),
    Option("IPV6_RECVPKTINFO", _6, 49, FLAG, IPV6_UDP,
           "Every datagram brings the address and the interface that it came to.", _RFC3542),
    Option("IPV6_RECVRTHDR", _6, 56, FLAG, IPV6_UDP,
           "Every datagram brings its routing header.", _RFC3542),
    Option("IPV6_RECVTCLASS", _6, 66, FLAG, IPV6_UDP,
           "Every datagram brings its traffic class.", _RFC3542),
    Option("IPV6_RTHDR", _6, 57, HEX, IPV6,
           "A routing header on packets that are sent, the whole of it.", _RFC3542),
    Option("IPV6_RTHDRDSTOPTS", _6, 55, HEX, IPV6,
           "Destination options before the routing header of packets that are sent, the whole"
           " header.", _RFC3542),
    Option("IPV6_TCLASS", _6, 67, _HOPS, IPV6,
           "Traffic class: DSCP and ECN, the whole byte; -1 is the kernel's default.", _RFC3542),
    Option("IPV6_TRANSPARENT", _6, 75, FLAG, IPV6,
           "Take what is redirected here (TPROXY), from any address; it needs a right"
           " (CAP_NET_ADMIN).", _NETWORKING, _BIND),
    Option("IPV6_UNICAST_HOPS", _6, 16, _HOPS, IPV6,
           "How far packets go, but multicast ones; -1 is the kernel's default.", _RFC3493),
    Option("IPV6_UNICAST_IF", _6, 76, NETWORK_INTERFACE_INDEX, IPV6,
           "The interface that packets are sent by, but multicast ones.", _NETWORKING),
    Option(V6ONLY, _6, 26, FLAG, IPV6,
           "Whether an IPv6 listener is for IPv6 alone; netd sets it, and without it `tcp6:` and"
           " `udp6:` serve both families. Rules see an IPv4 client's own address then.",
           _RFC3493, _BIND),
    # IPPROTO_TCP
    Option("TCP_CONGESTION", _T, 13, NAME, TCP,
           "The algorithm for congestion control, one that the system has.", _TCP7),
    Option("TCP_CORK", _T, 3, FLAG, TCP,
           "Send full segments only, until the option is taken back or 200 ms have passed.", _TCP7),
    Option("TCP_DEFER_ACCEPT", _T, 9, _SECONDS, TCP,
           "Take a client only when it has sent something, or after so long.", _TCP7),
    Option("TCP_DELACK_MAX_US", _T, 46, number(1, 500_000, "microseconds"), TCP,
           "How long an acknowledgement is held back at most.", _NETWORKING),
    Option("TCP_FASTOPEN", _T, 23, number(0, 65535), TCP,
           "How many clients may send data with their first packet at a time (RFC 7413).", _TCP7),
    Option("TCP_FASTOPEN_KEY", _T, 33, HEX, TCP,
           "The key of the cookies for that, 16 or 32 bytes.", _NETWORKING),
    Option("TCP_FASTOPEN_NO_COOKIE", _T, 34, FLAG, TCP,
           "Take such data without a cookie, too.", _NETWORKING),
    Option("TCP_INQ", _T, 36, FLAG, TCP,
           "Tell with each recvmsg how much there is left to read.", _TCP7),
    Option("TCP_KEEPCNT", _T, 6, number(1, 127), TCP,
           "Unanswered questions after which an idle client has gone.", _TCP7),
    Option("TCP_KEEPIDLE", _T, 4, _SECONDS, TCP,
           "Silence before the first question, with `SO_KEEPALIVE`.", _TCP7),
    Option("TCP_KEEPINTVL", _T, 5, _SECONDS, TCP,
           "Time between two questions.", _TCP7),
    Option("TCP_LINGER2", _T, 8, number(-1, unit="seconds"), TCP,
           "How long a closed connection waits for the client's FIN; -1 not at all.", _TCP7),
    Option("TCP_MAXSEG", _T, 2, number(88, 32767, "bytes"), TCP,
           "The largest segment, on connections that begin from now on.", _TCP7),
    Option("TCP_NODELAY", _T, 1, FLAG, TCP,
           "Send small segments at once (no Nagle algorithm).", _TCP7),
    Option("TCP_NOTSENT_LOWAT", _T, 25, number(0, unit="bytes"), TCP,
           "A socket is writable while less than this is still to be sent.", _TCP7),
    Option("TCP_QUICKACK", _T, 12, FLAG, TCP,
           "Acknowledge at once, at first; the kernel changes that as it sees fit.", _TCP7,
           _CONNECTION),
    Option("TCP_RTO_MAX_MS", _T, 44, number(1000, 120_000, "milliseconds"), TCP,
           "The longest time before something is sent once more.", _NETWORKING),
    Option("TCP_RTO_MIN_US", _T, 45, number(1, 200_000_000, "microseconds"), TCP,
           "The shortest time before something is sent once more.", _NETWORKING),
    Option("TCP_SAVE_SYN", _T, 27, number(0, 2), TCP,
           "Keep the client's first packet, for `TCP_SAVED_SYN` of a handler; with 2, from the"
           " link's header on.", _NETWORKING),
    Option("TCP_SYNCNT", _T, 7, number(1, 127), TCP,
           "How often a connection is asked for; for sockets that a handler connects.", _TCP7),
    Option("TCP_THIN_LINEAR_TIMEOUTS", _T, 16, FLAG, TCP,
           "Send again without waiting longer each time, on connections with little under way.",
           _NETWORKING),
    Option("TCP_TX_DELAY", _T, 37, number(0, 2**31 // 1000, "microseconds"), TCP,
           "Delay all that is sent; for tests.", _NETWORKING),
    Option("TCP_USER_TIMEOUT", _T, 18, number(0, unit="milliseconds"), TCP,
           "How long what was sent may stay unacknowledged; 0 is the system's default.", _TCP7),
    Option("TCP_WINDOW_CLAMP", _T, 10, number(0, unit="bytes"), TCP,
           "The largest window that is offered.", _TCP7),
    # IPPROTO_UDP
    Option("UDP_CORK", _U, 1, FLAG, UDP,
           "Collect what is sent in one datagram, until the option is taken back.", _UDP7),
    Option("UDP_GRO", _U, 104, FLAG, UDP,
           "Receive several datagrams of one client as one.", _UDP7),
    Option("UDP_NO_CHECK6_RX", _U, 102, FLAG, IPV6_UDP,
           "Take datagrams without a checksum (RFC 6935).", _NETWORKING),
    Option("UDP_NO_CHECK6_TX", _U, 101, FLAG, IPV6_UDP,
           "Send datagrams without a checksum (RFC 6935).", _NETWORKING),
    Option("UDP_SEGMENT", _U, 103, number(0, 65535, "bytes"), UDP,
           "Cut what is sent in datagrams of this size; 0 not at all.", _UDP7),
)  # fmt: skip

OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({row.name: row for row in _ROWS})
"""By name, in the order of the levels."""


def _read(how: str) -> str:
    return f"is read only: a handler reads it, by {how}"


_GETSOCKOPT: Final = _read("getsockopt()")
_ABSENT: Final = "is not on this system"
_RAW: Final = "is for raw sockets, and netd has none: leave it out"
_OF_MEMORY: Final = (
    "takes an address in memory, which no file can say: set it in server_bind() of a server class"
)
_ANCILLARY: Final = "goes with a single datagram on Linux (sendmsg), and is no option of a socket"
_OF_CLIENTS: Final = "is for clients: a handler sets it on what it connects"
_OTHER: Final = "is no option of sockets that netd has: leave it out"

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
        "IPV6_MTU": "is of a connected socket: a handler sets and reads it on what it connects",
        "IPV6_PATHMTU": _GETSOCKOPT,
        "TCP_CC_INFO": _GETSOCKOPT,
        "TCP_INFO": _GETSOCKOPT,
        "TCP_IS_MPTCP": _GETSOCKOPT,
        "TCP_SAVED_SYN": _GETSOCKOPT,
        "SO_SNDLOWAT": "is always 1 on Linux, and cannot be changed (socket(7)): leave it out, or"
        " use TCP_NOTSENT_LOWAT",
        "SO_EXCLUSIVEADDRUSE": f"{_ABSENT}: it is Windows'; without SO_REUSEPORT nobody shares a"
        " port here",
        "SO_USELOOPBACK": f"{_ABSENT}: it is for the routing sockets of other systems; leave it"
        " out",
        "SO_NOSIGPIPE": f"{_ABSENT}, and not needed: Python ignores SIGPIPE",
        "SO_ACCEPTFILTER": f"{_ABSENT}: use TCP_DEFER_ACCEPT",
        "IP_RECVDSTADDR": f"{_ABSENT}: use IP_PKTINFO",
        "IP_SENDSRCADDR": f"{_ABSENT}: use IP_PKTINFO",
        "IP_RECVIF": f"{_ABSENT}: use IP_PKTINFO",
        "IP_BINDANY": f"{_ABSENT}: use IP_FREEBIND or IP_TRANSPARENT",
        "IPV6_USE_MIN_MTU": f"{_ABSENT}: the kernel finds out what a path takes; leave it out",
        "TCP_NOPUSH": f"{_ABSENT}: use TCP_CORK",
        "TCP_KEEPALIVE": f"{_ABSENT}: use TCP_KEEPIDLE",
        "IPV6_HOPLIMIT": f"{_ANCILLARY}: use IPV6_UNICAST_HOPS",
        "IPV6_NEXTHOP": f"{_ANCILLARY}: say it by the routing table",
        "IP_MAX_MEMBERSHIPS": "is a limit of the system, and no option (its number is that of"
        " another one): leave it out",
        "IP_DEFAULT_MULTICAST_LOOP": "is a default, and no option: use IP_MULTICAST_LOOP",
        "IP_DEFAULT_MULTICAST_TTL": "is a default, and no option: use IP_MULTICAST_TTL",
        "IPV6_RTHDR_TYPE_0": "is a value, and no option: leave it out",
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
        "SO_LOCK_FILTER": "would keep netd from closing the listener without losing clients:"
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
            "is for moving connections that exist: leave it out",
        ),
        **dict.fromkeys(
            ("IP_BLOCK_SOURCE", "IP_DROP_SOURCE_MEMBERSHIP", "IP_UNBLOCK_SOURCE"),
            "changes a membership that exists: name the sources in IP_ADD_SOURCE_MEMBERSHIP",
        ),
        "TCP_THIN_DUPACK": "has no effect since Linux 4.11: leave it out",
        "TCP_ULP": 'is for connections that exist; for TLS, listen on "tls:PORT"',
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
"""Names that people know and no service can have, and why; with what would do instead."""
