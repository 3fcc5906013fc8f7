"""``netd.ipc.scoreboard``: a real page of shared memory, seen from both ends."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.ipc.scoreboard import CLIENT_SIZE, SLOT_SIZE, ActiveConnection, Counts, Scoreboard

SLOTS = 4


@contextmanager
def page(slots: int = SLOTS) -> Iterator[int]:
    """The memory of a page."""
    descriptor = Scoreboard.make("test", slots)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def board(slots: int = SLOTS) -> Iterator[Scoreboard]:
    with page(slots) as descriptor, closing(Scoreboard(descriptor, slots)) as made:
        yield made


class TestOccupants:
    """Who is inside."""

    def test_nobody(self) -> None:
        """A page begins empty."""
        with board() as made:
            assert made.active_connections() == []
            assert made.counts() == Counts()

    def test_enters_and_leaves(self) -> None:
        """A client stands there from the one to the other."""
        with board() as made:
            slot = made.slot(2)
            slot.enter("192.0.2.1:4711", 12.5)
            assert made.active_connections() == [ActiveConnection(2, "192.0.2.1:4711", 12.5)]
            slot.leave()
            assert made.active_connections() == []

    def test_stamp(self) -> None:
        """Seen alike from both sides, and another one for whoever comes next."""
        with board() as made:
            slot = made.slot(1)
            slot.enter("192.0.2.1:4711", 12.5)
            (active_connection,) = made.active_connections()
            assert active_connection.stamp == slot.stamp == 12_500_000
            slot.leave()
            slot.enter("192.0.2.1:4711", 12.500001)
            assert slot.stamp == 12_500_001

    def test_the_longest_first(self) -> None:
        """Who has been inside longest is named first."""
        with board() as made:
            for number, since in enumerate((30.0, 10.0, 20.0)):
                made.slot(number).enter(f"client {number}", since)
            assert [each.slot for each in made.active_connections()] == [1, 2, 0]

    def test_one_after_another(self) -> None:
        """Nothing of a long name is left behind a short one."""
        with board() as made:
            slot = made.slot(0)
            slot.enter("[2001:db8:1234:5678:9abc:def0:1234:5678]:54321", 1.0)
            slot.leave()
            slot.enter("unix", 2.0)
            assert made.active_connections() == [ActiveConnection(0, "unix", 2.0)]

    def test_too_long_a_name(self) -> None:
        """A name is cut at the bytes there are for it, in the middle of a letter if need be."""
        with board() as made:
            made.slot(0).enter("x" * 1000, 1.0)
            made.slot(1).enter("x" * (CLIENT_SIZE - 1) + "ä", 2.0)
            first, second = made.active_connections()
            assert first.client == "x" * CLIENT_SIZE
            assert second.client == "x" * (CLIENT_SIZE - 1) + "\ufffd"

    @given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1e12))
    def test_any_name(self, name: str, since: float) -> None:
        """Whatever fits comes back as it went in; what does not, begins like it."""
        with board(1) as made:
            made.slot(0).enter(name, since)
            (active_connection,) = made.active_connections()
            assert active_connection.since == since
            if len(name.encode()) <= CLIENT_SIZE:
                assert active_connection.client == name
            else:
                assert name.startswith(active_connection.client.rstrip("\ufffd"))

    def test_a_name_that_cannot_be_encoded(self) -> None:
        """What an override calls a client need not be text for everybody."""
        with board() as made:
            made.slot(0).enter("caf\udce9", 1.0)
            assert [each.client for each in made.active_connections()] == ["caf?"]


class TestParts:
    """Each worker of a service has a part of the page to itself."""

    @pytest.fixture
    def parted(self) -> Iterator[Scoreboard]:
        """A page of two workers with two slots each, of which three are in use."""
        with board() as made:
            for number, name in enumerate("abc"):
                slot = made.slot(number)
                slot.served, slot.failed = 10**number, number
                slot.leave()
                slot.enter(name, float(-number))
            yield made

    def test_occupants(self, parted: Scoreboard) -> None:
        """Those of one worker, the longest first; of all where nothing is said."""
        assert [each.client for each in parted.active_connections(range(2))] == ["b", "a"]
        assert [each.slot for each in parted.active_connections(range(2, 4))] == [2]
        assert [each.client for each in parted.active_connections()] == ["c", "b", "a"]
        assert parted.active_connections(range(0)) == []

    def test_counts(self, parted: Scoreboard) -> None:
        """What one worker has done."""
        assert parted.counts(range(2)) == Counts(served=11, failed=1)
        assert parted.counts(range(2, 4)) == Counts(served=100, failed=2)
        assert parted.counts() == Counts(served=111, failed=3)
        assert parted.counts(range(3, 4)) == Counts()

    def test_busy(self, parted: Scoreboard) -> None:
        """How many of a worker's slots have somebody inside, without looking who."""
        assert [parted.busy(range(2)), parted.busy(range(2, 4))] == [2, 1]
        parted.slot(1).leave()
        assert parted.busy(range(2)) == 1

    def test_cleared(self, parted: Scoreboard) -> None:
        """The slots of a worker that has gone, and nobody else's."""
        parted.clear(range(1, 3))
        assert [each.client for each in parted.active_connections()] == ["a"]
        assert parted.counts() == Counts(served=1)
        assert parted.busy(range(4)) == 1

    def test_busy_pids(self, parted: Scoreboard) -> None:
        """The processes that have somebody inside are known by their pids, each once."""
        assert parted.busy_pids() == {os.getpid()}
        pid = os.fork()
        if pid == 0:
            parted.slot(3).enter("d", 1.0)
            os._exit(0)
        os.waitpid(pid, 0)
        assert parted.busy_pids() == {os.getpid(), pid}
        parted.clear()
        assert parted.busy_pids() == set()


class TestCounts:
    """What has been done."""

    def test_added_up(self) -> None:
        """The sum is over all slots, each kind apart."""
        with board() as made:
            for number in range(SLOTS):
                slot = made.slot(number)
                slot.served += 10
                slot.refused += 2
                slot.failed += 1
                slot.dropped += number
                slot.leave()
            assert made.counts() == Counts(served=40, refused=8, failed=4, dropped=6)

    def test_seen_when_the_client_leaves(self) -> None:
        """A counter that was raised is written once a request, not before its end."""
        with board() as made:
            slot = made.slot(0)
            slot.enter("client", 1.0)
            slot.served += 1
            assert made.counts() == Counts()
            slot.leave()
            assert made.counts() == Counts(served=1)

    def test_a_slot_that_is_taken_over(self) -> None:
        """A slot object that is made later goes on with the counters of the page."""
        with board() as made:
            first = made.slot(0)
            first.served += 5
            first.leave()
            second = made.slot(0)
            second.served += 1
            second.leave()
            assert made.counts() == Counts(served=6)

    def test_plus(self) -> None:
        """Counts of several workers are added kind by kind."""
        assert Counts(1, 2, 3, 4) + Counts(10, 20, 30, 40) == Counts(11, 22, 33, 44)


class TestPage:
    """The memory that the daemon and a worker share."""

    def test_seen_by_the_other_end(self) -> None:
        """What is written through one mapping is read through another one."""
        with page() as descriptor, closing(Scoreboard(descriptor, SLOTS)) as daemons:
            worker = Scoreboard(descriptor, SLOTS)
            slot = worker.slot(3)
            slot.served += 1
            slot.leave()
            slot.enter("client", 7.0)
            worker.close()
            # The worker has gone without a word; the daemon knows whom it held.
            assert daemons.active_connections() == [ActiveConnection(3, "client", 7.0)]
            assert daemons.counts() == Counts(served=1)

    def test_outlives_its_descriptor(self) -> None:
        """Whoever has mapped the page needs the descriptor no more."""
        descriptor = Scoreboard.make("test", SLOTS)
        with closing(Scoreboard(descriptor, SLOTS)) as made:
            os.close(descriptor)
            made.slot(0).enter("client", 1.0)
            assert len(made.active_connections()) == 1

    def test_cleared(self) -> None:
        """A page that is cleared is as new, for the next worker."""
        with board() as made:
            slot = made.slot(1)
            slot.served += 1
            slot.leave()
            slot.enter("client", 1.0)
            made.clear()
            assert made.active_connections() == []
            assert made.counts() == Counts()
            assert made.slot(1).served == 0

    def test_a_slot_keeps_to_itself(self) -> None:
        """A thread writes nothing but its own slot, whatever the name of its client."""
        with page() as descriptor:
            with closing(Scoreboard(descriptor, SLOTS)) as made:
                slot = made.slot(1)
                slot.served = slot.refused = slot.failed = slot.dropped = 2**64 - 1
                slot.leave()
                slot.enter("x" * 1000, 1.0)
            with mmap.mmap(descriptor, SLOTS * SLOT_SIZE) as memory:
                assert not any(memory[:SLOT_SIZE])
                assert not any(memory[2 * SLOT_SIZE :])

    def test_not_inherited_by_accident(self) -> None:
        """Only who is meant to have it gets the descriptor."""
        with page() as descriptor:
            assert not os.get_inheritable(descriptor)

    @pytest.mark.parametrize("size", [0, SLOT_SIZE, 100 * SLOT_SIZE])
    def test_keeps_its_size(self, size: int) -> None:
        """A worker's code cannot take the memory away under the daemon, nor make it grow."""
        with page() as descriptor:
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
            assert os.fstat(descriptor).st_size == SLOTS * SLOT_SIZE

    @given(st.binary(min_size=SLOTS * SLOT_SIZE, max_size=SLOTS * SLOT_SIZE))
    def test_any_bytes(self, junk: bytes) -> None:
        """A worker's code can write anything there; reading it never fails."""
        with page() as descriptor, closing(Scoreboard(descriptor, SLOTS)) as made:
            with mmap.mmap(descriptor, SLOTS * SLOT_SIZE) as memory:
                memory[:] = junk
            assert len(made.active_connections()) == sum(
                bool(junk[n * SLOT_SIZE]) for n in range(SLOTS)
            )
            assert made.counts().served >= 0
