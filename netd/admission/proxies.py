"""Which peers are proxies, which must send a header of the PROXY protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from netd.admission.lists import RuleList
from netd.admission.networks import Unreadable, packed
from netd.model.address import SocketAddress
from netd.model.peer import Credentials

REMEMBERED: Final = 256
"""Addresses whose answer is cached. There are few proxies, and each connects many times."""


IsProxy = Callable[[SocketAddress, Credentials | None], bool]
"""Whether a peer, by its address or its credentials, is a trusted proxy (``Proxies.has``)."""


class Proxies:
    """The proxies of one listener. Safe from any thread.

    *networks* are canonical entries. With *of_unix* the peers of the listener are Unix clients.
    """

    def __init__(self, networks: Iterable[str], *, of_unix: bool) -> None:
        self._rules = RuleList.of(networks)
        self._of_unix = of_unix
        self._has_host = lru_cache(REMEMBERED)(self._is_in_networks)

    def has(self, address: SocketAddress, peer: Credentials | None) -> bool:
        """Whether a peer must send a header; *address* is what ``accept`` has returned."""
        if self._of_unix or not isinstance(address, tuple):
            return self._rules.has_peer(peer)
        return self._has_host(address[0])

    def _is_in_networks(self, host: str) -> bool:
        try:
            return self._rules.networks.contains(packed(host))
        except Unreadable:
            return False
