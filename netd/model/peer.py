"""What identifies a client besides its address: credentials of a Unix peer, or a certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Credentials:
    """The process at the other end of a Unix socket (SO_PEERCRED and SO_PEERGROUPS, unix(7))."""

    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    """The supplementary groups."""
    pid: int = field(default=0, compare=False)
    """The process that connected, for people: it may have ended since. 0: unknown."""


def unix_client_text(uid: int, pid: int) -> str:
    """Write a Unix client, of whom the kernel has told user and process, for people."""
    return f"uid:{uid},pid:{pid}"


class PeerCertificate(Protocol):
    """A client's certificate, verified by the TLS handshake."""

    def is_for(self, name: str) -> bool:
        """Whether it is for *name*: a host, an address or a URI, as an entry has it."""
        ...
