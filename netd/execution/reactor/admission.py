"""Whether a client is admitted, asked in the reactor's thread, which must not wait."""

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

    *gate* answers from the lists and has no filter of its own; None admits every client. With
    *dry_run*, a refusal is logged and counted, and the client is served.
    """

    gate: Gate | None
    filter: ReactorFilter | None
    dry_run: bool

    def by(self, lists: AccessLists, *, of_unix: bool, is_proxied: bool = False) -> Admission:
        """The same rules with other lists, and no dry run."""
        gate = Gate(lists, None, of_unix=of_unix, is_proxied=is_proxied)
        return replace(self, gate=gate, dry_run=False)

    def refuses(self, request: Request, shown: Any) -> Deferred[str | None] | None:
        """Ask the filter about a request, which it gets as *shown*; None without a filter."""
        if self.filter is None:
            return None
        return self.filter.refuses(shown, request.client_address, request.client)
