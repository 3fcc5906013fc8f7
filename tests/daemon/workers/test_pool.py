"""``netd.daemon.workers.pool``: all workers of a service, without a process."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from twisted.logger import LogEvent, capturedLogs

from netd.core.pool_size import LOOK_INTERVAL
from netd.daemon.states import WorkerState
from netd.daemon.workers.pool import Pool
from netd.daemon.workers.runtime import ServiceRuntime, WorkerSpec, WorkerTools
from netd.daemon.workers.worker import WorkerHandle
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Counts, Scoreboard
from netd.ipc.worker import (
    AllSuspended,
    Drain,
    NeedsRecycling,
    Order,
    Ready,
    Recheck,
    Resume,
    StartWorker,
    Stop,
    Suspend,
    Suspended,
    SuspendRequested,
)
from netd.model.address import InetAddress, Transport
from netd.model.log import AS_USUAL
from netd.model.service import Access, Concurrency, Reference, Runs, Service
from tests.daemon.fakes import Adopted, FakeProcess, FakeReactor, FakeSpawner, texts
from tests.descriptors import count_descriptors


def service(
    name: str = "time",
    concurrency: Concurrency = "thread",
    processes: int = 1,
    threads: int = 1,
    **more: Any,
) -> Service:
    return Service(
        name,
        (InetAddress(Transport.TCP, 0),),
        Runs("handler", Reference("m", "H")),
        "w",
        concurrency=concurrency,
        threads=threads,
        processes=processes,
        **more,
    )


class Scene:
    """A pool of services, and everything around it."""

    def __init__(self, *services: Service, **more: Any) -> None:
        self._stack = ExitStack()
        self.reactor = FakeReactor()
        self.spawner = FakeSpawner()
        self.runtime = [self._runtime(each) for each in services]
        self.changes = 0
        spec = WorkerSpec("w", tuple(self.runtime), (), 5.0)
        tools = WorkerTools(self.reactor, self.spawner, lambda text: None)
        self.pool = Pool(spec, AS_USUAL, tools, self._changed, **more)

    def _runtime(self, of: Service) -> ServiceRuntime:
        page = Scoreboard.make(of.name, Geometry.of(of))
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        return ServiceRuntime(of, (listener,), page, Scoreboard(page, Geometry.of(of)))

    def _changed(self) -> None:
        self.changes += 1

    # Its workers, in the order in which their processes were started.

    @property
    def processes(self) -> list[FakeProcess]:
        return self.spawner.processes

    def channel(self, worker: int) -> Adopted:
        return self.reactor.adopted[worker]

    def orders(self, worker: int) -> list[Order]:
        """The orders of a worker since the last call, without its first one."""
        told = self.channel(worker).transport.orders()
        return [order for order in told if not isinstance(order, StartWorker)]

    def index(self, worker: int, of: int = 0) -> int:
        """The index of a worker whose orders have not been read."""
        (start,) = self.channel(worker).transport.orders()
        assert isinstance(start, StartWorker)
        return start.services[of].index

    def is_suspended(self, worker: int, of: int = 0) -> bool:
        """Whether such a worker started suspended."""
        (start,) = self.channel(worker).transport.orders()
        assert isinstance(start, StartWorker)
        return start.services[of].suspended

    def is_ready(self, *workers: int) -> None:
        """These workers, or all that have started, say that they are ready."""
        for worker in workers or range(len(self.processes)):
            self.channel(worker).says(Ready())

    def ends(self, worker: int, how: str = "status 0") -> None:
        self.processes[worker].ended(how)
        self.reactor.advance(0)

    def serve(self) -> None:
        self.pool.start()
        self.is_ready()
        for worker in range(len(self.processes)):
            self.orders(worker)

    def holds(self, worker: int, client: str = "192.0.2.1:5", of: int = 0) -> None:
        """Make a connection of a worker active."""
        page = self._page(of)
        page.block(worker).begin(0, 0, None, client, None, 1.0)
        page.close()

    def has_done(self, worker: int, counts: Counts, of: int = 0) -> None:
        page = self._page(of)
        own = page.block(worker).lanes[0]
        own.served, own.refused, own.failed, own.dropped, own.truncated = vars(counts).values()
        own.accepted = counts.served + counts.refused + counts.dropped
        own.publish()
        page.close()

    def _page(self, of: int) -> Scoreboard:
        return Scoreboard(self.runtime[of].page, self.runtime[of].board.geometry)

    def client(self, of: int = 0) -> None:
        """Connect a client, which waits in the backlog."""
        address = self.runtime[of].listeners[0].getsockname()
        self._stack.enter_context(socket.create_connection(address))

    def look(self, times: int) -> None:
        for _ in range(times):
            self.reactor.read()
            self.reactor.advance(LOOK_INTERVAL)

    @property
    def states(self) -> list[WorkerState]:
        return [place.state for place in self.pool]

    def close(self) -> None:
        self.pool.drain()
        for process in self.processes:
            process.ended("status 0") if self._is_there(process) else None
        assert self.pool.is_closed
        assert self.reactor.readers == []
        self.pool.close()
        self.reactor.close()
        self.spawner.close()
        self._stack.close()

    def _is_there(self, process: FakeProcess) -> bool:
        return any(place.pid == process.pid for place in self.pool)


@pytest.fixture
def made() -> Iterator[list[Scene]]:
    """The scenes that a test has made, which are closed at its end."""
    scenes: list[Scene] = []
    yield scenes
    for scene in scenes:
        scene.close()


@pytest.fixture
def pair(made: list[Scene]) -> Scene:
    """Two workers of threads, which serve."""
    made.append(Scene(service(processes=2, threads=4)))
    made[-1].serve()
    return made[-1]


@pytest.fixture
def elastic(made: list[Scene]) -> Scene:
    """The first of up to four workers, which serves."""
    made.append(Scene(service(concurrency="process", processes=4)))
    made[-1].serve()
    return made[-1]


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


class TestStart:
    def test_a_fixed_number(self, made: list[Scene]) -> None:
        """Services of threads have just so many workers, each with a part of the page."""
        made.append(scene := Scene(service(processes=3, threads=5)))
        scene.pool.start()
        assert [scene.index(worker) for worker in range(3)] == [0, 1, 2]
        assert not scene.pool.is_up
        scene.is_ready(0, 1)
        assert not scene.pool.is_up
        scene.is_ready(2)
        assert scene.pool.is_up
        assert scene.pool.size == 3

    def test_as_many_as_are_needed(self, elastic: Scene) -> None:
        """A service of processes has one worker until a client connects."""
        assert elastic.pool.is_up
        assert len(elastic.processes) == 1

    def test_forks(self, made: list[Scene]) -> None:
        """A service that forks for each request has one worker, and needs no more."""
        made.append(scene := Scene(service(concurrency="process", processes=9, forks=True)))
        scene.serve()
        scene.client()
        scene.look(100)
        assert len(scene.processes) == 1

    def test_every_change_is_told(self, pair: Scene) -> None:
        """Of each worker: started, ready, died, started again."""
        assert pair.changes == 4
        pair.ends(1, "signal SIGSEGV")
        assert pair.changes == 6

    def test_drained_before(self, made: list[Scene]) -> None:
        """A drained pool does not start."""
        made.append(scene := Scene(service()))
        scene.pool.drain()
        scene.pool.start()
        assert scene.processes == []
        assert scene.pool.is_closed

    def test_held_back(self, made: list[Scene]) -> None:
        """The workers of a held pool do not accept before its release."""
        made.append(
            scene := Scene(service(processes=2), service("date", processes=2), is_held=True)
        )
        scene.pool.start()
        assert all(scene.is_suspended(worker) for worker in range(2))
        scene.is_ready()
        scene.pool.suspension.release()
        for worker in range(2):
            assert scene.orders(worker) == [Resume("time"), Resume("date")]

    def test_held_back_and_suspended(self, made: list[Scene]) -> None:
        """A suspended service stays suspended when the pool is released."""
        scene = Scene(service(), service("date"), is_held=True, suspended=["time"])
        made.append(scene)
        scene.serve()
        scene.pool.suspension.release()
        assert scene.orders(0) == [Resume("date")]
        scene.pool.suspension.resume("time")
        assert scene.orders(0) == [Resume("time")]

    def test_resumed_while_held_back(self, made: list[Scene]) -> None:
        """No worker accepts before the release."""
        made.append(scene := Scene(service(), is_held=True, suspended=["time"]))
        scene.serve()
        scene.pool.suspension.resume("time")
        assert scene.orders(0) == []
        scene.pool.suspension.release()
        assert scene.orders(0) == [Resume("time")]

    def test_after_another(self, made: list[Scene], pair: Scene) -> None:
        """A pool that replaces another one starts when that one is closed."""
        made.append(scene := Scene(service()))
        scene.pool.start_after(pair.pool)
        assert scene.processes == []
        pair.pool.drain()
        pair.ends(0)
        assert scene.processes == []
        pair.ends(1)
        assert len(scene.processes) == 1


class TestGrowth:
    """A pool of processes grows while clients connect and no worker is idle."""

    def test_one_is_kept_ready(self, elastic: Scene) -> None:
        """One active connection makes one more worker start, and no more."""
        elastic.holds(0)
        elastic.client()
        elastic.look(5)
        assert len(elastic.processes) == 2
        assert elastic.index(1) == 1
        elastic.is_ready(1)
        elastic.look(50)
        assert len(elastic.processes) == 2

    def test_at_most(self, elastic: Scene) -> None:
        """However many clients there are; more wait in the backlog."""
        elastic.client()
        for _ in range(20):
            for worker in range(len(elastic.processes)):
                elastic.holds(worker)
            elastic.look(3)
            for worker in range(1, len(elastic.processes)):
                if list(elastic.pool)[worker].state is WorkerState.STARTING:
                    elastic.is_ready(worker)
        assert len(elastic.processes) == 4
        elastic.pool.grow(5)
        elastic.pool.grow(-1)
        assert elastic.pool.size == 4

    def test_a_worker_that_cannot_start(self, made: list[Scene]) -> None:
        """Clients that wait for it are no reason to start others, which could not either."""
        made.append(scene := Scene(service(concurrency="process", processes=40)))
        scene.pool.start()
        scene.client()
        for _ in range(3):
            scene.ends(len(scene.processes) - 1, "status 1")
            scene.look(20)
        assert len(list(scene.pool)) == 1

    def test_while_it_drains(self, elastic: Scene) -> None:
        """A draining pool does not grow for connections that the next pool accepts."""
        elastic.holds(0)
        elastic.client()
        elastic.look(1)
        elastic.pool.drain()
        elastic.look(20)
        assert len(elastic.processes) == 1

    def test_while_it_is_suspended(self, elastic: Scene) -> None:
        """Connections to a suspended service are ignored until it is resumed."""
        elastic.pool.suspension.suspend("time")
        elastic.client()
        assert elastic.reactor.read() == 0
        elastic.pool.suspension.resume("time")
        assert elastic.reactor.read() == 1

    def test_while_it_is_held_back(self, made: list[Scene]) -> None:
        """So are those to a held pool."""
        scene = Scene(service(concurrency="process", processes=4), is_held=True)
        made.append(scene)
        scene.serve()
        scene.client()
        assert scene.reactor.read() == 0
        scene.pool.suspension.release()
        assert scene.reactor.read() == 1

    def test_while_one_of_its_services_is_suspended(self, made: list[Scene]) -> None:
        """The clients of the other one count."""
        several = [service(name, "process", 4) for name in ("time", "date")]
        made.append(scene := Scene(*several))
        scene.serve()
        scene.pool.suspension.suspend("time")
        scene.client(of=0)
        assert scene.reactor.read() == 0
        scene.client(of=1)
        assert scene.reactor.read() == 1

    def test_suspended_before_it_starts(self, made: list[Scene]) -> None:
        """It is looked at from its start on, not before."""
        made.append(scene := Scene(service(concurrency="process", processes=4)))
        scene.client()
        scene.pool.suspension.suspend("time")
        scene.pool.suspension.resume("time")
        assert scene.reactor.read() == 0
        scene.serve()
        assert scene.reactor.read() == 1

    def test_parts_of_the_page_are_used_again(self, elastic: Scene) -> None:
        """A worker that has left gives its part back, and a new one has it."""
        elastic.pool.grow(2)
        elastic.is_ready(1, 2)
        elastic.pool.shrink([1])
        assert elastic.orders(1) == [Drain()]
        assert elastic.pool.size == 2
        elastic.ends(1)
        elastic.pool.grow(1)
        assert elastic.index(3) == 1

    def test_never_beyond_the_page(self, elastic: Scene) -> None:
        """Draining workers keep their blocks; no worker starts without a block."""
        places = elastic.runtime[0].service.places
        for _ in range(5):
            elastic.pool.grow(4)
            elastic.pool.shrink([place.index for place in elastic.pool if place.index])
        assert len(list(elastic.pool)) == places
        assert max(place.index for place in elastic.pool) == places - 1
        elastic.ends(1)
        elastic.pool.grow(4)
        assert len(list(elastic.pool)) == places

    def test_a_drained_one_that_was_the_last(self, elastic: Scene) -> None:
        """There is always as many as there are at least."""
        elastic.pool.shrink([0])
        elastic.ends(0)
        assert len(elastic.processes) == 2
        assert elastic.states == [WorkerState.STARTING]


class TestViews:
    def test_what_is_seen(self, made: list[Scene]) -> None:
        """Of all its services, what of each worker stands on the pages."""
        made.append(scene := Scene(service(threads=2), service("date", threads=3)))
        scene.serve()
        scene.holds(0)
        scene.holds(0, of=1)
        scene.has_done(0, Counts(5, 1, 3, 2))
        scene.has_done(0, Counts(served=1), of=1)
        (view,) = scene.pool.views()
        assert (view.index, view.pid) == (0, scene.processes[0].pid)
        assert (view.slots, view.busy, view.accepted) == (5, 2, 9)
        assert view.is_up

    def test_who_is_seen(self, pair: Scene) -> None:
        """Those that serve or are going to, not those that leave."""
        pair.ends(0, "signal SIGSEGV")
        assert [(view.index, view.is_up) for view in pair.pool.views()] == [(0, False), (1, True)]
        pair.pool.shrink([1])
        assert [view.index for view in pair.pool.views()] == [0]


class TestDeath:
    def test_counts_of_all(self, pair: Scene) -> None:
        """Counts of ended processes are added up, whether they crashed or drained."""
        pair.has_done(0, Counts(5, 1, 2, 3))
        pair.ends(0, "signal SIGSEGV")
        pair.has_done(1, Counts(served=10))
        pair.pool.drain()
        pair.ends(1)
        assert pair.pool.counts == Counts(15, 1, 2, 3)
        assert pair.pool.counts_of(pair.runtime[0]) == Counts(15, 1, 2, 3)

    def test_failure(self, pair: Scene) -> None:
        """Why one of them has not come up is known."""
        assert pair.pool.workers.failure is None
        pair.ends(1)
        pair.ends(2)
        assert pair.pool.workers.failure == "worker w ended with status 0 before it was ready"


class TestDrain:
    def test_all(self, pair: Scene) -> None:
        """Every worker drains; the pool is closed when the last one has exited."""
        closed: list[str] = []
        pair.pool.when_closed(lambda: closed.append("first"))
        pair.pool.drain()
        assert [pair.orders(worker) for worker in range(2)] == [[Drain()], [Drain()]]
        pair.ends(0)
        assert not pair.pool.is_closed
        assert closed == []
        pair.ends(1)
        assert pair.pool.is_closed
        pair.pool.when_closed(lambda: closed.append("second"))
        assert closed == ["first", "second"]

    def test_end(self, pair: Scene) -> None:
        """Draining workers are ordered to stop."""
        pair.pool.drain()
        pair.pool.workers.end()
        assert pair.orders(1) == [Drain(), Stop()]

    def test_nothing_is_left(self, made: list[Scene]) -> None:
        """What the pool has opened is closed with it."""
        before = count_descriptors()
        scene = Scene(service(concurrency="process", processes=4))
        scene.serve()
        scene.pool.suspension.suspend("time")
        scene.pool.suspension.resume("time")
        scene.close()
        assert count_descriptors() == before

    def test_discarded(self, made: list[Scene]) -> None:
        """A pool that never served is ended without a report, and everything is closed."""
        before = count_descriptors()
        scene = Scene(service(processes=2))
        scene.pool.start()
        changes = scene.changes
        scene.pool.discard()
        for worker in range(2):
            assert scene.orders(worker) == [Drain(), Stop()]
            scene.processes[worker].ended("status 0")
        assert scene.pool.is_closed
        assert scene.changes == changes
        scene.reactor.close()
        scene.spawner.close()
        scene._stack.close()
        assert count_descriptors() == before


class TestSuspension:
    """``suspend`` and ``resume`` of the administrator's, ``shutdown()`` of a handler's."""

    def test_when_all_have_said_so(self, pair: Scene, logged: Sequence[LogEvent]) -> None:
        """The Deferred fires and the workers are informed when no worker accepts."""
        done = pair.pool.suspension.suspend("time")
        assert [pair.orders(worker) for worker in range(2)] == [[Suspend("time")]] * 2
        pair.channel(0).says(Suspended("time"))
        assert not done.called
        pair.channel(1).says(Suspended("time"))
        assert done.called
        assert [pair.orders(worker) for worker in range(2)] == [[AllSuspended("time")]] * 2
        assert texts(logged) == ["info: service time is suspended"]
        assert pair.pool.suspension.services == {"time"}

    def test_said_twice(self, pair: Scene) -> None:
        """A worker counts once."""
        done = pair.pool.suspension.suspend("time")
        pair.channel(0).says(Suspended("time"), Suspended("time"))
        assert not done.called

    def test_never_asked(self, pair: Scene) -> None:
        """A worker that says it of itself changes nothing."""
        pair.channel(0).says(Suspended("time"))
        assert pair.pool.suspension.services == set()
        assert pair.orders(0) == []

    def test_one_dies_instead(self, pair: Scene) -> None:
        """A dead worker counts as suspended, and its next process starts suspended."""
        done = pair.pool.suspension.suspend("time")
        pair.channel(0).says(Suspended("time"))
        pair.processes[1].ended("signal SIGSEGV")
        assert done.called
        pair.reactor.advance(0)
        assert pair.is_suspended(2)

    def test_one_that_leaves(self, pair: Scene) -> None:
        """A draining worker is not asked."""
        pair.pool.shrink([1])
        done = pair.pool.suspension.suspend("time")
        assert pair.orders(1) == [Drain()]
        pair.channel(0).says(Suspended("time"))
        assert done.called

    def test_nobody_is_there(self, made: list[Scene]) -> None:
        """Without workers a service is suspended immediately."""
        made.append(scene := Scene(service()))
        assert scene.pool.suspension.suspend("time").called

    def test_again(self, pair: Scene) -> None:
        """A second suspension fires, too."""
        first = pair.pool.suspension.suspend("time")
        for worker in range(2):
            pair.channel(worker).says(Suspended("time"))
        second = pair.pool.suspension.suspend("time")
        for worker in range(2):
            pair.channel(worker).says(Suspended("time"))
        assert first.called
        assert second.called

    def test_two_who_wait(self, pair: Scene) -> None:
        """Both are told."""
        waiting = [pair.pool.suspension.suspend("time") for _ in range(2)]
        for worker in range(2):
            pair.channel(worker).says(Suspended("time"))
        assert all(done.called for done in waiting)

    def test_one_service_of_two(self, made: list[Scene]) -> None:
        """The other one goes on."""
        made.append(scene := Scene(service(), service("date")))
        scene.serve()
        done = scene.pool.suspension.suspend("date")
        scene.channel(0).says(Suspended("time"))
        assert not done.called
        scene.channel(0).says(Suspended("date"))
        assert done.called
        assert scene.orders(0) == [Suspend("date"), AllSuspended("date")]

    def test_resume(self, pair: Scene) -> None:
        """All workers accept again, later ones included."""
        pair.pool.suspension.suspend("time")
        pair.pool.suspension.resume("time")
        assert pair.orders(0) == [Suspend("time"), Resume("time")]
        assert pair.pool.suspension.services == set()
        pair.ends(0, "signal SIGSEGV")
        assert not pair.is_suspended(2)

    def test_resumed_before_all_have_said_so(self, pair: Scene) -> None:
        """A resume fires the Deferred of the suspension."""
        done = pair.pool.suspension.suspend("time")
        pair.pool.suspension.resume("time")
        assert done.called
        pair.channel(0).says(Suspended("time"))
        assert pair.pool.suspension.services == set()

    def test_resumed_by_who_is_told(self, made: list[Scene]) -> None:
        """Several services may be resumed while a worker's end is told of, and it is told."""
        made.append(scene := Scene(service(), service("date")))
        scene.serve()

        def resume(_: None, name: str) -> None:
            scene.pool.suspension.resume(name)

        for name in ("time", "date"):
            scene.pool.suspension.suspend(name).addCallback(resume, name)
        scene.processes[0].ended("signal SIGSEGV")
        assert scene.pool.suspension.services == set()
        assert scene.states == [WorkerState.BACKOFF]

    def test_resume_of_who_leaves(self, pair: Scene) -> None:
        """A draining worker is not resumed."""
        pair.pool.shrink([1])
        pair.orders(1)
        pair.pool.suspension.resume("time")
        assert pair.orders(0) == [Resume("time")]
        assert pair.orders(1) == []

    def test_resume_of_what_is_not_suspended(self, pair: Scene) -> None:
        """It changes nothing."""
        pair.pool.suspension.resume("time")
        assert pair.pool.suspension.services == set()

    def test_shutdown_of_a_handler(self, pair: Scene, logged: Sequence[LogEvent]) -> None:
        """All workers are suspended, its own first, and then told that it is so."""
        pair.channel(0).says(SuspendRequested("time"))
        assert [pair.orders(worker) for worker in range(2)] == [[Suspend("time")]] * 2
        for worker in range(2):
            pair.channel(worker).says(Suspended("time"))
        assert pair.orders(0) == [AllSuspended("time")]
        assert texts(logged) == [
            "info: service time: shutdown() was called",
            "info: service time is suspended",
        ]

    def test_shutdown_of_two_handlers(self, pair: Scene) -> None:
        """The second one waits for the same."""
        pair.channel(0).says(SuspendRequested("time"))
        pair.channel(1).says(SuspendRequested("time"))
        assert [pair.orders(worker) for worker in range(2)] == [[Suspend("time")]] * 2

    def test_shutdown_of_what_is_suspended(self, pair: Scene) -> None:
        """A handler that calls shutdown() of a suspended service is answered immediately."""
        pair.channel(0).says(SuspendRequested("time"))
        for worker in range(2):
            pair.channel(worker).says(Suspended("time"))
            pair.orders(worker)
        pair.channel(1).says(SuspendRequested("time"))
        assert pair.orders(1) == [AllSuspended("time")]

    def test_shutdown_while_it_drains(self, pair: Scene) -> None:
        """A handler that asks while its worker leaves is answered, too."""
        pair.pool.drain()
        pair.orders(0)
        pair.channel(0).says(SuspendRequested("time"))
        assert pair.orders(0) == [AllSuspended("time")]

    def test_recheck(self, pair: Scene) -> None:
        """Changed lists are sent to all workers, and unchanged ones to none."""
        access = Access(deny=("192.0.2.1",))
        pair.pool.workers.recheck(service(processes=2, threads=4, access=access))
        assert pair.orders(1) == [Recheck("time", access)]
        pair.pool.workers.recheck(service(processes=2, threads=4))
        pair.pool.workers.recheck(service("date", access=access))
        assert pair.orders(1) == []


class TestWear:
    """A recycled worker is replaced, and its successor is ready before it drains."""

    def test_takes_over(self, pair: Scene) -> None:
        """It drains when its successor is ready; other workers are not touched."""
        pair.channel(0).says(NeedsRecycling("time", "has served 5 requests"))
        assert len(pair.processes) == 3
        assert pair.index(2) == 2
        assert pair.orders(0) == []
        assert pair.pool.size == 2
        pair.is_ready(2)
        assert pair.orders(0) == [Drain()]
        assert pair.orders(1) == []
        pair.ends(0)
        assert pair.pool.size == 2
        assert len(pair.processes) == 3

    def test_says_it_again(self, pair: Scene) -> None:
        """One successor is enough."""
        for _ in range(3):
            pair.channel(0).says(NeedsRecycling("time", "is old"))
        assert len(pair.processes) == 3

    def test_the_successor_is_not_counted(self, elastic: Scene) -> None:
        """A successor is not drained instead of another worker."""
        elastic.channel(0).says(NeedsRecycling("time", "is old"))
        assert [view.index for view in elastic.pool.views()] == [0]
        elastic.is_ready(1)
        assert [view.index for view in elastic.pool.views()] == [1]

    def test_the_successor_dies(self, pair: Scene) -> None:
        """It tries again, and the old one serves meanwhile."""
        pair.channel(0).says(NeedsRecycling("time", "is old"))
        pair.ends(2, "status 1")
        assert pair.orders(0) == []
        pair.is_ready(3)
        assert pair.orders(0) == [Drain()]

    def test_the_old_one_leaves_first(self, elastic: Scene) -> None:
        """If the replaced worker drains early, its successor stays as an ordinary worker."""
        elastic.pool.grow(1)
        elastic.is_ready(1)
        elastic.channel(1).says(NeedsRecycling("time", "is old"))
        elastic.pool.shrink([1])
        assert elastic.pool.size == 2
        elastic.ends(1)
        assert elastic.pool.size == 2
        elastic.pool.grow(1)
        elastic.is_ready(3)
        elastic.is_ready(2)
        assert elastic.orders(3) == []
        assert elastic.states == [WorkerState.SERVING] * 3

    def test_all_at_once(self, pair: Scene) -> None:
        """Every worker may have its successor at the same time."""
        for worker in range(2):
            pair.channel(worker).says(NeedsRecycling("time", "is old"))
        assert len(pair.processes) == 4
        pair.is_ready(2, 3)
        assert pair.pool.size == 2
        assert [pair.orders(worker) for worker in range(2)] == [[Drain()]] * 2

    def test_no_room(self, pair: Scene) -> None:
        """Without a free block the next recycled worker waits until one has exited."""
        for worker in range(2):
            pair.channel(worker).says(NeedsRecycling("time", "is old"))
        pair.is_ready(2, 3)
        pair.channel(2).says(NeedsRecycling("time", "is old"))
        assert len(pair.processes) == 4
        assert pair.orders(2) == []
        pair.ends(0)
        assert len(pair.processes) == 5

    def test_while_it_drains(self, pair: Scene) -> None:
        """A draining worker gets no successor."""
        pair.pool.drain()
        pair.channel(0).says(NeedsRecycling("time", "is old"))
        assert len(pair.processes) == 2


def test_iterates_over_its_workers(pair: Scene) -> None:
    """In the order in which they were made."""
    assert [type(place) for place in pair.pool] == [WorkerHandle] * 2
    assert [place.index for place in pair.pool] == [0, 1]
