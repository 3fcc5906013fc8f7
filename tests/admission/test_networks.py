"""Addresses and networks, held against the ``ipaddress`` module."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netd.admission.networks import NetworkSet, Unreadable, network, packed
from tests.properties import many

Host = ipaddress.IPv4Address | ipaddress.IPv6Address
Net = ipaddress.IPv4Network | ipaddress.IPv6Network


def truth(text: str) -> Host:
    """What ``ipaddress`` makes of a client's address; ValueError where that is nothing."""
    host = ipaddress.ip_address(text)
    if isinstance(host, ipaddress.IPv6Address):
        return host.ipv4_mapped or ipaddress.IPv6Address(int(host))
    return host


@st.composite
def nets(draw: st.DrawFn) -> Net:
    """A network of either family, of any length; few bits are set, so that networks nest."""
    bits = draw(st.sampled_from([32, 128]))
    length = draw(st.integers(0, bits))
    numbers = st.integers(0, 2**bits - 1) | st.integers(0, 15).map(lambda n: n << 28)
    number = draw(numbers)
    masked = number % 2**bits >> (bits - length) << (bits - length)
    kind = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    return kind((masked, length))


@st.composite
def clients(draw: st.DrawFn, rules: list[Net]) -> str:
    """A client's address, as often as not near one of the rules, in any spelling of it."""
    if draw(st.booleans()) and rules:
        near = draw(st.sampled_from(rules))
        edges = [int(near[0]), int(near[0]) - 1, int(near[-1]), int(near[-1]) + 1]
        version, number = near.version, draw(st.sampled_from(edges)) % 2**near.max_prefixlen
    else:
        version = draw(st.sampled_from([4, 6]))
        number = draw(st.integers(0, 2 ** (32 if version == 4 else 128) - 1))
    if version == 6:
        host = ipaddress.IPv6Address(number)
        text = draw(st.sampled_from([str(host), host.exploded, str(host).upper()]))
        return text + draw(st.sampled_from(["", "%eth0", "%1"]))
    host4 = ipaddress.IPv4Address(number)
    hexadecimal = str(ipaddress.IPv6Address(0xFFFF << 32 | number))
    mapped = [f"::ffff:{host4}", f"0:0:0:0:0:FFFF:{host4}", hexadecimal, f"::ffff:{host4}%eth0"]
    return draw(st.sampled_from([str(host4), *mapped]))


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[Net], list[str]]:
    """A set of rules, and clients to ask it about."""
    rules = draw(st.lists(nets(), max_size=8))
    return rules, draw(st.lists(clients(rules), min_size=1, max_size=20))


class TestPacked:
    """Reading a client's address."""

    @given(st.text("0123456789abfF:.%/x ", max_size=24) | st.text(max_size=8))
    @example("::ffff:010.0.0.1")
    @example("10.0.0.1%eth0")
    @example("fe80::1%")
    @example("fe80::1%a%b")
    @example("fe80::1%a/b")
    @example("1:2:3:4:5:6:7::")
    @example("::\0")
    @example("")
    @settings(max_examples=many(500))
    def test_reads_what_ipaddress_reads(self, text: str) -> None:
        """Exactly the texts that ``ipaddress`` takes are read, all others are Unreadable."""
        try:
            expected = truth(text).packed
        except ValueError:
            with pytest.raises(Unreadable):
                packed(text)
        else:
            assert packed(text) == expected

    def test_mapped_is_ipv4(self) -> None:
        """A dual-stack listener's IPv4 clients are IPv4 clients."""
        assert packed("::ffff:10.0.0.1") == packed("10.0.0.1") == bytes([10, 0, 0, 1])

    def test_scope_is_left_out(self) -> None:
        """A link-local client is the same on every link."""
        assert packed("fe80::1%eth0") == packed("fe80::1")

    def test_lone_surrogate(self) -> None:
        """A text that UTF-8 has no form for is unreadable, not a UnicodeEncodeError."""
        with pytest.raises(Unreadable) as caught:
            packed("\ud800")
        assert type(caught.value) is Unreadable


class TestNetwork:
    """Reading a rule's network."""

    @given(nets())
    def test_reads_cidr(self, net: Net) -> None:
        """Every network comes back as number and prefix length, v4-mapped ones as IPv4."""
        mapped = ipaddress.IPv6Address(int(net[0])).ipv4_mapped if net.version == 6 else None
        if mapped is None:
            assert network(str(net)) == (net[0].packed, net.prefixlen)
        elif net.prefixlen >= 96:
            assert network(str(net)) == (mapped.packed, net.prefixlen - 96)

    @pytest.mark.parametrize(
        "length", ["", "33", "-1", "+8", "8 ", "255.0.0.0", "8/8", "٨", "9" * 5000]
    )
    def test_bad_prefix_length(self, length: str) -> None:
        """A prefix length that the family does not have is told with its bounds."""
        with pytest.raises(ValueError, match="a number from 0 to 32"):
            network(f"10.0.0.0/{length}")

    def test_mapped_needs_a_mapped_length(self) -> None:
        """``::ffff:10.0.0.0/8`` is meant for IPv4, but says most of IPv6: neither is guessed."""
        with pytest.raises(ValueError, match="v4-mapped network is 96 to 128"):
            network("::ffff:10.0.0.0/8")

    def test_no_scope_id(self) -> None:
        """A scope id is not dropped from a rule in silence."""
        with pytest.raises(Unreadable):
            network("fe80::1%eth0")


class TestNetworkSet:
    """Looking an address up."""

    @given(questions())
    @settings(max_examples=many(500), deadline=None)
    def test_agrees_with_ipaddress(self, question: tuple[list[Net], list[str]]) -> None:
        """Any client is in any set of networks exactly when ``ipaddress`` says so."""
        rules, hosts = question
        # A mapped range written as IPv6 is for TestNetwork: here it would only be an error.
        rules = [net for net in rules if truth(str(net[0])).version == net.version]
        chosen = NetworkSet(map(str, rules))
        for host in hosts:
            expected = any(truth(host) in net for net in rules)
            assert chosen.matches(host) is expected
            assert chosen.contains(packed(host)) is expected

    def test_empty_matches_nothing(self) -> None:
        """A set without networks has nobody in it."""
        assert not NetworkSet().matches("10.0.0.1")
        assert not NetworkSet().matches("::1")

    def test_everything_of_one_family(self) -> None:
        """``0.0.0.0/0`` is all of IPv4, mapped or not, and nothing of IPv6; the reverse too."""
        four, six = NetworkSet(["0.0.0.0/0"]), NetworkSet(["::/0"])
        assert four.matches("192.0.2.1")
        assert four.matches("::ffff:192.0.2.1")
        assert not four.matches("2001:db8::1")
        assert six.matches("2001:db8::1")
        assert not six.matches("::ffff:192.0.2.1")

    def test_mapped_rule(self) -> None:
        """A v4-mapped rule is its IPv4 form."""
        assert NetworkSet(["::ffff:10.0.0.0/104"]).matches("10.1.2.3")

    def test_unreadable_client(self) -> None:
        """What is no address is neither in nor out."""
        with pytest.raises(Unreadable, match="'localhost'"):
            NetworkSet(["10.0.0.0/8"]).matches("localhost")

    def test_unreadable_rule(self) -> None:
        """A set is not made from what is no network."""
        with pytest.raises(ValueError, match="certificate:x"):
            NetworkSet(["certificate:x"])
