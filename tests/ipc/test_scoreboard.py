"""``netd.ipc.scoreboard``: real shared memory, seen from both ends."""

from __future__ import annotations

import mmap
import os
import random
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.ipc.layout import (
    HEAD_SIZE,
    LANE_SIZE,
    RECORD_SIZE,
    SOURCE_SIZE,
    SOURCES,
    TEXT_SIZE,
    Geometry,
    first_id,
)
from netd.ipc.scoreboard import FORK_IDS, Counts, Scoreboard, WorkerBlock, WrongLayout
from netd.model.peer import Credentials

GEOMETRY = Geometry(workers=2, lanes=3, records=4)
INET = ("192.0.2.1", 4711)


@contextmanager
def page(geometry: Geometry = GEOMETRY) -> Iterator[int]:
    """The memory of a scoreboard."""
    descriptor = Scoreboard.make("test", geometry)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def board(geometry: Geometry = GEOMETRY) -> Iterator[Scoreboard]:
    with page(geometry) as descriptor, closing(Scoreboard(descriptor, geometry)) as made:
        yield made


def begin(block: WorkerBlock, client: str, since: float = 1.0) -> int:
    """Begin a connection of which there is only a text."""
    return block.begin(0, 0, None, client, None, since)


def clients(made: Scoreboard, worker: int | None = None) -> list[str]:
    return [each.client for each in made.active_connections(worker)]


class TestRecords:
    """A record for each connection, from its begin to its end."""

    def test_none(self) -> None:
        with board() as made:
            assert made.active_connections() == []
            assert made.counts() == Counts()

    def test_begin_and_end(self) -> None:
        with board() as made:
            block = made.block(1)
            number = block.begin(2, 5, INET, "192.0.2.1:4711", None, 12.5)
            (found,) = made.active_connections()
            assert (found.id, found.worker, found.listener) == (number, 1, 5)
            assert (found.client, found.since) == ("192.0.2.1:4711", 12.5)
            block.end(number)
            assert made.active_connections() == []

    def test_more_connections_than_lanes(self) -> None:
        """One thread can keep several connections."""
        with board() as made:
            block = made.block(0)
            numbers = [begin(block, f"client {number}", number) for number in range(4)]
            assert clients(made) == [f"client {number}" for number in range(4)]
            assert made.busy() == 4
            for number in numbers:
                block.end(number)
            assert made.busy() == 0

    def test_more_connections_than_records(self) -> None:
        """Further ones have an ID, and are not listed; their end frees no record of another one."""
        with board() as made:
            block = made.block(0)
            numbers = [begin(block, f"client {number}", number) for number in range(6)]
            assert len(set(numbers)) == 6
            assert len(clients(made)) == 4
            block.end(numbers[5])
            assert len(clients(made)) == 4
            block.end(numbers[0])
            begin(block, "next", 9)
            assert clients(made) == ["client 1", "client 2", "client 3", "next"]

    def test_ended_twice(self) -> None:
        """A handler that was given up may return: the record may be another connection's then."""
        with board(Geometry(1, 1, 1)) as made:
            block = made.block(0)
            first = begin(block, "first")
            block.end(first)
            begin(block, "second")
            block.end(first)
            assert clients(made) == ["second"]
            begin(block, "third")
            assert clients(made) == ["second"]

    def test_lane_that_is_given_up(self) -> None:
        with board() as made:
            block = made.block(0)
            block.begin(1, 0, INET, "192.0.2.1:4711", None, 1.0)
            block.begin(2, 0, INET, "192.0.2.1:4711", None, 2.0)
            block.end_lane(1)
            assert [each.since for each in made.active_connections()] == [2.0]

    def test_accepting(self) -> None:
        """A lane is busy before its client is known."""
        with board() as made:
            block = made.block(0)
            number = block.accepting(0, 3.0)
            assert (clients(made), made.busy(0)) == (["unknown"], 1)
            block.end(number)
            assert made.busy(0) == 0

    def test_oldest_first(self) -> None:
        with board() as made:
            for worker, since in ((0, 30.0), (1, 10.0), (0, 20.0)):
                begin(made.block(worker), f"at {since}", since)
            # Each block above is a new one, and begins with the same record.
            assert clients(made) == ["at 10.0", "at 20.0"]


class TestClients:
    """The reader writes the client from the raw address where there is one."""

    @pytest.mark.parametrize(
        ("address", "peer", "client"),
        [
            (INET, None, "192.0.2.1:4711"),
            (("2001:db8::1", 4711, 0, 0), None, "[2001:db8::1]:4711"),
            (("fe80::1", 4711, 0, 3), None, "[fe80::1]:4711"),
            (("::ffff:192.0.2.1", 4711, 0, 0), None, "192.0.2.1:4711"),
            ("", Credentials(1000, 100, pid=4242), "uid:1000,pid:4242"),
            (b"\0name", Credentials(0, 0, pid=2**31 - 1), "uid:0,pid:2147483647"),
            ("", Credentials(1000, 100), "uid:1000,pid:4242"),
            ("", None, "unix"),
            (("name", 80), None, "name:80"),
            (("192.0.2.1", 70000), None, "192.0.2.1:70000"),
            (("192.0.2.1", "http"), None, "192.0.2.1:http"),
            (("::1", 70000, 0, 0), None, "[::1]:70000"),
            (("::1", 80, 0, -1), None, "[::1]:80"),
            (("fe80::1%eth0", 80, 0, 2), None, "[fe80::1%eth0]:80"),
            (None, None, "whatever"),
            (7, None, "7"),
        ],
    )
    def test_as_in_the_log(self, address: object, peer: Credentials | None, client: str) -> None:
        with board() as made:
            made.block(0).begin(0, 0, address, client, peer, 1.0)
            assert clients(made) == [client]

    @given(st.ip_addresses(v=4), st.integers(0, 65535))
    def test_any_ipv4(self, host: object, port: int) -> None:
        with board(Geometry(1, 1, 1)) as made:
            made.block(0).begin(0, 0, (str(host), port), "unused", None, 1.0)
            assert clients(made) == [f"{host}:{port}"]

    @given(st.binary(min_size=16, max_size=16), st.integers(0, 65535))
    def test_any_ipv6(self, packed: bytes, port: int) -> None:
        host = socket.inet_ntop(socket.AF_INET6, packed)
        with board(Geometry(1, 1, 1)) as made:
            made.block(0).begin(0, 0, (host, port, 0, 0), "unused", None, 1.0)
            shown = host.removeprefix("::ffff:") if "." in host[7:] else None
            assert clients(made)[0] in (f"[{host}]:{port}", f"{shown}:{port}")

    @given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1e12))
    def test_any_text(self, text: str, since: float) -> None:
        """What fits comes back as it went in; what does not, begins like it."""
        with board(Geometry(1, 1, 1)) as made:
            begin(made.block(0), text, since)
            (found,) = made.active_connections()
            assert found.since == since
            if len(text.encode()) <= TEXT_SIZE:
                assert found.client == text
            else:
                assert text.startswith(found.client.rstrip("\ufffd"))

    def test_too_long_a_text(self) -> None:
        """It is cut at the bytes there are for it, in the middle of a letter if need be."""
        with board() as made:
            block = made.block(0)
            begin(block, "x" * 1000, 1.0)
            begin(block, "x" * (TEXT_SIZE - 1) + "ä", 2.0)
            assert clients(made) == ["x" * TEXT_SIZE, "x" * (TEXT_SIZE - 1) + "\ufffd"]

    def test_one_after_another(self) -> None:
        """Nothing of a long text is left behind a short one, nor of an address behind a text."""
        with board(Geometry(1, 1, 1)) as made:
            block = made.block(0)
            block.end(begin(block, "[2001:db8:1234:5678:9abc:def0:1234:5678]:54321"))
            block.end(block.begin(0, 0, INET, "192.0.2.1:4711", None, 1.0))
            begin(block, "unix")
            assert clients(made) == ["unix"]

    def test_a_text_that_cannot_be_encoded(self) -> None:
        """What an override calls a client need not be text for every program."""
        with board() as made:
            begin(made.block(0), "caf\udce9")
            assert clients(made) == ["caf?"]


class TestIds:
    """64 bits, unique in a service."""

    def test_of_other_workers(self) -> None:
        """Workers that start at the same moment have other IDs."""
        with board() as made:
            first, second = (begin(made.block(worker), "x") for worker in range(2))
            assert (first >> 52, second >> 52) == (0, 1)

    def test_of_a_successor(self) -> None:
        """A process that takes the place of another one begins above its IDs."""
        with board() as made:
            before = [begin(made.block(1), "x") for _ in range(3)]
            assert begin(made.block(1), "x") > max(before)

    @given(st.integers(0, 4095), st.integers(0, 2**52 - 1))
    def test_fits(self, worker: int, microseconds: int) -> None:
        number = first_id(worker, microseconds)
        assert (number >> 52, number & (2**52 - 1)) == (worker, microseconds)
        assert number < 2**64

    def test_of_forks(self) -> None:
        """Each fork has IDs of its own, and the worker knows the first."""
        with board() as made:
            block = made.block(0)
            firsts = [block.ids_of_fork() for _ in range(3)]
            assert [second - first for first, second in pairwise(firsts)] == [FORK_IDS] * 2


class TestForks:
    """A fork writes the lane and the record of its number only."""

    def test_connection_of_a_fork(self) -> None:
        with board() as made:
            block = made.block(0)
            first = block.ids_of_fork()
            pid = os.fork()
            if pid == 0:
                block.in_fork(2, first)
                number = begin(block, "one")
                block.lanes[2].served = 3
                block.lanes[2].publish()
                begin(block, "without a record")
                os._exit(0 if number == first else 1)
            assert os.waitpid(pid, 0)[1] == 0
            assert [(each.id, each.client) for each in made.active_connections()] == [
                (first, "one")
            ]
            assert [block.is_active(lane) for lane in range(3)] == [False, False, True]
            assert block.lanes[2].served == 0
            block.lanes[2].reload()
            assert block.lanes[2].served == 3
            block.clear(2)
            assert made.active_connections() == []

    def test_busy_pids(self) -> None:
        """The processes with an active connection are known by their pids, each once."""
        with board() as made:
            block = made.block(0)
            assert made.busy_pids() == set()
            begin(block, "one")
            begin(block, "two")
            assert made.busy_pids() == {os.getpid()}
            pid = os.fork()
            if pid == 0:
                other = made.block(1)
                other.begin(1, 0, None, "three", None, 1.0)
                os._exit(0)
            os.waitpid(pid, 0)
            assert made.busy_pids() == {os.getpid(), pid}
            made.clear()
            assert made.busy_pids() == set()


class TestWorkers:
    """Each worker has a block to itself."""

    @pytest.fixture
    def parted(self) -> Iterator[Scoreboard]:
        """Both workers have counted and have a connection, the first one two."""
        with board() as made:
            for worker, names in enumerate(("ab", "c")):
                block = made.block(worker)
                for number, name in enumerate(names):
                    lane = block.lanes[number]
                    lane.served, lane.failed, lane.accepted = 10 ** (worker + number), number, 2
                    lane.publish()
                    begin(block, name, -number - worker)
            yield made

    def test_connections(self, parted: Scoreboard) -> None:
        assert [clients(parted, 0), clients(parted, 1)] == [["b", "a"], ["c"]]
        assert sorted(clients(parted)) == ["a", "b", "c"]

    def test_counts(self, parted: Scoreboard) -> None:
        assert parted.counts(0) == Counts(served=11, failed=1)
        assert parted.counts(1) == Counts(served=10)
        assert parted.counts() == Counts(served=21, failed=1)

    def test_accepted(self, parted: Scoreboard) -> None:
        assert (parted.accepted(0), parted.accepted(1), parted.accepted()) == (4, 2, 6)

    def test_busy(self, parted: Scoreboard) -> None:
        assert (parted.busy(0), parted.busy(1), parted.busy()) == (2, 1, 3)

    def test_cleared(self, parted: Scoreboard) -> None:
        """What a worker has written that has ended, and nothing of another one."""
        parted.clear(0)
        assert clients(parted) == ["c"]
        assert parted.counts() == Counts(served=10)
        assert parted.busy() == 1
        assert parted.block(0).lanes[0].served == 0


class TestCounts:
    def test_added_up(self) -> None:
        """The sum is over all lanes, each kind apart."""
        with board() as made:
            for number, lane in enumerate(made.block(0).lanes):
                lane.served += 10
                lane.refused += 2
                lane.failed += 1
                lane.dropped += number
                lane.truncated += 5
                lane.publish()
            assert made.counts() == Counts(30, 6, 3, 3, 15)

    def test_published(self) -> None:
        """A counter that was raised is written once a request, not before its end."""
        with board() as made:
            lane = made.block(0).lanes[0]
            lane.served += 1
            assert made.counts() == Counts()
            lane.publish()
            assert made.counts() == Counts(served=1)

    def test_a_lane_that_is_taken_over(self) -> None:
        """A lane that is made later continues with the counters of the memory."""
        with board() as made:
            for _ in range(2):
                lane = made.block(0).lanes[0]
                lane.served += 5
                lane.publish()
            assert made.counts() == Counts(served=10)

    def test_plus(self) -> None:
        assert Counts(1, 2, 3, 4, 5) + Counts(10, 20, 30, 40, 50) == Counts(11, 22, 33, 44, 55)


class TestMemory:
    """The memory that the daemon and a worker share."""

    def test_seen_by_the_other_end(self) -> None:
        """What is written through one mapping is read through another one."""
        with page() as descriptor, closing(Scoreboard(descriptor, GEOMETRY)) as daemons:
            worker = Scoreboard(descriptor, GEOMETRY)
            block = worker.block(1)
            block.lanes[0].served += 1
            block.lanes[0].publish()
            begin(block, "client")
            worker.close()
            # The worker has ended without a word; the daemon knows its connections.
            assert clients(daemons) == ["client"]
            assert daemons.counts() == Counts(served=1)

    def test_outlives_its_descriptor(self) -> None:
        descriptor = Scoreboard.make("test", GEOMETRY)
        with closing(Scoreboard(descriptor, GEOMETRY)) as made:
            os.close(descriptor)
            begin(made.block(0), "client")
            assert len(made.active_connections()) == 1

    def test_another_layout(self) -> None:
        """A worker of another version does not write, and one of another service neither."""
        with page() as descriptor:
            with pytest.raises(WrongLayout):
                Scoreboard(descriptor, Geometry(1, 3, 4))
            os.pwrite(descriptor, b"\xff", 8)
            with pytest.raises(WrongLayout):
                Scoreboard(descriptor, GEOMETRY)

    def test_a_block_keeps_to_itself(self) -> None:
        """A worker writes nothing but its own block, whatever the text of its client."""
        with page() as descriptor:
            with closing(Scoreboard(descriptor, GEOMETRY)) as made:
                block = made.block(1)
                for lane in block.lanes:
                    lane.served = lane.refused = lane.failed = lane.dropped = 2**64 - 1
                    lane.publish()
                for _ in range(10):
                    begin(block, "x" * 1000)
            with mmap.mmap(descriptor, GEOMETRY.size) as memory:
                assert not any(memory[HEAD_SIZE : GEOMETRY.block(1)])
                sources = GEOMETRY.record(1, GEOMETRY.records)
                assert not any(memory[sources:])

    def test_a_block_begins_on_a_cache_line(self) -> None:
        geometry = Geometry(3, 125, 125)
        for worker in range(3):
            assert geometry.block(worker) % 64 == 0
            assert geometry.record(worker, 1) % 64 == geometry.lane(worker, 1) % 64 == 0
        assert geometry.size == geometry.block(3)

    def test_sizes(self) -> None:
        """Nothing overlaps."""
        assert GEOMETRY.lane(0, 0) == HEAD_SIZE
        assert GEOMETRY.record(0, 0) == HEAD_SIZE + 3 * LANE_SIZE
        assert GEOMETRY.block(1) == (
            HEAD_SIZE + 3 * LANE_SIZE + 4 * RECORD_SIZE + SOURCES * SOURCE_SIZE
        )

    def test_not_inherited_by_accident(self) -> None:
        with page() as descriptor:
            assert not os.get_inheritable(descriptor)

    @pytest.mark.parametrize("size", [0, GEOMETRY.size - 1, 100 * GEOMETRY.size])
    def test_keeps_its_size(self, size: int) -> None:
        """A worker's code cannot take the memory away under the daemon, nor make it grow."""
        with page() as descriptor:
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
            assert os.fstat(descriptor).st_size == GEOMETRY.size

    @given(st.integers(0, 2**32))
    def test_any_bytes(self, seed: int) -> None:
        """A worker's code can write anything there; reading it never fails."""
        junk = random.Random(seed).randbytes(GEOMETRY.size)
        with page() as descriptor, closing(Scoreboard(descriptor, GEOMETRY)) as made:
            with mmap.mmap(descriptor, GEOMETRY.size) as memory:
                memory[:] = junk
            expected = sum(
                bool(junk[GEOMETRY.record(worker, number)])
                for worker in range(2)
                for number in range(4)
            )
            assert len(made.active_connections()) == made.busy() == expected
            assert made.counts().served >= 0
            assert made.accepted() >= 0
            assert len(made.busy_pids()) <= expected
