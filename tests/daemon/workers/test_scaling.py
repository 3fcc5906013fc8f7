"""A pool of fakes, real clients, and a clock."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from netd.core.pool_size import LOOK_INTERVAL
from netd.daemon.workers.scaling import (
    IDLE_TIME,
    PROCESSORS,
    Scaling,
    Total,
    View,
    processor_time_of,
)
from tests.daemon.fakes import FakeReactor
from tests.descriptors import count_descriptors

MOST = 8


class FakePool:
    """Workers that a test makes busy, of one slot each."""

    def __init__(self, size: int = 1) -> None:
        self.workers: list[View] = []
        self.asked: list[tuple[str, object]] = []
        """What the scaling has wanted."""
        self._pids = iter(range(101, 1000))
        self._add(size)
        self.come_up()

    def _add(self, count: int) -> None:
        for _ in range(count):
            free = min(set(range(MOST)) - {view.index for view in self.workers})
            self.workers.append(View(free, 0, 1, 0, 0, is_up=False))

    @property
    def size(self) -> int:
        return len(self.workers)

    def grow(self, count: int) -> None:
        self.asked.append(("grow", count))
        self._add(count)

    def shrink(self, indices: Sequence[int]) -> None:
        if indices:
            self.asked.append(("shrink", list(indices)))
        self.workers = [view for view in self.workers if view.index not in indices]

    def views(self) -> list[View]:
        return list(self.workers)

    # What happens to it.

    def come_up(self) -> None:
        """All workers are ready."""
        self.workers = [
            view if view.is_up else replace(view, is_up=True, pid=next(self._pids))
            for view in self.workers
        ]

    def take(self, *places: int) -> None:
        """A client comes in to each of these workers, after the one that was there has left."""
        for place in places:
            view = self.workers[place]
            self.workers[place] = replace(view, busy=1, accepted=view.accepted + view.busy)

    def take_all(self) -> None:
        self.take(*range(self.size))

    def leave(self, *places: int) -> None:
        """The client of each of these workers leaves."""
        for place in places:
            view = self.workers[place]
            self.workers[place] = replace(view, busy=0, accepted=view.accepted + view.busy)


class Scene:
    """A pool, what scales it, and a listener with clients."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.pool = FakePool()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.processor_time: dict[int, float] = {}
        self.scaling = Scaling(self.pool, self.reactor, 1, MOST, self._used)
        self.scaling.watch([self.listener])
        self._clients: list[socket.socket] = []

    def _used(self, pid: int) -> float:
        if pid not in self.processor_time:
            raise ProcessLookupError(pid)
        return self.processor_time[pid]

    def comes(self) -> None:
        """A client comes, and waits in the backlog."""
        self._clients.append(socket.create_connection(self.listener.getsockname()))

    def accepted(self) -> None:
        """Accept all connections."""
        for client in self._clients:
            self.listener.accept()[0].close()
            client.close()
        self._clients.clear()

    def look(self, times: int = 1) -> None:
        """Let the scaling look, whatever makes it."""
        for _ in range(times):
            self.reactor.read()
            self.reactor.advance(LOOK_INTERVAL)

    @property
    def looks(self) -> bool:
        """Whether it will look without another connection."""
        now = self.reactor.seconds()
        return any(call.getTime() - now < 1 for call in self.reactor.getDelayedCalls())

    def close(self) -> None:
        self.scaling.stop()
        assert self.reactor.getDelayedCalls() == []
        assert self.reactor.readers == []
        for client in self._clients:
            client.close()
        self.listener.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


class TestLooking:
    """The pool is looked at while clients come and none of its workers is idle."""

    def test_nobody_comes(self, scene: Scene) -> None:
        """An idle pool does not wake the daemon."""
        assert scene.reactor.read() == 0
        assert scene.reactor.getDelayedCalls() == []

    def test_a_client_that_is_taken_at_once(self, scene: Scene) -> None:
        """When a worker is idle by then, nothing is done, and the next client is waited for."""
        scene.comes()
        scene.look()
        scene.accepted()
        scene.look()
        assert not scene.looks
        assert scene.pool.asked == []
        scene.comes()
        assert scene.reactor.read() == 1

    def test_nobody_is_idle(self, scene: Scene) -> None:
        """It is looked at every five milliseconds until a worker is idle."""
        scene.comes()
        scene.pool.take_all()
        scene.look(2)
        scene.accepted()
        assert scene.pool.asked == [("grow", 1)]
        scene.pool.come_up()
        scene.look()
        assert not scene.looks
        assert scene.pool.asked == [("grow", 1)]

    def test_one_event_a_client(self, scene: Scene) -> None:
        """A queued connection is reported once, however long it waits."""
        scene.comes()
        scene.pool.take_all()
        assert scene.reactor.read() == 1
        assert scene.reactor.read() == 0

    def test_a_worker_that_is_idle_for_a_moment(self, scene: Scene) -> None:
        """Between two clients it looks idle; it does not rest, so it is not counted on."""
        scene.comes()
        scene.pool.take_all()
        scene.look()
        scene.pool.leave(0)
        scene.look()
        assert scene.looks
        scene.look()
        assert not scene.looks

    def test_a_worker_that_is_starting(self, scene: Scene) -> None:
        """It is waited for, instead of starting more and more of them."""
        scene.pool.take_all()
        scene.comes()
        scene.look(100)
        assert scene.pool.asked == [("grow", 1)]
        scene.pool.come_up()
        scene.pool.take_all()
        scene.look(2)
        assert scene.pool.asked == [("grow", 1)] * 2

    def test_other_sockets(self, scene: Scene) -> None:
        """Connections to sockets that are no longer watched change nothing."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            scene.scaling.watch([other])
            scene.comes()
            assert scene.reactor.read() == 0
            with socket.create_connection(other.getsockname()):
                assert scene.reactor.read() == 1

    def test_no_socket(self, scene: Scene) -> None:
        """A suspended pool is not looked at, even if a look was due."""
        scene.comes()
        scene.pool.take_all()
        scene.look()
        scene.scaling.watch([])
        assert not scene.looks
        assert scene.reactor.readers == []
        scene.scaling.watch([scene.listener])
        assert scene.reactor.read() == 1

    def test_several_sockets(self, scene: Scene) -> None:
        """They are one pool's: clients of all of them are one reason to look."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            scene.scaling.watch([scene.listener, other])
            scene.comes()
            with socket.create_connection(other.getsockname()):
                assert scene.reactor.read() == 1
                assert scene.reactor.read() == 0
                assert len(scene.reactor.getDelayedCalls()) == 1

    def test_no_descriptor_is_lost(self, scene: Scene) -> None:
        """What is watched may change as often as it likes."""
        before = count_descriptors()
        for _ in range(3):
            scene.scaling.watch([])
            scene.scaling.watch([scene.listener])
        assert count_descriptors() == before
        scene.scaling.stop()
        scene.scaling.stop()
        assert count_descriptors() == before - 1


class TestGrowing:
    """How many workers there are, the rule of ``netd.core.pool_size`` says."""

    def test_workers_that_wait(self, scene: Scene) -> None:
        """Nothing was accepted and little processor time used: grow by half immediately."""
        sizes = []
        scene.comes()
        for _ in range(12):
            scene.pool.come_up()
            scene.pool.take(*(n for n, view in enumerate(scene.pool.workers) if not view.busy))
            scene.look()
            sizes.append(scene.pool.size)
        assert sizes[-1] == MOST
        assert sorted(set(sizes)) == [1, 2, 3, 4, 6, 8]

    def test_workers_that_compute(self, scene: Scene) -> None:
        """Processors that are busy are not helped by more workers."""
        scene.comes()
        for look in range(10):
            scene.pool.take_all() if look == 0 else None
            for view in scene.pool.workers:
                used = scene.processor_time.get(view.pid, 0.0)
                scene.processor_time[view.pid] = used + LOOK_INTERVAL * PROCESSORS
            scene.look()
        assert scene.pool.asked == []

    def test_the_processor_time_of_all(self, scene: Scene) -> None:
        """A worker that has all of one processor leaves the others to be used."""
        scene.comes()
        scene.pool.take_all()
        (view,) = scene.pool.workers
        for look in range(2):
            scene.processor_time[view.pid] = look * LOOK_INTERVAL * 0.69 * PROCESSORS
            scene.look()
        assert scene.pool.asked == [("grow", 1)]

    def test_a_worker_that_is_replaced_meanwhile(self, scene: Scene) -> None:
        """Its requests stay in the rate, so the rate does not fall."""
        scene.pool.workers[0] = replace(scene.pool.workers[0], accepted=1000)
        scene.comes()
        scene.pool.take_all()
        scene.look()
        scene.pool.workers[0] = replace(scene.pool.workers[0], pid=999, accepted=2, busy=1)
        scene.look()
        assert scene.pool.asked == []

    def test_the_least_busy_are_taken_back(self, scene: Scene) -> None:
        """A trial without effect is undone; the least busy worker drains."""
        scene.comes()
        self._look_under_load(scene, 0.31)
        assert scene.pool.asked == [("grow", 1), ("shrink", [1])]

    def test_never_fewer_than_the_least(self, scene: Scene) -> None:
        """However bad it was for the rate."""
        scene.comes()
        for _ in range(20):
            self._look_under_load(scene, 0.5)
            assert scene.pool.size >= 1

    @staticmethod
    def _look_under_load(scene: Scene, seconds: float) -> None:
        """Let the whole pool accept one connection between two looks."""
        for _ in range(round(seconds / LOOK_INTERVAL)):
            scene.pool.come_up()
            scene.pool.take_all()
            views = scene.pool.workers
            views[1:] = [replace(view, accepted=view.accepted - view.busy) for view in views[1:]]
            scene.look()


class TestShrinking:
    """Idle workers exit, down to the least number."""

    @pytest.fixture
    def grown(self, scene: Scene) -> Scene:
        """A pool of four, of which the first has been busy a moment ago."""
        scene.pool.grow(3)
        scene.pool.asked.clear()
        scene.pool.come_up()
        scene.comes()
        scene.look()
        scene.accepted()
        scene.look()
        assert not scene.looks
        return scene

    def test_idle(self, grown: Scene) -> None:
        """Workers that accepted nothing between two shrinks exit, the last ones first."""
        grown.reactor.advance(IDLE_TIME)
        assert grown.pool.asked == []
        grown.reactor.advance(IDLE_TIME)
        assert grown.pool.asked == [("shrink", [3, 2, 1])]
        assert grown.reactor.getDelayedCalls() == []

    def test_busy_all_the_time(self, grown: Scene) -> None:
        """A client that stays keeps its worker, and the others leave."""
        grown.pool.take(2)
        grown.reactor.pump([IDLE_TIME] * 2)
        assert [view.index for view in grown.pool.workers] == [2]

    def test_busy_now_and_then(self, grown: Scene) -> None:
        """A worker that accepted a connection in between stays."""
        grown.reactor.advance(IDLE_TIME)
        grown.pool.take(1, 3)
        grown.pool.leave(1, 3)
        grown.reactor.advance(IDLE_TIME)
        assert [view.index for view in grown.pool.workers] == [1, 3]
        grown.reactor.advance(IDLE_TIME)
        assert [view.index for view in grown.pool.workers] == [1]

    def test_another_process_of_the_same_worker(self, grown: Scene) -> None:
        """It has not been idle for as long as the one before it was."""
        grown.reactor.advance(IDLE_TIME)
        grown.pool.workers[3] = replace(grown.pool.workers[3], pid=999)
        grown.reactor.advance(IDLE_TIME)
        assert [view.index for view in grown.pool.workers] == [3]

    def test_starting(self, grown: Scene) -> None:
        """A worker that starts slowly is not idle."""
        grown.pool.workers[3] = replace(grown.pool.workers[3], is_up=False)
        grown.reactor.pump([IDLE_TIME] * 2)
        assert [view.index for view in grown.pool.workers] == [3]

    def test_stopped(self, grown: Scene) -> None:
        """stop() clears the timers."""
        grown.scaling.stop()
        grown.reactor.pump([IDLE_TIME] * 3)
        assert grown.pool.asked == []


class TestTotal:
    """What processes have done together."""

    def test_goes_on_when_one_has_gone(self) -> None:
        """What it had done stays, and another one begins anew."""
        total = Total()
        assert total.of({1: 10, 2: 5}) == 15
        assert total.of({2: 6}) == 16
        assert total.of({2: 6, 3: 4}) == 20
        assert total.of({}) == 20

    def test_processor_time(self) -> None:
        """That of this process is what the system says of it by another way."""
        before = time.process_time()
        of_us = processor_time_of(os.getpid())
        assert before <= of_us <= time.process_time()

    def test_processor_time_of_nobody(self) -> None:
        """A process that has gone is an OSError."""
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        with pytest.raises(OSError, match=r"Invalid argument|No such process"):
            processor_time_of(pid)
