"""``netd.execution.reactor.admission``: the rules of a listener of the reactor."""

from __future__ import annotations

from typing import Any

from netd.admission.filter import REFUSED, ReactorFilter
from netd.admission.lists import AccessLists
from netd.execution.reactor.admission import Admission
from netd.execution.request import Request
from netd.model.service import Access
from tests.reactors import HandReactor

TAKEN = Request("socket", ("192.0.2.1", 1), "192.0.2.1:1", None)


def test_without_filter() -> None:
    """There is no question, and nothing to wait for."""
    assert Admission(None, None, dry_run=False).refuses(TAKEN, "transport") is None


def test_other_lists() -> None:
    """They are in earnest, whatever the first ones were; the filter is the same."""
    asked = ReactorFilter(lambda *_: True, 1.0, HandReactor(), print)
    before = Admission(None, asked, dry_run=True)
    after = before.by(AccessLists.of(Access(deny=("192.0.2.1",))), of_unix=False)
    assert after.gate is not None
    assert after.gate.refuses(*TAKEN.facts) == "deny"
    assert (after.filter, after.dry_run) == (asked, False)
    assert before.gate is None


def test_filter_is_asked_about_the_transport() -> None:
    """And about the address that ``socketserver`` gives."""
    seen: list[Any] = []
    asked = ReactorFilter(lambda *what: seen.append(what), 1.0, HandReactor(), print)
    answer = Admission(None, asked, dry_run=False).refuses(TAKEN, "transport")
    assert answer is not None
    assert answer.result == REFUSED
    assert seen == [("transport", ("192.0.2.1", 1))]


def test_filter_reports_the_client() -> None:
    reported: list[Any] = []

    def fails(*what: Any) -> bool:
        raise ValueError("no")

    asked = ReactorFilter(fails, 1.0, HandReactor(), lambda *what: reported.append(what))
    Admission(None, asked, dry_run=False).refuses(TAKEN, "transport")
    ((client, error),) = reported
    assert client == "192.0.2.1:1"
    assert isinstance(error, ValueError)
