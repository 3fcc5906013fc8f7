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
"""The prefix of an entry for a name in a client's certificate."""


class Refusal(StrEnum):
    """Why the lists refuse a client. The words are in logs and metrics."""

    DENY = "deny"
    NOT_ALLOWED = "not-allowed"
    UNREADABLE_ADDRESS = "unreadable-address"


@dataclass(frozen=True, slots=True)
class RuleList:
    """The entries of one list, by kind."""

    networks: NetworkSet
    any_unix: bool
    uids: frozenset[int]
    gids: frozenset[int]
    certificates: tuple[str, ...] = ()
    """Names. A client's certificate matches if it is for one of them."""

    @classmethod
    def of(cls, entries: Iterable[str]) -> RuleList:
        """Sort canonical entries (netd.admission.entries) by kind. Raises ValueError for others."""
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
        """Whether an entry needs the credentials of a Unix client."""
        return bool(self.uids or self.gids)

    def has_peer(self, peer: Credentials | None) -> bool:
        """Whether an entry matches a Unix client; None is one with unknown credentials."""
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
    """The two lists of a service. Immutable, and safe from any thread.

    A client is admitted if no ``deny`` entry matches and, if there is an ``allow`` list, at least
    one of its entries does. Addresses and networks never match Unix clients, nor ``unix``, users
    and groups Internet clients.

    Over TLS the lists are asked twice: before the handshake, to spare its cost for clients that no
    certificate could admit, and after it, when the certificate is known.
    """

    allow: RuleList | None
    deny: RuleList
    # Computed once, because they are asked for every connection.
    needs_credentials: bool
    """Whether ``refuses_unix`` needs the client's credentials."""
    needs_certificate: bool
    """Whether an entry needs the client's certificate."""
    is_open: bool
    """Whether there are no entries, so that every client is admitted."""

    @classmethod
    def of(cls, access: Access) -> AccessLists:
        """Build the lists of a checked configuration.

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
        """The reason to refuse a TCP or UDP client; None admits it.

        An address that cannot be read is refused: a ``deny`` entry might match it.
        """
        if self.is_open:
            return None
        try:
            number = packed(host)
        except Unreadable:
            return Refusal.UNREADABLE_ADDRESS
        # deny before allow: an entry of deny excludes clients from a network that allow names.
        if self.deny.networks.contains(number) or self.deny.has_certificate(certificate):
            return Refusal.DENY
        if self.allow is None or self.allow.networks.contains(number):
            return None
        return None if self.allow.has_certificate(certificate) else Refusal.NOT_ALLOWED

    def refuses_early_inet(self, host: str) -> Refusal | None:
        """Decide before the handshake: refuse only a client that no certificate could admit."""
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
        """The reason to refuse a client of a Unix socket; None admits it.

        *peer* is None if the credentials are unknown, as for a proxied client. Such a client is
        refused if any entry needs them.
        """
        if peer is None and self.needs_credentials:
            return Refusal.UNREADABLE_ADDRESS
        if self.deny.has_peer(peer) or self.deny.has_certificate(certificate):
            return Refusal.DENY
        if self.allow is None or self.allow.has_peer(peer):
            return None
        return None if self.allow.has_certificate(certificate) else Refusal.NOT_ALLOWED
