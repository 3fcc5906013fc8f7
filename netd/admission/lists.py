"""The ``allow`` and ``deny`` lists of a service: admit a client, or refuse it with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from netd.admission.networks import NetworkSet, Unreadable, packed
from netd.model.peer import Credentials, PeerCertificate
from netd.model.service import Access

CERTIFICATE: Final = "certificate:"
"""What an entry begins with that stands for a name in a client's certificate."""


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
    certificates: tuple[str, ...] = ()
    """Names, one of which a client's certificate has to be for."""

    @classmethod
    def of(cls, entries: Iterable[str]) -> RuleList:
        """Sort canonical entries (netd.admission.entries). Raises ValueError for any other."""
        peers: dict[str, set[int]] = {"uid": set(), "gid": set()}
        networks, certificates = [], []
        any_unix = False
        for entry in entries:
            kind, _, number = entry.partition(":")
            if entry == "unix":
                any_unix = True
            elif entry.startswith(CERTIFICATE):
                certificates.append(entry.removeprefix(CERTIFICATE))
            elif kind in peers:
                peers[kind].add(int(number))
            else:
                networks.append(entry)
        uids, gids = frozenset(peers["uid"]), frozenset(peers["gid"])
        return cls(NetworkSet(networks), any_unix, uids, gids, tuple(certificates))

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

    def has_certificate(self, certificate: PeerCertificate | None) -> bool:
        """Whether an entry matches a client's certificate; None is a client without one."""
        return certificate is not None and any(map(certificate.is_for, self.certificates))


@dataclass(frozen=True, slots=True)
class AccessLists:
    """What a service's lists say of a client: pure, built once, safe to ask from any thread.

    A client is admitted when no ``deny`` entry matches and, where there is an ``allow`` list, one
    of its entries does. Addresses and networks never match Unix clients, and the reverse.

    With TLS it is asked twice. Before the handshake nobody is refused whose certificate might yet
    let him in; after it the whole rule holds.
    """

    allow: RuleList | None
    deny: RuleList
    needs_credentials: bool
    """Whether ``refuses_unix`` has to be told who the client is."""
    needs_certificate: bool
    """Whether an entry asks for a client's certificate."""
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
        needs_certificate = bool(deny.certificates or (allow is not None and allow.certificates))
        is_open = allow is None and not access.deny
        return cls(allow, deny, needs_credentials, needs_certificate, is_open)

    def refuses_inet(self, host: str, certificate: PeerCertificate | None = None) -> Refusal | None:
        """Decide on a TCP or UDP client by its address and certificate; None admits it.

        An address that cannot be read is refused wherever there is a list.
        """
        if self.is_open:
            return None
        try:
            number = packed(host)
        except Unreadable:
            return Refusal.UNREADABLE_ADDRESS
        if self.deny.networks.contains(number) or self.deny.has_certificate(certificate):
            return Refusal.DENY
        if self.allow is None or self.allow.networks.contains(number):
            return None
        return None if self.allow.has_certificate(certificate) else Refusal.NOT_ALLOWED

    def refuses_early_inet(self, host: str) -> Refusal | None:
        """Decide before the handshake: refuse only whom no certificate could help."""
        return self._early(self.refuses_inet(host))

    def refuses_early_unix(self, peer: Credentials | None) -> Refusal | None:
        """The same for a client of a Unix socket."""
        return self._early(self.refuses_unix(peer))

    def _early(self, refusal: Refusal | None) -> Refusal | None:
        if refusal is Refusal.NOT_ALLOWED and self.allow is not None and self.allow.certificates:
            return None
        return refusal

    def refuses_unix(
        self, peer: Credentials | None, certificate: PeerCertificate | None = None
    ) -> Refusal | None:
        """Decide on a client of a Unix socket; None admits it.

        A peer of None is one whose credentials nobody knows, such as the sender of a datagram: it
        is refused wherever an entry asks for them.
        """
        if peer is None and self.needs_credentials:
            return Refusal.UNREADABLE_ADDRESS
        if self.deny.has_peer(peer) or self.deny.has_certificate(certificate):
            return Refusal.DENY
        if self.allow is None or self.allow.has_peer(peer):
            return None
        return None if self.allow.has_certificate(certificate) else Refusal.NOT_ALLOWED
