"""Which peers are proxies, that say by a header for whom they connect (the PROXY protocol)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from netd.admission.lists import RuleList
from netd.admission.networks import Unreadable, packed
from netd.model.peer import Credentials

REMEMBERED = 256
"""Addresses whose answer is kept; there are few proxies, and they come again and again."""


class Proxies:
    """The proxies of one listener. Safe from any thread.

    *networks* are entries in canonical form; *of_unix* says what kind of peers the listener has.
    """

    def __init__(self, networks: Iterable[str], *, of_unix: bool) -> None:
        self._rules = RuleList.of(networks)
        self._of_unix = of_unix
        self._has_host = lru_cache(REMEMBERED)(self._is_in_networks)

    def has(self, address: Any, peer: Credentials | None) -> bool:
        """Whether a peer has to send a header; *address* is what ``accept`` has returned."""
        return self._rules.has_peer(peer) if self._of_unix else self._has_host(address[0])

    def _is_in_networks(self, host: str) -> bool:
        try:
            return self._rules.networks.contains(packed(host))
        except Unreadable:
            return False
