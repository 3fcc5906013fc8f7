"""Who is at the other end of a Unix socket, by the kernel's word (unix(7))."""

from __future__ import annotations

import socket
import struct
from typing import Final

from netd.model.peer import Credentials

UCRED: Final = struct.Struct("3i")
"""``struct ucred`` of unix(7): process, user, group."""

_SO_PEERGROUPS: Final = 59
"""SO_PEERGROUPS of <asm-generic/socket.h> (Linux 4.13), which Python's socket does not name."""

_MOST_GROUPS: Final = 256
"""As many as Python's getsockopt (1024 bytes) can take; a peer with more counts as unknown."""


def credentials_of(request: socket.socket, *, with_groups: bool) -> tuple[int, Credentials]:
    """Process and credentials of the other side, which connected. Raises OSError.

    With *with_groups* the supplementary groups are asked for, too.
    """
    packed = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
    pid, uid, gid = UCRED.unpack(packed)
    groups = _peer_groups(request) if with_groups else frozenset[int]()
    return pid, Credentials(uid, gid, groups, pid)


def _peer_groups(request: socket.socket) -> frozenset[int]:
    packed = request.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    return frozenset(struct.unpack(f"{len(packed) // 4}I", packed))
