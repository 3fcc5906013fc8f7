"""The ``allow`` and ``deny`` lists of a service: admit a client, or refuse it with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from netd.admission.networks import NetworkSet, Unreadable, packed
from netd.values.service import Access


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who stands at the other end of a Unix socket (SO_PEERCRED and SO_PEERGROUPS, unix(7))."""

    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    """The supplementary ones."""


class Refusal(StrEnum):
    """Why the lists refuse a client; the words are for the log and the metrics."""

    DENY = "deny"
    NOT_ALLOWED = "not-allowed"
    UNREADABLE_ADDRESS = "unreadable-address"


@dataclass(frozen=True, slots=True)
class RuleList:
    """The entries of one list, each kind where it is asked."""

    networks: NetworkSet
    any_unix: bool
    uids: frozenset[int]
    gids: frozenset[int]

    @classmethod
    def of(cls, entries: Iterable[str]) -> RuleList:
        """Sort canonical entries (netd.admission.entries). Raises ValueError for any other."""
        peers: dict[str, set[int]] = {"uid": set(), "gid": set()}
        networks = []
        any_unix = False
        for entry in entries:
            kind, _, number = entry.partition(":")
            if entry == "unix":
                any_unix = True
            elif kind in peers:
                peers[kind].add(int(number))
            else:
                networks.append(entry)
        uids, gids = frozenset(peers["uid"]), frozenset(peers["gid"])
        return cls(NetworkSet(networks), any_unix, uids, gids)

    @property
    def needs_credentials(self) -> bool:
        """Whether an entry asks who a Unix client is."""
        return bool(self.uids or self.gids)

    def has_peer(self, peer: Credentials | None) -> bool:
        """Whether an entry matches a Unix client; None is one that nobody knows."""
        if self.any_unix or peer is None:
            return self.any_unix
        return (
            peer.uid in self.uids or peer.gid in self.gids or not self.gids.isdisjoint(peer.groups)
        )


@dataclass(frozen=True, slots=True)
class AccessLists:
    """What a service's lists say of a client: pure, built once, safe to ask from any thread.

    A client is admitted when no ``deny`` entry matches and, where there is an ``allow`` list, one
    of its entries does. Addresses and networks never match Unix clients, and the reverse.
    """

    allow: RuleList | None
    deny: RuleList
    needs_credentials: bool
    """Whether ``refuses_unix`` has to be told who the client is."""
    is_open: bool
    """Whether there is nothing to decide: everybody is admitted, whatever the address."""

    @classmethod
    def of(cls, access: Access) -> AccessLists:
        """Take the lists of a checked configuration.

        Raises ValueError for an entry that is not in canonical form.
        """
        allow = None if access.allow is None else RuleList.of(access.allow)
        deny = RuleList.of(access.deny)
        needs_credentials = deny.needs_credentials or (
            allow is not None and allow.needs_credentials
        )
        return cls(allow, deny, needs_credentials, is_open=allow is None and not access.deny)

    def refuses_inet(self, host: str) -> Refusal | None:
        """Decide on a TCP or UDP client by its address; None admits it.

        An address that cannot be read is refused wherever there is a list.
        """
        if self.is_open:
            return None
        try:
            number = packed(host)
        except Unreadable:
            return Refusal.UNREADABLE_ADDRESS
        if self.deny.networks.contains(number):
            return Refusal.DENY
        if self.allow is None or self.allow.networks.contains(number):
            return None
        return Refusal.NOT_ALLOWED

    def refuses_unix(self, peer: Credentials | None) -> Refusal | None:
        """Decide on a client of a Unix socket; None admits it.

        A peer of None is one whose credentials nobody knows, such as the sender of a datagram: it
        is refused wherever an entry asks for them.
        """
        if peer is None and self.needs_credentials:
            return Refusal.UNREADABLE_ADDRESS
        if self.deny.has_peer(peer):
            return Refusal.DENY
        if self.allow is None or self.allow.has_peer(peer):
            return None
        return Refusal.NOT_ALLOWED
