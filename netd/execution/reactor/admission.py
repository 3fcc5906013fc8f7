"""Whether a client may come in, asked in the reactor's thread, where nobody waits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred

from netd.admission.filter import ReactorFilter
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.execution.request import Request


@dataclass(frozen=True)
class Admission:
    """The rules of one listener.

    *gate* answers from the lists and has no filter of its own; None admits everybody. With
    *dry_run*, whoever is refused is logged and counted, and comes in.
    """

    gate: Gate | None
    filter: ReactorFilter | None
    dry_run: bool

    def by(self, lists: AccessLists, *, of_unix: bool, is_proxied: bool = False) -> Admission:
        """The same rules with other lists, which are in earnest."""
        gate = Gate(lists, None, of_unix=of_unix, is_proxied=is_proxied)
        return replace(self, gate=gate, dry_run=False)

    def refuses(self, request: Request, shown: Any) -> Deferred[str | None] | None:
        """Ask the filter about *shown*, which it knows the request as; None without a filter."""
        if self.filter is None:
            return None
        return self.filter.refuses(shown, request.client_address, request.client)
