"""``netd.ctl.inetd.addresses``: every form of an element in xinetd.conf(5), and what is none."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.admission.entries import canonical
from netd.ctl.inetd.addresses import by_zeros, elements, has_every_ipv4, is_network, shown

ADDRESSES = st.ip_addresses(v=4).map(str)


class TestElements:
    @pytest.mark.parametrize(
        ("text", "networks"),
        [
            ("192.168.1.7", ["192.168.1.7/32"]),
            ("128.138.12.0", ["128.138.12.0/24"]),
            ("128.138.0.0", ["128.138.0.0/16"]),
            ("128.0.0.0", ["128.0.0.0/8"]),
            ("0.0.0.0", ["0.0.0.0/0"]),
            ("10.0.5.0", ["10.0.5.0/24"]),
            ("10.0.0.1", ["10.0.0.1/32"]),
            ("128.138.{12,13}", ["128.138.12.0/24", "128.138.13.0/24"]),
            ("128.138.209.{0,10}", ["128.138.209.0/32", "128.138.209.10/32"]),
            ("128.{138}", ["128.138.0.0/16"]),
            ("{10,11}", ["10.0.0.0/8", "11.0.0.0/8"]),
            ("1.2.3.4/32", ["1.2.3.4/32"]),
            ("1.2.3.4/24", ["1.2.3.0/24"]),
            ("10.0.0.0/16", ["10.0.0.0/16"]),
            ("1234::/46", ["1234::/46"]),
            ("1234:5678:9abc::1/32", ["1234:5678::/32"]),
            ("::1", ["::1/128"]),
            ("::", ["::/128"]),
            ("::1/128", ["::1/128"]),
            ("::/0", ["::/0"]),
            ("fe80::1%eth0", ["fe80::1/128"]),
        ],
    )
    def test_numbers_are_networks(self, text: str, networks: list[str]) -> None:
        """Zeros at the right are wildcards of IPv4 addresses without a prefix length, only."""
        assert list(elements(text)) == networks
        assert all(map(is_network, networks))

    @pytest.mark.parametrize("name", ["localhost", "a-b.example.com", ".example.com", "loopback"])
    def test_names_stay_names(self, name: str) -> None:
        """Of hosts, domains and networks(5): which of them is not decided by how they look."""
        assert elements(name) == (name,)
        assert not is_network(name)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("128.138.12", "128.138.12 is no IPv4 address: write four numbers"),
            ("10", "10 is no IPv4 address: write four numbers"),
            ("010.0.0.1", "010.0.0.1 is no IPv4 address: write four numbers"),
            ("1.2.3.256", "1.2.3.256 is no IPv4 address"),
            ("256.0.0.0", "256.0.0.0 is no IPv4 address"),
            ("1.2.3.4.5", "1.2.3.4.5 is no IPv4 address: write four numbers"),
            ("host.0x1", "host.0x1 is no IPv4 address: write four numbers"),
            ("1.2.3.4/33", "1.2.3.4 with /33 is no network"),
            ("10/8", "10/8 is no network: write four numbers before the slash"),
            ("10.0.0.0/255.0.0.0", "write the length of its prefix after the slash"),
            ("host/24", "host/24 is no network: write four numbers before the slash"),
            ("::1/129", "::1 with /129 is no network"),
            ("::g", "::g is no IPv6 address"),
            ("128.138.{12,13", "is no factorised address, which is like 128.138.{12,13}"),
            ("128.138.{12,}", "is no factorised address"),
            ("128.138.{}", "is no factorised address"),
            ("128.13{8,9}", "is no factorised address"),
            ("1.2.3.4.{5}", "is no factorised address"),
            ("128.{300}", "300.0.0 (of 128.{300}) is no IPv4 address"),
            ("1.2.3.4,5.6.7.8", "1.2.3.4,5.6.7.8 has a comma: blanks part the elements"),
            ("a_b!", "a_b! is no address, network or name"),
        ],
    )
    def test_anything_else_is_refused(self, text: str, said: str) -> None:
        """In one line that says what would be right."""
        with pytest.raises(ValueError, match=r".") as caught:
            elements(text)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    @given(ADDRESSES, ADDRESSES)
    def test_an_address_without_a_length_matches_what_xinetd_matches(
        self, written: str, client: str
    ) -> None:
        """Byte by byte from the right: as long as they are zero, any will do."""
        (network,) = elements(written)
        wanted = written.split(".")
        while wanted and wanted[-1] == "0":
            wanted.pop()
        matches = client.split(".")[: len(wanted)] == wanted
        assert (ipaddress.ip_address(client) in ipaddress.ip_network(network)) == matches

    @given(st.text())
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        """And what is read is never empty."""
        with suppress(ValueError):
            assert elements(text)


class TestShown:
    @given(ADDRESSES | st.ip_addresses(v=6).map(str))
    def test_what_is_written_for_netd_is_read_as_the_same(self, address: str) -> None:
        """An entry of ``allow`` without host bits, so that netd takes it."""
        for network in elements(address):
            (read,) = canonical(shown(network))
            assert canonical(read) == canonical(network)


class TestByZeros:
    def test_refuses_what_is_no_address(self) -> None:
        """As a line in networks(5) may have it."""
        with pytest.raises(ValueError, match="is no IPv4 address"):
            by_zeros("127")


class TestEveryIpv4:
    @pytest.mark.parametrize(
        ("network", "has"),
        [("::/0", True), ("::/80", True), ("::ffff:0:0/96", True), ("::/96", False),
         ("2000::/3", False), ("0.0.0.0/0", False)],
    )  # fmt: skip
    def test_is_in_what_holds_the_mapped_addresses(self, network: str, has: bool) -> None:
        """An IPv6 socket names IPv4 clients ::ffff:a.b.c.d."""
        assert has_every_ipv4(network) is has
