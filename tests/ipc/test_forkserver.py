"""``netd.ipc.forkserver``: packets with descriptors, on real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.ipc.forkserver import (
    LONGEST,
    MOST_DESCRIPTORS,
    ChildEnded,
    Fork,
    Forked,
    ForkFailed,
    Packet,
    PassDescriptors,
    fork_packets,
    receive,
    send,
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of such a socket."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


Ends = tuple[socket.socket, socket.socket]


class TestPackets:
    @pytest.mark.parametrize(
        "packet",
        [
            PassDescriptors(1, (3, 4)),
            Fork(2, "a name: é", 3, (1, 2, 3)),
            Forked(3, 4711),
            ChildEnded(4, -9),
            ForkFailed(5, "Resource temporarily unavailable"),
        ],
    )
    def test_arrive_as_they_are(self, ends: Ends, packet: Packet) -> None:
        """Each packet is the same at the other end, and is one."""
        for _ in range(2):
            send(ends[0], packet)
        assert [receive(ends[1]), receive(ends[1])] == [(packet, [])] * 2

    def test_descriptors(self, ends: Ends) -> None:
        """The other end has copies of the descriptors, in order, and no program inherits them."""
        files = [os.memfd_create(name) for name in "ab"]
        send(ends[0], PassDescriptors(1, (7, 8)), tuple(files))
        received = receive(ends[1])
        assert received is not None
        links = [os.readlink(f"/proc/self/fd/{number}") for number in received[1]]
        inherited = [os.get_inheritable(number) for number in received[1]]
        for descriptor in (*files, *received[1]):
            os.close(descriptor)
        assert links == ["/memfd:a (deleted)", "/memfd:b (deleted)"]
        assert inherited == [False, False]

    def test_end(self, ends: Ends) -> None:
        """When the other end has gone, that is the end, after what it had said."""
        send(ends[0], ChildEnded(1, 0))
        ends[0].close()
        assert receive(ends[1]) == (ChildEnded(1, 0), [])
        assert receive(ends[1]) is None

    def test_longest(self, ends: Ends) -> None:
        """With as many descriptors as there can be, a packet arrives whole."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        targets = tuple(range(10**6, 10**6 + MOST_DESCRIPTORS))
        packet = Fork(10**9, "n" * 1000, 10**6, targets)
        send(ends[0], packet, (nothing,) * MOST_DESCRIPTORS)
        received = receive(ends[1])
        assert received is not None
        for descriptor in (nothing, *received[1]):
            os.close(descriptor)
        assert received[0] == packet
        assert len(received[1]) == MOST_DESCRIPTORS
        assert len(repr(packet)) < LONGEST / 8


class TestOrders:
    def test_few_descriptors(self) -> None:
        """What fits into one packet is one."""
        assert fork_packets(7, "time", {1: 30, 3: 10}) == [(Fork(7, "time", 2, (1, 3)), (30, 10))]

    def test_none(self) -> None:
        """A worker can do without any."""
        assert fork_packets(7, "time", {}) == [(Fork(7, "time", 0, ()), ())]

    @given(st.integers(0, 4 * MOST_DESCRIPTORS))
    def test_any_number(self, count: int) -> None:
        """However many there are, each packet has as many as go, and all of them arrive."""
        descriptors = {target: target + 10_000 for target in range(count)}
        packets = fork_packets(7, "time", descriptors)
        sent: dict[int, int] = {}
        for packet, ours in packets:
            assert len(ours) <= MOST_DESCRIPTORS
            assert packet.number == 7
            sent.update(zip(packet.targets, ours, strict=True))
        assert sent == descriptors
        *given_before, last = [packet for packet, _ in packets]
        assert all(isinstance(packet, PassDescriptors) for packet in given_before)
        assert isinstance(last, Fork)
        assert last.count == count
