"""The credentials of a Unix client, as the kernel reports them (unix(7))."""

from __future__ import annotations

import socket
import struct
from typing import Final

from netd.model.peer import Credentials, unix_client_text

UCRED: Final = struct.Struct("3i")
"""``struct ucred`` of unix(7): process, user, group."""

_SO_PEERGROUPS: Final = 59
"""SO_PEERGROUPS (Linux 4.13) from <asm-generic/socket.h>; Python's socket has no name for it."""

_MOST_GROUPS: Final = 256
"""As many as fit into Python's getsockopt (1024 bytes). A peer with more counts as unknown."""


def unix_client(connection: socket.socket, *, with_groups: bool) -> tuple[str, Credentials | None]:
    """The client of a Unix connection for people, and its credentials; None if there are none.

    They are those at the time of ``connect``: a client cannot change them later. Supplementary
    groups cost a second call, so they are only read with *with_groups*.
    """
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        groups = _peer_groups(connection) if with_groups else frozenset[int]()
    except OSError:
        return "unix", None
    pid, uid, gid = UCRED.unpack(packed)
    return unix_client_text(uid, pid), Credentials(uid, gid, groups, pid)


def _peer_groups(connection: socket.socket) -> frozenset[int]:
    packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    return frozenset(struct.unpack(f"{len(packed) // 4}I", packed))
