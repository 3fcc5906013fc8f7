"""The whole question: may this client come in? Lists first, then the service's own filter."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from netd.admission.filter import RequestFilter
from netd.admission.lists import AccessLists
from netd.model.peer import Credentials, PeerCertificate

REMEMBERED: Final = 4096
"""Addresses whose answer by the lists is kept, in two thirds of a mebibyte: most clients come
again, a datagram's at once. Looking one up costs a seventh of asking the lists."""


class Gate:
    """Decides for the clients of one listener. Safe from any thread."""

    def __init__(
        self,
        lists: AccessLists,
        request_filter: RequestFilter | None,
        *,
        of_unix: bool,
        is_proxied: bool = False,
    ) -> None:
        """With *is_proxied* a client may have an address of another family than the listener."""
        self._lists = lists
        self._refuses_inet = lru_cache(REMEMBERED)(lists.refuses_inet)
        # Where no certificate matters there is no difference, and one memory for both.
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
        """Whether everybody is admitted without a question."""
        return self._lists.is_open and self._filter is None

    def refuses_early(self, client_address: Any, peer: Credentials | None) -> str | None:
        """Return the reason word before a TLS handshake, or None to go on. Raises nothing.

        Nobody is refused whose certificate might yet let him in, and the filter is not asked.
        """
        if self._lists.is_open:
            return None
        if self._is_unix(client_address):
            return self._lists.refuses_early_unix(peer)
        return self._refuses_early_inet(client_address[0])

    def refuses(
        self,
        request: Any,
        client_address: Any,
        client: str,
        peer: Credentials | None,
        certificate: PeerCertificate | None = None,
    ) -> str | None:
        """Ask the lists, then the filter: the reason word, or None to admit. Raises nothing.

        *request* and *client_address* are what ``socketserver`` passes, *client* names the
        client for people, *peer* is who a Unix client is, *certificate* what the client has shown.
        """
        reason = self.refuses_by_lists(client_address, peer, certificate)
        if reason is not None:
            return reason
        return self.refuses_by_filter(request, client_address, client)

    def refuses_by_lists(
        self,
        client_address: Any,
        peer: Credentials | None,
        certificate: PeerCertificate | None = None,
    ) -> str | None:
        """Ask the lists only, as ``refuses`` does."""
        if self._lists.is_open:
            return None
        if self._is_unix(client_address):
            return self._lists.refuses_unix(peer, certificate)
        if certificate is None or not self._lists.needs_certificate:
            return self._refuses_inet(client_address[0])
        return self._lists.refuses_inet(client_address[0], certificate)

    def refuses_by_filter(self, request: Any, client_address: Any, client: str) -> str | None:
        """Ask the filter only, as ``refuses`` does."""
        if self._filter is None:
            return None
        return self._filter.refuses(request, client_address, client)

    def _is_unix(self, client_address: Any) -> bool:
        """By its listener; the address itself says it where a proxy may have named it."""
        return not isinstance(client_address, tuple) if self._is_proxied else self._of_unix
