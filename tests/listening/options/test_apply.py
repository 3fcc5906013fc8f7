"""``netd.listening.options.apply``: set on real sockets, changed, and taken back."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netd.listening.options import apply as options
from netd.listening.options.apply import CannotSet, apply, change, read, try_out
from netd.model.address import Transport
from netd.model.socket_options import SetOption, fitting

LO = socket.if_nametoindex("lo")


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def keepalive(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def groups() -> str:
    return Path("/proc/net/igmp").read_text()


def changed(sock: socket.socket, old: list[SetOption], new: list[SetOption]) -> list[SetOption]:
    """Change for good."""
    with ExitStack() as undo:
        found = change(sock, tuple(old), tuple(new), undo.callback)
        undo.pop_all()
    return list(found)


class TestApply:
    def test_says_which(self, udp: socket.socket) -> None:
        """And why, in the system's words."""
        with pytest.raises(CannotSet, match=r"^\[Errno 92\] TCP_NODELAY: Protocol not") as caught:
            apply(udp, [read("TCP_NODELAY", True)])
        assert (caught.value.option, caught.value.errno) == ("TCP_NODELAY", errno.ENOPROTOOPT)

    def test_a_group_twice(self, udp: socket.socket) -> None:
        """Who is in it already stays in it."""
        join = read("IP_ADD_MEMBERSHIP", "239.8.8.1@lo")
        apply(udp, [join, join])
        assert "010808EF" in groups()

    def test_a_group_that_nobody_is_in(self, udp: socket.socket) -> None:
        """There is nothing to leave."""
        apply(udp, [read("IP_DROP_MEMBERSHIP", "239.8.8.2@lo")])


class TestChange:
    def test_of_a_value(self, tcp: socket.socket) -> None:
        """The new one; the old one again, if it is taken back."""
        on, off = read("SO_KEEPALIVE", True), read("SO_KEEPALIVE", False)
        with ExitStack() as undo:
            assert change(tcp, (off,), (on,), undo.callback) == (on,)
            assert keepalive(tcp) == 1
        assert keepalive(tcp) == 0

    def test_of_nothing(self, tcp: socket.socket) -> None:
        """What a handler has changed since is its own."""
        on = read("SO_KEEPALIVE", True)
        assert changed(tcp, [on], [on]) == [on]
        assert keepalive(tcp) == 0

    def test_taken_out(self, tcp: socket.socket) -> None:
        """As a new socket has it; and what was there, if that is taken back."""
        set_before = [read("SO_KEEPALIVE", True), read("TCP_CONGESTION", "reno")]
        apply(tcp, set_before)
        with socket.socket() as fresh:
            usual = fresh.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        with ExitStack() as undo:
            assert change(tcp, tuple(set_before), (), undo.callback) == ()
            assert keepalive(tcp) == 0
            assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16) == usual
        assert keepalive(tcp) == 1
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 5) == b"reno\0"

    def test_a_buffer(self, udp: socket.socket) -> None:
        """The kernel tells twice what it was told."""
        small, large = read("SO_RCVBUF", "16KiB"), read("SO_RCVBUF", "32KiB")
        apply(udp, [small])
        with ExitStack() as undo:
            change(udp, (small,), (large,), undo.callback)
            assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 64 << 10
        assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 32 << 10

    def test_before_bind(self) -> None:
        """It is too late: what the socket has is what it has."""
        both, only = read("IPV6_V6ONLY", False), read("IPV6_V6ONLY", True)
        with socket.socket(socket.AF_INET6) as sock:
            apply(sock, [both])
            sock.bind(("::", 0))
            assert changed(sock, [both], [only]) == [both]
            assert changed(sock, [both], []) == [both]
            assert changed(sock, [], [only]) == []
            assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0

    def test_groups(self, udp: socket.socket) -> None:
        """One is left, one stays, one is joined; and all is as it was when that is taken back."""
        old = read("IP_ADD_MEMBERSHIP", ["239.8.8.3@lo", "239.8.8.4@lo"])
        new = read("IP_ADD_MEMBERSHIP", ["239.8.8.4@lo", "239.8.8.5@lo"])
        apply(udp, [old])

        def joined() -> list[bool]:
            text = groups()
            return [f"0{number}0808EF" in text for number in (3, 4, 5)]

        with ExitStack() as undo:
            assert change(udp, (old,), (new,), undo.callback) == (new,)
            assert joined() == [False, True, True]
        assert joined() == [True, True, False]
        assert changed(udp, [old], []) == []
        assert joined() == [False, False, False]

    def test_what_cannot_be_set(self, tcp: socket.socket) -> None:
        """All before it is taken back by who asked."""
        on, wrong = read("SO_KEEPALIVE", True), read("TCP_CONGESTION", "none-such")
        with ExitStack() as undo, pytest.raises(CannotSet, match="TCP_CONGESTION"):
            change(tcp, (), (on, wrong), undo.callback)
        assert keepalive(tcp) == 0


class TestTryOut:
    def test_what_the_system_does_not_take(self) -> None:
        wanted = [read("TCP_CONGESTION", "none-such"), read("TCP_NODELAY", True)]
        found = try_out(Transport.TCP, wanted)
        assert {name: error.errno for name, error in found.items()} == {
            "TCP_CONGESTION": errno.ENOENT
        }

    def test_joins_no_group(self) -> None:
        """Others on the network would see it; but an interface that is not there is found."""
        wanted = read("IP_ADD_MEMBERSHIP", ["239.8.8.6@lo"])
        assert try_out(Transport.UDP, [wanted]) == {}
        elsewhere = read("IP_ADD_MEMBERSHIP", "239.8.8.6@192.0.2.77")
        assert list(try_out(Transport.UDP, [elsewhere])) == ["IP_ADD_MEMBERSHIP"]
        leave = read("IP_DROP_MEMBERSHIP", "239.8.8.6@lo")
        join = read("IPV6_JOIN_GROUP", "ff02::8:6@lo")
        assert try_out(Transport.UDP6, fitting([leave, join], Transport.UDP6)) == {}

    def test_both_families(self) -> None:
        """An option of IPv4 is tried as it will be set."""
        wanted = [read("IPV6_V6ONLY", False), read("IP_TTL", 9)]
        assert try_out(Transport.UDP6, wanted) == {}


class TestValues:
    @pytest.mark.parametrize(
        ("name", "value", "packed"),
        [
            ("SO_KEEPALIVE", True, 1),
            ("SO_KEEPALIVE", False, 0),
            ("TCP_KEEPIDLE", 60, 60),
            ("SO_MARK", 2**32 - 1, -1),
            ("SO_RCVBUF", "64KiB", 65536),
            ("SO_RCVTIMEO", 2, struct.pack("ll", 2, 0)),
            ("SO_RCVTIMEO", "250ms", struct.pack("ll", 0, 250_000)),
            ("SO_RCVTIMEO", 0.9999999, struct.pack("ll", 1, 0)),
            ("SO_LINGER", False, struct.pack("ii", 0, 0)),
            ("SO_LINGER", 0, struct.pack("ii", 1, 0)),
            ("SO_LINGER", "2m", struct.pack("ii", 1, 120)),
            ("SO_BINDTODEVICE", "lo", b"lo"),
            ("SO_BINDTOIFINDEX", "lo", LO),
            ("TCP_CONGESTION", "cubic", b"cubic"),
            ("IP_OPTIONS", "hex:01:01 0100", b"\1\1\1\0"),
            ("IP_MTU_DISCOVER", "do", 2),
            ("IP_UNICAST_IF", "lo", struct.pack("!I", LO)),
            ("IP_MULTICAST_IF", "lo", bytes(8) + struct.pack("i", LO)),
            ("IP_MULTICAST_IF", "127.0.0.1", bytes(4) + b"\x7f\0\0\1" + bytes(4)),
            ("IP_ADD_MEMBERSHIP", "239.1.2.3", b"\xef\1\2\3" + bytes(8)),
            ("IP_ADD_MEMBERSHIP", "239.1.2.3@127.0.0.1", b"\xef\1\2\3\x7f\0\0\1" + bytes(4)),
            ("IP_ADD_MEMBERSHIP", ["239.1.2.3@lo"], b"\xef\1\2\3" + struct.pack("4xi", LO)),
            ("IPV6_JOIN_GROUP", "ff02::1@lo", b"\xff\2" + bytes(13) + b"\1" + struct.pack("I", LO)),
            ("IPV6_PKTINFO", "::1@lo", bytes(15) + b"\1" + struct.pack("I", LO)),
            ("IPV6_PKTINFO", "@lo", bytes(16) + struct.pack("I", LO)),
            ("IP_ADD_SOURCE_MEMBERSHIP", "232.1.2.3/10.0.0.1@127.0.0.1",
             b"\xe8\1\2\3\x7f\0\0\1\x0a\0\0\1"),
        ],
    )  # fmt: skip
    def test_packed(self, name: str, value: object, packed: object) -> None:
        """As setsockopt(2) takes it."""
        assert read(name, value).values == (packed,)

    def test_a_group_is_joined_once(self) -> None:
        assert len(read("IP_ADD_MEMBERSHIP", ["239.1.2.3", "239.1.2.3"]).values) == 1

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("IP_ADD_SOURCE_MEMBERSHIP", "232.1.2.3"),
            ("IP_ADD_SOURCE_MEMBERSHIP", "232.1.2.3/x"),
            ("IP_ADD_SOURCE_MEMBERSHIP", "10.1.2.3/10.0.0.1"),
            ("IPV6_PKTINFO", "x@lo"),
            ("IPV6_PKTINFO", 1),
            ("TCP_CONGESTION", "\0"),
        ],
    )
    def test_what_is_no_value(self, name: str, value: object) -> None:
        with pytest.raises(ValueError, match=r"write|must be"):
            read(name, value)


def test_here() -> None:
    """What every Linux has is there."""
    names = {option.name for option in options.here()}
    assert {"SO_KEEPALIVE", "IP_TOS", "TCP_NODELAY", "IP_ADD_MEMBERSHIP"} <= names
