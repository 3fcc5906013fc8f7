"""Which entry of a service's lists decides about a client. Pure, except for users and groups.

A client is described in the form of entries: an address, ``unix``, ``user:alice``, ``gid:100``,
``certificate:client.example``. Several of them describe one client.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from netd.admission.entries import canonical
from netd.admission.lists import CERTIFICATE, AccessLists, Refusal, RuleList
from netd.admission.networks import Unreadable, packed
from netd.model.peer import Credentials
from netd.model.service import Access

_UNKNOWN_ID: Final = 2**32 - 1
"""A uid or gid that no entry matches: for a client with only one of them given."""


@dataclass(frozen=True)
class _Names:
    """A certificate that has only the given names."""

    names: frozenset[str]

    def is_for(self, name: str) -> bool:
        """Whether *name* is among them."""
        return name in self.names


@dataclass(frozen=True)
class Described:
    """A hypothetical client."""

    host: str | None
    """The address of an Internet client; None for a Unix client."""
    peer: Credentials | None = None
    certificate: _Names | None = None

    @classmethod
    def by(cls, words: Iterable[str]) -> Described:
        """Read a description. Raises ValueError that says what is wrong."""
        hosts: list[str] = []
        is_unix = False
        peers: list[Credentials] = []
        names: list[str] = []
        for word in words:
            if _is_address(word):
                hosts.append(word)
                continue
            for entry in canonical(word):
                kind, _, number = entry.partition(":")
                if entry == "unix":
                    is_unix = True
                elif entry.startswith(CERTIFICATE):
                    names.append(entry.removeprefix(CERTIFICATE))
                elif kind == "uid":
                    peers.append(_credentials(int(number)))
                elif kind == "gid":
                    peers.append(Credentials(_UNKNOWN_ID, int(number)))
                else:
                    raise ValueError(f'"{word}" is not an address; a client has one address')
        if len(hosts) + (is_unix or bool(peers)) != 1:
            raise ValueError("a client has one address, or is one of a Unix socket")
        certificate = _Names(frozenset(names)) if names else None
        return cls(hosts[0] if hosts else None, _combined(peers), certificate)


@dataclass(frozen=True)
class Explained:
    """The decision about a client, and the entry it is based on, if there is one."""

    refusal: Refusal | None
    by: str | None = None
    """``allow`` or ``deny``."""
    entry: str | None = None


def explained(access: Access, client: Described) -> Explained:
    """Explain the decision of ``AccessLists`` about *client*."""
    refusal = _refusal(access, client)
    if refusal is Refusal.DENY:
        return Explained(refusal, "deny", _first(access.deny, client))
    if access.allow is None or refusal is Refusal.UNREADABLE_ADDRESS:
        return Explained(refusal)
    return Explained(refusal, "allow", None if refusal else _first(access.allow, client))


def _refusal(access: Access, client: Described) -> Refusal | None:
    # The lists themselves decide, so that the explanation cannot differ from the daemon.
    lists = AccessLists.of(access)
    if client.host is None:
        return lists.refuses_unix(client.peer, client.certificate)
    return lists.refuses_inet(client.host, client.certificate)


def _first(entries: Sequence[str], client: Described) -> str | None:
    """The first entry that matches the client by itself."""
    return next((entry for entry in entries if _matches(RuleList.of([entry]), client)), None)


def _matches(rule: RuleList, client: Described) -> bool:
    if rule.has_certificate(client.certificate):
        return True
    if client.host is None:
        return rule.has_peer(client.peer)
    return rule.networks.contains(packed(client.host))


def _is_address(text: str) -> bool:
    try:
        return bool(packed(text))
    except Unreadable:
        return False


def _credentials(uid: int) -> Credentials:
    """The credentials of a user, with the groups in the system's databases."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return Credentials(uid, _UNKNOWN_ID)
    groups: Iterator[int] | Sequence[int] = ()
    with suppress(OSError):
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return Credentials(uid, user.pw_gid, frozenset(groups))


def _combined(peers: Sequence[Credentials]) -> Credentials | None:
    """Combine what was given for one client."""
    if not peers:
        return None
    uid = next((peer.uid for peer in peers if peer.uid != _UNKNOWN_ID), _UNKNOWN_ID)
    gids = [peer.gid for peer in peers if peer.gid != _UNKNOWN_ID]
    groups = frozenset(gids).union(*(peer.groups for peer in peers))
    return Credentials(uid, gids[0] if gids else _UNKNOWN_ID, groups)
