"""Whether a client is admitted: the lists first, then the service's own filter."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from netd.admission.filter import RequestFilter
from netd.admission.lists import AccessLists
from netd.model.address import SocketAddress
from netd.model.peer import Credentials, PeerCertificate

REMEMBERED: Final = 4096
"""Addresses whose answer from the lists is cached, in two thirds of a mebibyte. Most clients come
again, those that send datagrams immediately; the cache costs a seventh of asking the lists."""


class Gate:
    """Decides about the clients of one listener. Safe from any thread."""

    def __init__(
        self,
        lists: AccessLists,
        request_filter: RequestFilter | None,
        *,
        of_unix: bool,
        is_proxied: bool = False,
    ) -> None:
        """With *is_proxied* a client's address may be of another family than the listener's."""
        self._lists = lists
        self._refuses_inet = lru_cache(REMEMBERED)(lists.refuses_inet)
        # If no entry needs a certificate, both questions have the same answer and share a cache.
        self._refuses_early_inet = self._refuses_inet
        if lists.needs_certificate:
            self._refuses_early_inet = lru_cache(REMEMBERED)(lists.refuses_early_inet)
        self._filter = request_filter
        self._of_unix = of_unix
        self._is_proxied = is_proxied

    def by(self, lists: AccessLists) -> Gate:
        """This gate with other lists."""
        return Gate(lists, self._filter, of_unix=self._of_unix, is_proxied=self._is_proxied)

    @property
    def is_open(self) -> bool:
        """Whether every client is admitted, so that nothing needs to be asked."""
        return self._lists.is_open and self._filter is None

    def refuses_early(self, client_address: SocketAddress, peer: Credentials | None) -> str | None:
        """Return the reason word before a TLS handshake, or None to go on. Raises nothing.

        A client that its certificate could admit is not refused. The filter is not asked.
        """
        if self._lists.is_open:
            return None
        host = self._host(client_address)
        if host is None:
            return self._lists.refuses_early_unix(peer)
        return self._refuses_early_inet(host)

    def refuses(
        self,
        request: object,
        client_address: SocketAddress,
        client: str,
        peer: Credentials | None,
        certificate: PeerCertificate | None = None,
    ) -> str | None:
        """Ask the lists, then the filter: the reason word, or None to admit. Raises nothing.

        *request* and *client_address* are what ``socketserver`` passes. *client* is the client's
        name in the log, *peer* the credentials of a Unix client, *certificate* the verified one.
        """
        # The filter is a user's code and may be slow, so refused clients do not reach it.
        reason = self.refuses_by_lists(client_address, peer, certificate)
        if reason is not None:
            return reason
        return self.refuses_by_filter(request, client_address, client)

    def refuses_by_lists(
        self,
        client_address: SocketAddress,
        peer: Credentials | None,
        certificate: PeerCertificate | None = None,
    ) -> str | None:
        """Ask only the lists, as ``refuses`` does."""
        if self._lists.is_open:
            return None
        host = self._host(client_address)
        if host is None:
            return self._lists.refuses_unix(peer, certificate)
        if certificate is None or not self._lists.needs_certificate:
            return self._refuses_inet(host)
        # Not cached: the answer depends on the certificate, and each client has its own.
        return self._lists.refuses_inet(host, certificate)

    def refuses_by_filter(
        self, request: object, client_address: SocketAddress, client: str
    ) -> str | None:
        """Ask only the filter, as ``refuses`` does."""
        if self._filter is None:
            return None
        return self._filter.refuses(request, client_address, client)

    def _host(self, client_address: SocketAddress) -> str | None:
        """The address to look up in the lists; None for a Unix client.

        The listener's family decides. Only a proxy may name a client of another one.
        """
        if self._of_unix and not self._is_proxied:
            return None
        return client_address[0] if isinstance(client_address, tuple) else None
