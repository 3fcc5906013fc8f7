"""``netd.admission.explain``: which entry decides, for every kind of client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.admission.explain import Described, Explained, explained
from netd.admission.lists import AccessLists, Refusal
from netd.model.service import Access

ENTRIES = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "::1", "unix", "uid:0", "gid:0", "uid:12345")
CLIENTS = ("10.1.2.3", "10.9.9.9", "192.0.2.1", "::1", "unix", "uid:0", "gid:0", "uid:12345")


def of(access: Access, *words: str) -> Explained:
    return explained(access, Described.by(words))


class TestEntry:
    def test_deny_goes_before_allow(self) -> None:
        """The first entry of it that matches."""
        access = Access(allow=("10.1.2.3",), deny=("192.0.2.1", "10.1.0.0/16", "10.1.2.3"))
        assert of(access, "10.1.2.3") == Explained(Refusal.DENY, "deny", "10.1.0.0/16")

    def test_allow(self) -> None:
        access = Access(allow=("10.1.0.0/16",))
        assert of(access, "10.1.2.3") == Explained(None, "allow", "10.1.0.0/16")
        assert of(access, "10.2.2.3") == Explained(Refusal.NOT_ALLOWED, "allow")

    def test_no_allow(self) -> None:
        """Whom no entry refuses comes in."""
        assert of(Access(deny=("10.0.0.0/8",)), "192.0.2.1") == Explained(None)
        assert of(Access(), "192.0.2.1") == Explained(None)

    def test_an_empty_allow(self) -> None:
        assert of(Access(allow=()), "192.0.2.1") == Explained(Refusal.NOT_ALLOWED, "allow")

    def test_users_have_groups(self) -> None:
        """By the databases of the system: root has the group 0."""
        assert of(Access(allow=("gid:0",)), "user:root") == Explained(None, "allow", "gid:0")
        assert of(Access(allow=("gid:0",)), "uid:4000000000").refusal is Refusal.NOT_ALLOWED

    def test_somebody_by_a_unix_socket(self) -> None:
        """Where an entry asks for it, he has to be somebody."""
        assert of(Access(allow=("unix",)), "unix") == Explained(None, "allow", "unix")
        assert of(Access(deny=("uid:0",)), "unix") == Explained(Refusal.UNREADABLE_ADDRESS)

    def test_certificates(self) -> None:
        """They may admit, and refuse."""
        access = Access(allow=("certificate:client.example",), deny=("certificate:bad.example",))
        assert of(access, "192.0.2.1").refusal is Refusal.NOT_ALLOWED
        good = of(access, "192.0.2.1", "certificate:client.example")
        assert good == Explained(None, "allow", "certificate:client.example")
        bad = of(access, "uid:0", "certificate:bad.example")
        assert bad == Explained(Refusal.DENY, "deny", "certificate:bad.example")

    @given(
        st.none() | st.lists(st.sampled_from(ENTRIES)),
        st.lists(st.sampled_from(ENTRIES)),
        st.sampled_from(CLIENTS),
    )
    def test_agrees_with_the_lists(
        self, allow: list[str] | None, deny: list[str], who: str
    ) -> None:
        """And names an entry that is there, wherever one decides."""
        access = Access(allow=None if allow is None else tuple(allow), deny=tuple(deny))
        client = Described.by([who])
        lists = AccessLists.of(access)
        expected = (
            lists.refuses_unix(client.peer)
            if client.host is None
            else lists.refuses_inet(client.host)
        )
        found = explained(access, client)
        assert found.refusal is expected
        if found.refusal is Refusal.DENY:
            assert found.entry in deny
        elif found.refusal is None and allow is not None:
            assert found.entry in allow


class TestDescribed:
    @pytest.mark.parametrize(
        "words",
        [
            ["10.0.0.0/8"],
            ["10.0.0.1", "10.0.0.2"],
            ["10.0.0.1", "unix"],
            ["certificate:client.example"],
            ["no such thing"],
            ["user:nobody-has-this-name"],
            [],
        ],
    )
    def test_no_client(self, words: list[str]) -> None:
        """A client has one address, or comes by a Unix socket."""
        with pytest.raises(ValueError, match=r"address|entry|user"):
            Described.by(words)

    def test_a_user_and_a_group(self) -> None:
        """What was said of him, and what the system knows."""
        client = Described.by(["uid:0", "gid:54321"])
        assert client.peer is not None
        assert client.peer.uid == 0
        assert {0, 54321} <= client.peer.groups
