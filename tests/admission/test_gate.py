"""``netd.admission.gate``: the lists, then the filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from netd.admission.filter import RequestFilter
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.model.peer import Credentials
from netd.model.service import Access
from tests.reactors import HandReactor

ALICE = Credentials(1000, 1000, frozenset({27}))


class Filter:
    """A user's function, which notes what it is asked."""

    def __init__(self, verdict: bool = True) -> None:
        self.asked: list[tuple[Any, Any]] = []
        self.reported: list[str] = []
        self._verdict = verdict
        self.filter = RequestFilter(self._decide, 5.0, HandReactor(), self._report)

    def _decide(self, request: Any, address: Any) -> bool:
        self.asked.append((request, address))
        return self._verdict

    def _report(self, client: str, error: BaseException) -> None:
        self.reported.append(client)


def gate(
    allow: Sequence[str] | None = None,
    deny: Sequence[str] = (),
    request_filter: Filter | None = None,
    of_unix: bool = False,
) -> Gate:
    lists = AccessLists.of(Access(None if allow is None else tuple(allow), tuple(deny)))
    return Gate(lists, request_filter.filter if request_filter else None, of_unix=of_unix)


class TestOpen:
    """Whether there is a question at all."""

    def test_no_rules(self) -> None:
        """Without lists and filter everybody is admitted, whatever there is to know of him."""
        assert gate().is_open
        assert gate().refuses("request", ("not an address", 0), "client", None) is None
        assert gate(of_unix=True).refuses("request", "", "unix", None) is None

    @pytest.mark.parametrize(
        "closed", [gate(allow=[]), gate(deny=["10.0.0.1"]), gate(request_filter=Filter())]
    )
    def test_any_rule(self, closed: Gate) -> None:
        """Each kind of rule is a question."""
        assert not closed.is_open


class TestInet:
    """Clients with an Internet address are known by it."""

    @pytest.mark.parametrize(
        ("host", "reason"),
        [
            ("10.0.0.1", None),
            ("10.9.0.1", "deny"),
            ("192.0.2.1", "not-allowed"),
            ("nonsense", "unreadable-address"),
        ],
    )
    def test_by_the_address(self, host: str, reason: str | None) -> None:
        """The lists decide by the host of ``client_address``, with their reason word."""
        made = gate(["10.0.0.0/8"], ["10.9.0.0/16"])
        assert made.refuses("request", (host, 4711), f"{host}:4711", None) == reason

    def test_by_an_address_of_ipv6(self) -> None:
        """Addresses of four parts are read by their first."""
        made = gate(["::1"])
        assert made.refuses("request", ("::1", 4711, 0, 0), "[::1]:4711", None) is None
        assert made.refuses("request", ("::2", 4711, 0, 0), "[::2]:4711", None) == "not-allowed"

    def test_credentials_do_not_matter(self) -> None:
        """An entry for Unix users does not match somebody from the network."""
        assert gate(["uid:1000"]).refuses("request", ("10.0.0.1", 1), "c", ALICE) == "not-allowed"


class TestUnix:
    """Clients of Unix sockets are known by their credentials."""

    @pytest.mark.parametrize(
        ("peer", "reason"),
        [
            (ALICE, None),
            (Credentials(1001, 100), "deny"),
            (Credentials(1002, 100), "not-allowed"),
            (None, "unreadable-address"),
        ],
    )
    def test_by_the_peer(self, peer: Credentials | None, reason: str | None) -> None:
        """The lists decide by who it is; the address, which is empty, does not matter."""
        made = gate(["gid:27"], ["uid:1001"], of_unix=True)
        assert made.refuses("request", "", "unix", peer) == reason
        assert made.refuses("request", None, "unix", peer) == reason


class TestFilter:
    """The user's function is the last to be asked."""

    def test_after_the_lists(self) -> None:
        """It is asked about those whom the lists admit, with what ``socketserver`` passes."""
        asked = Filter()
        made = gate(["10.0.0.0/8"], request_filter=asked)
        assert made.refuses("request", ("10.0.0.1", 1), "10.0.0.1:1", None) is None
        assert asked.asked == [("request", ("10.0.0.1", 1))]

    def test_not_about_the_refused(self) -> None:
        """Whom the lists refuse costs no call."""
        asked = Filter()
        made = gate(["10.0.0.0/8"], request_filter=asked)
        assert made.refuses("request", ("192.0.2.1", 1), "192.0.2.1:1", None) == "not-allowed"
        assert asked.asked == []

    def test_its_own_reason(self) -> None:
        """What it refuses has another reason than the lists'."""
        assert (
            gate(request_filter=Filter(False)).refuses("r", ("10.0.0.1", 1), "10.0.0.1:1", None)
            == "verify_request"
        )

    def test_alone(self) -> None:
        """Without lists it is asked about everybody, also about nameless Unix peers."""
        asked = Filter()
        assert gate(request_filter=asked, of_unix=True).refuses("r", "", "unix", None) is None
        assert asked.asked == [("r", "")]

    def test_that_raises(self) -> None:
        """The gate raises nothing; the report names the client as people know it."""
        asked = Filter()
        asked.filter = RequestFilter(lambda *_: 1 / 0, 5.0, HandReactor(), asked._report)
        reason = gate(request_filter=asked).refuses("r", ("10.0.0.1", 1), "10.0.0.1:1", None)
        assert reason == "verify_request raised"
        assert asked.reported == ["10.0.0.1:1"]


class Shown:
    """A certificate that is for some names."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def is_for(self, name: str) -> bool:
        return name in self._names


class TestCertificates:
    """Clients that show one."""

    @pytest.mark.parametrize("of_unix", [False, True])
    def test_after_the_handshake(self, of_unix: bool) -> None:
        """A certificate counts for its own client, and not for the next from the same address."""
        made = gate(["certificate:a"], ["certificate:b"], of_unix=of_unix)
        client = ("request", ("10.0.0.1", 4711), "client", ALICE)
        for _ in range(2):
            assert made.refuses(*client, Shown("a")) is None
            assert made.refuses(*client, Shown("a", "b")) == "deny"
            assert made.refuses(*client, Shown()) == "not-allowed"
            assert made.refuses(*client) == "not-allowed"

    @pytest.mark.parametrize("of_unix", [False, True])
    def test_before_the_handshake(self, of_unix: bool) -> None:
        """It is not held against anybody that he has not shown it yet, and no filter is asked."""
        asked = Filter()
        for allow, early in ((["certificate:a"], None), (["192.0.2.1", "uid:0"], "not-allowed")):
            made = gate(allow, [], asked, of_unix=of_unix)
            assert made.refuses_early(("10.0.0.1", 4711), ALICE) == early
        assert asked.asked == []

    def test_open(self) -> None:
        """Without lists there is no question, not even about an address."""
        assert gate().refuses_early(("nonsense", 0), None) is None
        assert gate(request_filter=Filter()).refuses_early(("nonsense", 0), None) is None


class TestProxied:
    """The address is the real client's, of whatever family."""

    @pytest.mark.parametrize("of_unix", [False, True])
    @pytest.mark.parametrize(
        ("address", "reason"),
        [(("10.0.0.1", 1), None), (("::1", 1, 0, 0), "not-allowed"), ("/run/client", None)],
    )
    def test_the_address_says_of_which_family(
        self, of_unix: bool, address: Any, reason: str | None
    ) -> None:
        lists = AccessLists.of(Access(allow=("10.0.0.0/8", "unix")))
        asked = Gate(lists, None, of_unix=of_unix, is_proxied=True)
        assert asked.refuses(None, address, "client", None) == reason
        assert asked.by(lists).refuses(None, address, "client", None) == reason
