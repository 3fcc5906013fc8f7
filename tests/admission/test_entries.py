"""Entries of ``allow`` and ``deny``, as operators write them and as netd reads them."""

from __future__ import annotations

import grp
import ipaddress
import pwd
import socket

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from netd.admission.entries import canonical, resolved


def refusal(entry: str) -> str:
    """What an operator is told about a bad entry."""
    with pytest.raises(ValueError, match=r".") as caught:
        canonical(entry)
    assert type(caught.value) is ValueError
    return str(caught.value)


class TestNetworks:
    """Addresses and networks."""

    @pytest.mark.parametrize(
        ("entry", "text"),
        [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::1", "::1"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::FFFF:0:0/96", "0.0.0.0/0"),
        ],
    )
    def test_canonical(self, entry: str, text: str) -> None:
        """Every spelling of a network has one canonical text."""
        assert canonical(entry) == (text,)

    @given(st.ip_addresses(), st.data())
    def test_like_ipaddress(
        self, host: ipaddress.IPv4Address | ipaddress.IPv6Address, data: st.DataObject
    ) -> None:
        """A network is taken where ``ipaddress`` takes it, else the one it would take is named."""
        assume(host.version == 4 or ipaddress.IPv6Address(int(host)).ipv4_mapped is None)
        length = data.draw(st.integers(0, host.max_prefixlen))
        loose = ipaddress.ip_network(f"{host}/{length}", strict=False)
        try:
            ipaddress.ip_network(f"{host}/{length}")
        except ValueError:
            assert "has host bits set" in refusal(f"{host}/{length}")
        else:
            (text,) = canonical(f"{host}/{length}")
            assert ipaddress.ip_network(text) == loose

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("10.0.0.1/8", 'write "10.0.0.0/8" or "10.0.0.1"'),
            ("2001:db8::1/32", 'write "2001:db8::/32" or "2001:db8::1"'),
            ("::ffff:10.0.0.1/104", 'write "10.0.0.0/8" or "10.0.0.1"'),
        ],
    )
    def test_host_bits(self, entry: str, problem: str) -> None:
        """Host bits are a slip of one or the other kind: both ways out are named."""
        assert refusal(entry) == f'"{entry}" has host bits set; {problem}'

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("10.0.0.0/33", "a number from 0 to 32"),
            ("10.0.0.0/255.0.0.0", "a number from 0 to 32"),
            ("::/129", "a number from 0 to 128"),
            ("::ffff:10.0.0.0/8", "write the IPv4 network"),
            ("fe80::1%eth0", 'write "fe80::1"'),
            ("fe80::%eth0/10", 'write "fe80::/10"'),
            ("[::1]", 'write "::1"'),
            ("::g", "is not an entry"),
        ],
    )
    def test_bad_network(self, entry: str, problem: str) -> None:
        """A bad network is named, with what would be right."""
        assert refusal(entry).startswith(f'"{entry}"')
        assert problem in refusal(entry)

    @pytest.mark.parametrize(
        "entry", ["10", "10.1", "010.0.0.1", "0x7f.1", "256.0.0.1", "1.2.3.4."]
    )
    def test_not_what_inet_aton_reads(self, entry: str) -> None:
        """The resolver would take these for quite another address than the one that was meant."""
        assert "is not an IPv4 address" in refusal(entry)


class TestHostNames:
    """Names that are looked up when the file is read."""

    def test_localhost(self) -> None:
        """A name stands for all its addresses, each once."""
        found = canonical("localhost")
        assert len(set(found)) == len(found)
        assert {"127.0.0.1", "::1"}.intersection(found)

    def test_unknown(self) -> None:
        """A name that has no address is a problem with the resolver's code and words."""
        problem = refusal("nosuch.invalid")
        assert problem.startswith('"nosuch.invalid": EAI_')
        assert "EAI_NONAME (-2) " in problem or "EAI_AGAIN (-3) " in problem

    def test_all_addresses_in_order(self) -> None:
        """However a resolver turns its answers, the entry reads the same."""
        hosts = ["2001:db8::2", "192.0.2.7", "::ffff:192.0.2.9", "192.0.2.7"]
        answer = [
            item
            for host in hosts
            for item in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        ]
        expected = ("192.0.2.7", "192.0.2.9", "2001:db8::2")
        assert resolved("example.org", answer) == expected
        assert resolved("example.org", answer[::-1]) == expected

    def test_address_on_one_link(self) -> None:
        """A name whose address is good on one link only is refused, as such an address is."""
        answer = socket.getaddrinfo("fe80::1%lo", None, type=socket.SOCK_STREAM)
        with pytest.raises(ValueError, match="fe80::1 on one link only"):
            resolved("printer.local", answer)

    def test_no_prefix_length(self) -> None:
        """A host is one host, not the network around it."""
        assert refusal("example.org/24").endswith('write "example.org"')

    @pytest.mark.parametrize(
        "entry", ["", " 10.0.0.1", "a..b", "*.example.org", "x" * 64, "cert:client.example"]
    )
    def test_nothing_we_know(self, entry: str) -> None:
        """What is no entry at all is answered with the forms there are."""
        assert refusal(entry).startswith(f'"{entry}" is not an entry; write an address')

    def test_one_line(self) -> None:
        """A problem is one line, whatever the entry has in it."""
        assert refusal("a\nb\0c").startswith(r'"a\nb\u0000c" is not an entry')


class TestPeers:
    """Entries for clients of Unix sockets."""

    @pytest.mark.parametrize("entry", ["unix", "uid:0", "uid:4294967294", "gid:100"])
    def test_canonical(self, entry: str) -> None:
        """These are canonical as they stand."""
        assert canonical(entry) == (entry,)

    def test_leading_zeros(self) -> None:
        """A number has one canonical text."""
        assert canonical("uid:007") == ("uid:7",)

    def test_names(self) -> None:
        """Users and groups are looked up in the system's databases."""
        user, group = pwd.getpwall()[-1], grp.getgrall()[-1]
        assert canonical(f"user:{user.pw_name}") == (f"uid:{user.pw_uid}",)
        assert canonical(f"group:{group.gr_name}") == (f"gid:{group.gr_gid}",)

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("uid:root", 'write "user:NAME"'),
            ("uid:-1", "from 0 to 4294967294"),
            ("uid:4294967295", "from 0 to 4294967294"),
            ("gid:", 'write "group:NAME"'),
            ("user:no-such-user", "no such user here"),
            ("user:0", 'write "uid:N"'),
            ("group:no-such-group", "no such group here"),
            ("group:", 'write "gid:N"'),
        ],
    )
    def test_bad_peer(self, entry: str, problem: str) -> None:
        """A bad user or group is named, with what would be right."""
        assert refusal(entry).startswith(f'"{entry}": ')
        assert problem in refusal(entry)

    def test_nul(self) -> None:
        """A NUL ends a name in C; here there is no such user."""
        assert "no such user here" in refusal("user:root\0x")
        assert "no such group here" in refusal("group:root\0x")


class TestCertificates:
    """Entries for names in the certificates of clients."""

    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            ("certificate:client.example", "certificate:client.example"),
            ("certificate:Client.EXAMPLE.", "certificate:client.example"),
            ("certificate:bücher.example", "certificate:xn--bcher-kva.example"),
            ("certificate:192.0.2.1", "certificate:192.0.2.1"),
            ("certificate:2001:DB8:0::1", "certificate:2001:db8::1"),
            ("certificate:spiffe://a.example/Web", "certificate:spiffe://a.example/Web"),
            ("certificate:sip:voice.example", "certificate:sip:voice.example"),
        ],
    )
    def test_canonical(self, entry: str, expected: str) -> None:
        """A host, an address, or a URI, each in its one form; no name is looked up."""
        assert canonical(entry) == (expected,)
        assert canonical(expected) == (expected,)

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("certificate:", "not a host name"),
            ("certificate:*.client.example", "names one client"),
            ("certificate:a b", "not a host name"),
            ("certificate:10.1", "never addresses"),
            ("certificate:CN=client", "not a host name"),
        ],
    )
    def test_bad_name(self, entry: str, problem: str) -> None:
        """What no certificate can be for is said."""
        assert refusal(entry).startswith(f'"{entry}": ')
        assert problem in refusal(entry)
