"""``netd.ctl.inetd.listening``: descriptions that netd reads as they were meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.ctl.inetd.listening import BOTH, Families, family_of, inet, is_every, names, unix
from netd.listening.description import parse
from netd.model.address import InetAddress, Transport, UnixAddress

PATHS = st.text(st.characters(exclude_characters="\0@", exclude_categories=["Cs"]), min_size=1)


class TestInet:
    @pytest.mark.parametrize(
        ("families", "hosts", "expected"),
        [
            (BOTH, [], ["tcp:80", "tcp6:80"]),
            ((4,), [], ["tcp:80"]),
            ((6,), [], ["tcp6:80"]),
            (BOTH, ["127.0.0.1"], ["tcp:80:interface=127.0.0.1"]),
            (BOTH, ["::1"], ["tcp6:80:interface=[::1]"]),
            (BOTH, ["127.0.0.1", "::1"], ["tcp:80:interface=127.0.0.1", "tcp6:80:interface=[::1]"]),
            (BOTH, ["gate.example"], ["tcp:80:interface=gate.example"]),
            ((6,), ["gate.example"], ["tcp6:80:interface=gate.example"]),
            ((4,), ["::1"], []),
            ((6,), ["127.0.0.1"], []),
        ],
    )
    def test_an_address_is_listened_on_by_its_family(
        self, families: Families, hosts: list[str], expected: list[str]
    ) -> None:
        """And never by another one, or on more than was asked for."""
        assert list(inet("tcp", 80, families, hosts)) == expected

    @given(st.ip_addresses().map(str), st.sampled_from(["tcp", "udp"]))
    def test_netd_reads_the_same_address(self, host: str, transport: str) -> None:
        """Whatever form an address has."""
        (description,) = inet("tcp" if transport == "tcp" else "udp", 80, BOTH, [host])
        word = transport if family_of(host) == 4 else f"{transport}6"
        assert parse(description) == InetAddress(Transport(word), 80, host)


class TestUnix:
    @given(PATHS, st.sampled_from(["stream", "dgram"]))
    def test_netd_reads_the_same_path(self, path: str, kind: str) -> None:
        """With every character that means something in a description."""
        transport = Transport.UNIX if kind == "stream" else Transport.UNIXGRAM
        assert parse(unix(kind, path)) == UnixAddress(transport, path, mode=0o666)


class TestHosts:
    def test_every_address_of_a_family_has_two_names(self) -> None:
        """They are addresses like others to look at."""
        assert is_every("0.0.0.0")
        assert is_every("::")
        assert not is_every("127.0.0.1")
        assert not is_every("gate.example")

    def test_what_is_no_address_is_a_name(self) -> None:
        """In the order they stand in."""
        assert names(["b.example", "::1", "a.example", "1.2.3.4"]) == ["b.example", "a.example"]
