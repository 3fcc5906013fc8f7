"""The lists: who is admitted, who is refused, and the reason word."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netd.admission.lists import AccessLists
from netd.model.peer import Credentials
from netd.model.service import Access
from tests.properties import many

ALICE = Credentials(uid=1000, gid=1000, groups=frozenset({27, 100}))
INET = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "2001:db8::/32", "fe80::/10", "::/0"]
PEERS = ["unix", "uid:0", "uid:1", "gid:0", "gid:2", "gid:3"]
HOSTS = ["10.1.2.3", "10.9.9.9", "192.0.2.1", "2001:db8::1", "fe80::1%eth0", "::ffff:10.1.2.3", ""]


def lists(allow: Sequence[str] | None = None, deny: Sequence[str] = ()) -> AccessLists:
    """The lists of a service's ``access`` table."""
    return AccessLists.of(Access(None if allow is None else tuple(allow), tuple(deny)))


def entries(kinds: list[str]) -> st.SearchStrategy[list[str]]:
    """Some entries of one list."""
    return st.lists(st.sampled_from(kinds), max_size=4)


def verdict(denied: bool, allow: list[str] | None, allowed: bool) -> str | None:
    """The rule of the contract, word for word."""
    if denied:
        return "deny"
    return None if allow is None or allowed else "not-allowed"


def in_one(host: str, rules: list[str]) -> bool:
    """Whether ``ipaddress`` finds an address in one of the networks among some entries."""
    address = ipaddress.ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ipaddress.ip_network(rule) for rule in rules if rule in INET)


def is_one(peer: Credentials, rules: list[str]) -> bool:
    """Whether one of some entries names a Unix client."""
    names = {"unix", f"uid:{peer.uid}", f"gid:{peer.gid}", *(f"gid:{n}" for n in peer.groups)}
    return not names.isdisjoint(rules)


class TestInet:
    """Clients with an Internet address."""

    @given(st.none() | entries(INET + PEERS), entries(INET + PEERS), st.sampled_from(HOSTS))
    @settings(max_examples=many(500))
    def test_is_the_rule(self, allow: list[str] | None, deny: list[str], host: str) -> None:
        """For any lists and any address, the answer is what the contract says."""
        if not host:
            expected = "unreadable-address" if deny or allow is not None else None
        else:
            expected = verdict(in_one(host, deny), allow, in_one(host, allow or []))
        assert lists(allow, deny).refuses_inet(host) == expected

    def test_deny_wins(self) -> None:
        """A denied address is refused although it is allowed as well."""
        assert lists(["10.0.0.0/8"], ["10.0.0.1"]).refuses_inet("10.0.0.1") == "deny"

    def test_empty_allow(self) -> None:
        """``allow = []`` admits nobody."""
        assert lists([]).refuses_inet("127.0.0.1") == "not-allowed"

    def test_unix_entries_are_for_others(self) -> None:
        """``unix`` neither admits nor refuses an Internet client."""
        assert lists(["unix"]).refuses_inet("127.0.0.1") == "not-allowed"
        assert lists(None, ["unix", "uid:0"]).refuses_inet("127.0.0.1") is None

    @pytest.mark.parametrize("host", ["", "localhost", "10.0.0", "10.0.0.1%eth0"])
    def test_unreadable(self, host: str) -> None:
        """What cannot be read is refused, also where all addresses are allowed."""
        assert lists(["0.0.0.0/0", "::/0"]).refuses_inet(host) == "unreadable-address"

    def test_reason_is_a_word(self) -> None:
        """The reason goes to logs and metrics as it is."""
        assert f"{lists([]).refuses_inet('::1')}" == "not-allowed"


class TestUnix:
    """Clients of Unix sockets."""

    @given(
        st.none() | entries(PEERS + INET),
        entries(PEERS + INET),
        st.builds(
            Credentials,
            st.integers(0, 2),
            st.integers(0, 3),
            st.frozensets(st.integers(0, 3), max_size=2),
        ),
    )
    @settings(max_examples=many(500))
    def test_is_the_rule(self, allow: list[str] | None, deny: list[str], peer: Credentials) -> None:
        """For any lists and any peer, the answer is what the contract says."""
        expected = verdict(is_one(peer, deny), allow, is_one(peer, allow or []))
        assert lists(allow, deny).refuses_unix(peer) == expected

    def test_groups(self) -> None:
        """A group is the primary one or one of the supplementary ones."""
        assert lists(["gid:1000"]).refuses_unix(ALICE) is None
        assert lists(["gid:27"]).refuses_unix(ALICE) is None
        assert lists(["gid:0"]).refuses_unix(ALICE) == "not-allowed"

    def test_addresses_are_for_others(self) -> None:
        """Networks neither admit nor refuse a Unix client."""
        assert lists(["0.0.0.0/0", "::/0"]).refuses_unix(ALICE) == "not-allowed"
        assert lists(None, ["0.0.0.0/0", "::/0"]).refuses_unix(ALICE) is None

    @pytest.mark.parametrize("rule", ["uid:1000", "gid:27"])
    def test_unknown_is_refused_by_rules_for_peers(self, rule: str) -> None:
        """Where a rule asks who it is, a client that nobody knows is refused."""
        assert lists([rule, "unix"]).refuses_unix(None) == "unreadable-address"
        assert lists(None, [rule]).refuses_unix(None) == "unreadable-address"

    def test_unknown_and_nothing_asks(self) -> None:
        """Where no rule asks who it is, a client that nobody knows is any client."""
        assert lists(["unix"]).refuses_unix(None) is None
        assert lists(None, ["unix"]).refuses_unix(None) == "deny"
        assert lists([]).refuses_unix(None) == "not-allowed"
        assert lists().refuses_unix(None) is None


class Shown:
    """A certificate that is for some names."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def is_for(self, name: str) -> bool:
        return name in self._names


NAMES = ["certificate:a", "certificate:b"]
SHOWN = st.none() | st.sampled_from([Shown(), Shown("a"), Shown("a", "b")])


def has_name(shown: Shown | None, rules: list[str]) -> bool:
    """Whether one of some entries names a certificate."""
    return shown is not None and any(
        shown.is_for(rule.removeprefix("certificate:")) for rule in rules
    )


class TestCertificates:
    """Clients that have shown a certificate, and the question before they could."""

    @given(
        st.none() | entries(["10.0.0.0/8", "unix", "uid:0", *NAMES]),
        entries(["10.0.0.0/8", "unix", "uid:0", *NAMES]),
        SHOWN,
    )
    def test_is_the_rule(self, allow: list[str] | None, deny: list[str], shown: Any) -> None:
        """A name is one more way to be matched, whatever the client comes by."""
        rules = lists(allow, deny)
        for host in ("10.0.0.1", "192.0.2.1"):
            denied = in_one(host, deny) or has_name(shown, deny)
            allowed = in_one(host, allow or []) or has_name(shown, allow or [])
            assert rules.refuses_inet(host, shown) == verdict(denied, allow, allowed)
        denied = is_one(ALICE, deny) or has_name(shown, deny)
        allowed = is_one(ALICE, allow or []) or has_name(shown, allow or [])
        assert rules.refuses_unix(ALICE, shown) == verdict(denied, allow, allowed)

    @given(
        st.none() | entries(["10.0.0.0/8", "unix", "uid:0", *NAMES]),
        entries(["10.0.0.0/8", "unix", "uid:0", *NAMES]),
    )
    def test_nobody_is_refused_too_early(self, allow: list[str] | None, deny: list[str]) -> None:
        """Before the handshake, those are refused whom no certificate could let in, and no more."""
        rules = lists(allow, deny)
        possible = [Shown(), Shown("a"), Shown("b"), Shown("a", "b"), None]
        for host in ("10.0.0.1", "192.0.2.1"):
            hopeless = all(rules.refuses_inet(host, shown) for shown in possible)
            early = rules.refuses_early_inet(host)
            # Somebody may also have nothing but certificates that are denied; he is told later.
            assert hopeless or early is None
            assert early in (None, rules.refuses_inet(host))
        hopeless = all(rules.refuses_unix(ALICE, shown) for shown in possible)
        assert hopeless or rules.refuses_early_unix(ALICE) is None

    @pytest.mark.parametrize(
        ("allow", "deny", "early"),
        [
            (None, ["10.0.0.0/8"], "deny"),
            (["certificate:a"], ["10.0.0.0/8"], "deny"),
            (["192.0.2.1"], [], "not-allowed"),
            (["192.0.2.1", "certificate:a"], [], None),
            (["10.0.0.1"], ["certificate:a"], None),
            ([], ["certificate:a"], "not-allowed"),
        ],
    )
    def test_before_the_handshake(
        self, allow: list[str] | None, deny: list[str], early: str | None
    ) -> None:
        """By a denied address; by an allow list that has neither the address nor certificates."""
        assert lists(allow, deny).refuses_early_inet("10.0.0.1") == early

    def test_unreadable_stays_so(self) -> None:
        """Nothing helps an address that cannot be read, or credentials that nobody knows."""
        rules = lists(["certificate:a", "uid:1"])
        assert rules.refuses_early_inet("") == "unreadable-address"
        assert rules.refuses_inet("", Shown("a")) == "unreadable-address"
        assert rules.refuses_early_unix(None) == "unreadable-address"
        assert rules.refuses_unix(None, Shown("a")) == "unreadable-address"


class TestOf:
    """What is known of the lists before any client comes."""

    def test_open(self) -> None:
        """Without lists there is nothing to decide, not even about an address."""
        assert lists().is_open
        assert lists().refuses_inet("unreadable") is None
        assert not lists([]).is_open
        assert not lists(None, ["unix"]).is_open

    def test_needs_credentials(self) -> None:
        """Credentials are asked for only where an entry of either list does."""
        assert lists(["uid:1"]).needs_credentials
        assert lists(None, ["gid:1"]).needs_credentials
        assert not lists(["unix", "::1"], ["10.0.0.1"]).needs_credentials

    def test_needs_certificate(self) -> None:
        """The same for certificates."""
        assert lists(["certificate:a"]).needs_certificate
        assert lists(None, ["certificate:a"]).needs_certificate
        assert not lists(["unix", "::1"], ["10.0.0.1"]).needs_certificate

    @pytest.mark.parametrize("entry", ["cert:x", "user:root", "uid:x", "10.0.0.0/99", ""])
    def test_canonical_only(self, entry: str) -> None:
        """An entry that is not canonical never becomes a rule that matches nobody."""
        with pytest.raises(ValueError, match=r"."):
            lists([entry])
