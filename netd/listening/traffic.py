"""What a request carried, and how far away its client was, asked of the kernel once, at its end."""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

from netd.listening.counted import CountedSocket
from netd.log.record import UNKNOWN, Traffic

_TCP_INFO: Final = struct.Struct("B67xI48xQQ8xI52xQQ")
"""Of ``struct tcp_info`` (linux/tcp.h): state, then at 68 rtt, 120 bytes_acked, 128 bytes_received,
144 notsent_bytes, 200 bytes_sent, 208 bytes_retrans (Linux 4.19)."""

_FIN_RECEIVED: Final = frozenset({6, 8, 9, 11})
"""TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING: the peer's FIN counts as a byte received."""

_CLOSE: Final = 7
"""Both ends have sent their FIN, and ours counts as a byte acknowledged; or the peer has reset
the connection, and then the kernel does not tell whether its FIN came before."""


def traffic(request: Any) -> Traffic:
    """What a request carried; ask before its connection is shut down.

    A handler that closed its socket, or took the descriptor away (``detach()``), leaves nothing
    to ask. Of a datagram only the size is known: its replies leave by a socket shared by all.
    """
    if isinstance(request, tuple):
        return Traffic(len(request[0]), None)
    if isinstance(request, CountedSocket):
        return Traffic(request.received, request.sent)
    if not isinstance(request, socket.socket):  # whatever an override of get_request() returns
        return UNKNOWN
    try:
        info = request.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return UNKNOWN
    if len(info) < _TCP_INFO.size:
        return UNKNOWN
    state, microseconds, acknowledged, received, unsent, sent, again = _TCP_INFO.unpack(info)
    closed = state == _CLOSE and acknowledged > sent - again
    return Traffic(
        received - (closed or state in _FIN_RECEIVED),
        sent - again + unsent,
        microseconds / 1_000_000 or None,
    )
