"""A worker's whole life as the daemon sees it, without a process."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from twisted.logger import LogEvent, capturedLogs

from netd.daemon.states import WorkerState
from netd.daemon.workers.runtime import ServiceRuntime, WorkerSpec, WorkerTools
from netd.daemon.workers.worker import (
    END_DEADLINE,
    LAST_WORDS,
    SHOWN,
    START_DEADLINE,
    WorkerHandle,
)
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Counts, Scoreboard
from netd.ipc.worker import (
    LONGEST_REPORT,
    Drain,
    HandlerHung,
    LogLines,
    NeedsRecycling,
    Ready,
    Report,
    StartFailed,
    StartWorker,
    Stop,
    Suspended,
    SuspendRequested,
    encode_report,
)
from netd.model.address import InetAddress, Transport
from netd.model.log import WorkerLog
from netd.model.service import Reference, Runs, Service
from tests.daemon.fakes import (
    Adopted,
    FakeProcess,
    FakeReactor,
    FakeSpawner,
    framed,
    texts,
)
from tests.descriptors import count_descriptors

THREADS = 16
PLACES = 3
INDEX = 1
"""Index of the worker under test. Other workers have the blocks before and after its own."""

WORKER_LOG = WorkerLog("json", "warn", connections=False)


def service(name: str, listeners: int) -> Service:
    addresses = tuple(InetAddress(Transport.TCP, port) for port in range(listeners))
    return Service(
        name,
        addresses,
        Runs("handler", Reference("m", "H")),
        "time",
        threads=THREADS,
        processes=PLACES - 1,
    )


class Scene:
    """A worker for two services, and everything around it; it is the worker's owner, too."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.spawner = FakeSpawner()
        self.runtime = [self._runtime("time", 2), self._runtime("date", 1)]
        self.lines: list[str] = []
        self.states: list[WorkerState] = []
        self.suspended_services: set[str] = set()
        self.said: list[tuple[str, str]] = []
        spec = WorkerSpec("time", tuple(self.runtime), ("/srv/handlers",), 7.5)
        tools = WorkerTools(self.reactor, self.spawner, self.lines.append)
        self.worker = WorkerHandle(spec, INDEX, WORKER_LOG, tools, self, self)

    def _runtime(self, name: str, listeners: int) -> ServiceRuntime:
        made = service(name, listeners)
        page = Scoreboard.make(name, Geometry.of(made))
        sockets = tuple(socket.socket() for _ in range(listeners))
        return ServiceRuntime(made, sockets, page, Scoreboard(page, Geometry.of(made)))

    @property
    def counts(self) -> Counts:
        """The counts of the processes that have ended, over all services."""
        return sum(self.worker.blocks.past_counts.values(), Counts())

    # WorkerOwner and ServiceControl.

    def changed(self, worker: WorkerHandle) -> None:
        assert worker is self.worker
        self.states.append(worker.state)

    def is_suspended(self, service: str) -> bool:
        return service in self.suspended_services

    def shutdown_called(self, service: str) -> None:
        self.said.append(("shutdown", service))

    def stopped_accepting(self, worker: WorkerHandle, service: str) -> None:
        assert worker is self.worker
        self.said.append(("stopped accepting", service))

    def recycle(self, worker: WorkerHandle) -> None:
        assert worker is self.worker
        self.said.append(("recycle", ""))

    # What happens.

    @property
    def process(self) -> FakeProcess:
        return self.spawner.processes[-1]

    @property
    def channel(self) -> Adopted:
        return self.reactor.adopted[-1]

    def serve(self) -> None:
        """Start the worker and report that it is ready."""
        self.worker.start()
        self.channel.says(Ready())
        self.channel.transport.orders()

    def holds(self, *clients: str, of: int = 0) -> None:
        """Make connections of the worker active, in its first service or another one."""
        page = self._page(of)
        block = page.block(INDEX)
        for number, client in enumerate(clients):
            block.begin(0, 0, None, client, None, float(number))
        page.close()

    def has_done(self, counts: Counts, of: int = 0, lane: int = 0) -> None:
        """Write counts into a lane of the worker."""
        page = self._page(of)
        own = page.block(INDEX).lanes[lane]
        own.served, own.refused, own.failed, own.dropped, own.truncated = vars(counts).values()
        own.publish()
        page.close()

    def _page(self, of: int) -> Scoreboard:
        """A mapping of its own, as a worker has it."""
        return Scoreboard(self.runtime[of].page, self.runtime[of].board.geometry)

    def close(self) -> None:
        self.reactor.close()
        self.spawner.close()
        for runtime in self.runtime:
            runtime.board.close()
            os.close(runtime.page)
            for listener in runtime.listeners:
                listener.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Make every call that needs a new descriptor fail with EMFILE."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class TestStart:
    def test_order(self, scene: Scene) -> None:
        """The first order has the worker's name, its services and their descriptors."""
        scene.worker.start()
        [order] = scene.channel.transport.orders()
        assert isinstance(order, StartWorker)
        assert (order.worker, order.python_path) == ("time", ("/srv/handlers",))
        assert order.graceful_timeout == 7.5
        assert order.log == WORKER_LOG
        assert [start.service for start in order.services] == [
            runtime.service for runtime in scene.runtime
        ]

    def test_descriptors(self, scene: Scene) -> None:
        """Each number in the order is, in the worker, the page or listener that it should be."""
        scene.worker.start()
        [order] = scene.channel.transport.orders()
        assert isinstance(order, StartWorker)
        theirs = dict(scene.process.descriptors)
        assert sorted(theirs) == [3, 4, 5, 6, 7, 8]
        for start, runtime in zip(order.services, scene.runtime, strict=True):
            assert theirs[start.scoreboard] == runtime.page
            assert [theirs[number] for number in start.listeners] == [
                listener.fileno() for listener in runtime.listeners
            ]

    def test_index(self, scene: Scene) -> None:
        """A worker writes the block of its own index in each scoreboard."""
        scene.worker.start()
        [order] = scene.channel.transport.orders()
        assert isinstance(order, StartWorker)
        for start, runtime in zip(order.services, scene.runtime, strict=True):
            assert start.index == INDEX
            assert runtime.board.geometry.lanes == runtime.board.geometry.records == THREADS
            assert runtime.board.geometry.workers - 1 > INDEX

    def test_suspended(self, scene: Scene) -> None:
        """A worker is told at its start of which services nothing is to be taken."""
        scene.suspended_services.add("date")
        scene.worker.start()
        [order] = scene.channel.transport.orders()
        assert isinstance(order, StartWorker)
        assert [start.suspended for start in order.services] == [False, True]

    def test_pid(self, scene: Scene) -> None:
        """The pid of the process, or None if there is none."""
        assert scene.worker.pid is None
        scene.worker.start()
        assert scene.worker.pid == scene.process.pid
        scene.process.ended("status 1")
        assert scene.worker.pid is None

    def test_channel(self, scene: Scene) -> None:
        """What the worker has as descriptor 3 is the other end of what the reactor reads."""
        scene.worker.start()
        scene.process.channel.sendall(b"hello")
        assert scene.channel.socket.recv(5) == b"hello"

    def test_nobody_else_holds_the_channel(self, scene: Scene) -> None:
        """When the worker ends, the channel does, and the other way round."""
        for ends in (True, False):
            scene.worker.start()
            here, there = scene.channel.socket, scene.process.channel
            first, other = (there, here) if ends else (here, there)
            first.close()
            assert other.recv(1) == b""
            scene.process.ended("status 0")
            scene.reactor.advance(0)
            scene = Scene() if ends else scene
        scene.close()

    def test_named(self, scene: Scene) -> None:
        """The process carries the worker's name, as ps shows it."""
        scene.worker.start()
        assert scene.process.name == "time"

    def test_ready(self, scene: Scene) -> None:
        """A worker that is ready serves, and its start deadline is cleared."""
        scene.serve()
        assert scene.states == [WorkerState.STARTING, WorkerState.SERVING]
        assert scene.reactor.getDelayedCalls() == []

    def test_only_once(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A worker that has a process gets no second one, even if it is started twice."""
        scene.serve()
        scene.worker.start()
        assert len(scene.spawner.processes) == 1
        assert scene.states == [WorkerState.STARTING, WorkerState.SERVING]
        assert "worker time: start while serving, which is an error" in texts(logged)[-1]

    def test_too_slow(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A worker that is not ready after a minute is killed, and replaced once it is dead."""
        scene.worker.start()
        scene.reactor.advance(START_DEADLINE - 0.1)
        assert not scene.process.killed
        scene.reactor.advance(0.1)
        assert scene.process.killed == 1
        assert texts(logged) == ["error: worker time is not ready after 60 s; it is ended"]
        scene.process.ended("signal SIGKILL")
        scene.reactor.advance(0)
        assert len(scene.spawner.processes) == 2


class TestCannotStart:
    def test_spawning_fails(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """Without room for one more process, netd says so and tries again."""
        scene.spawner.failures = [OSError(errno.EAGAIN, "no process left")]
        scene.worker.start()
        assert scene.worker.state is WorkerState.BACKOFF
        assert texts(logged)[0] == (
            "error: worker time cannot be started: [Errno 11] no process left"
        )
        scene.reactor.advance(0)
        assert scene.worker.state is WorkerState.STARTING
        scene.channel.says(Ready())
        assert scene.worker.state is WorkerState.SERVING

    def test_it_goes_on_failing(self, scene: Scene) -> None:
        """Tries that fail come less and less often, and the one that does not fail serves."""
        scene.spawner.failures = [OSError(errno.EAGAIN, "no process left") for _ in range(5)]
        scene.worker.start()
        scene.reactor.pump([0, 0.1, 0.2, 0.4])
        assert not scene.spawner.processes
        scene.reactor.advance(0.8)
        assert scene.worker.state is WorkerState.STARTING

    def test_no_descriptors(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """Without descriptors for the channel, too, the error is logged and the start repeated."""
        with no_more_descriptors():
            scene.worker.start()
        assert scene.worker.state is WorkerState.BACKOFF
        assert texts(logged)[0] == (
            "error: worker time cannot be started: [Errno 24] Too many open files"
        )
        scene.reactor.advance(0)
        assert scene.worker.state is WorkerState.STARTING

    def test_drained_before_the_next_try(self, scene: Scene) -> None:
        """A stop does not wait for a worker that never came up."""
        scene.spawner.failures = [OSError(errno.EAGAIN, "no process left")]
        scene.worker.start()
        scene.worker.drain()
        assert scene.worker.state is WorkerState.CLOSED
        scene.reactor.advance(60)
        assert not scene.spawner.processes

    def test_nothing_stays_open(self, scene: Scene) -> None:
        """A try that fails gives both ends of its channel back."""
        before = count_descriptors()
        scene.spawner.failures = [OSError(errno.EAGAIN, "no process left") for _ in range(5)]
        scene.worker.start()
        scene.reactor.pump([0, 0.1, 0.2])
        scene.reactor.close()
        assert count_descriptors() == before


class TestDeath:
    def test_counted(self, scene: Scene) -> None:
        """What a worker had done is kept when it dies, and its page is clean for the next."""
        scene.serve()
        scene.has_done(Counts(5, 1, 2, 3))
        scene.has_done(Counts(10, 0, 0, 0), lane=3)
        scene.has_done(Counts(100, 0, 0, 0), of=1)
        scene.process.ended("signal SIGSEGV")
        assert scene.counts == Counts(115, 1, 2, 3)
        assert scene.runtime[0].board.counts() == scene.runtime[1].board.counts() == Counts()
        scene.reactor.advance(0)
        scene.has_done(Counts(1, 1, 1, 1))
        scene.process.ended("signal SIGSEGV")
        assert scene.counts == Counts(116, 2, 3, 4)

    def test_others_are_left_alone(self, scene: Scene) -> None:
        """The blocks of other workers on the same page are not cleared."""
        scene.serve()
        page = Scoreboard(scene.runtime[0].page, scene.runtime[0].board.geometry)
        for index in (INDEX - 1, INDEX + 1):
            block = page.block(index)
            block.lanes[0].served = 7
            block.lanes[0].publish()
            block.begin(0, 0, None, "another's", None, 1.0)
        page.close()
        scene.process.ended("signal SIGSEGV")
        assert scene.counts == Counts()
        assert scene.runtime[0].board.counts() == Counts(served=14)
        assert len(scene.runtime[0].board.active_connections()) == 2

    def test_by_service(self, scene: Scene) -> None:
        """What was done is known for each of the services that share the worker."""
        scene.serve()
        scene.has_done(Counts(5, 1, 2, 3))
        scene.has_done(Counts(10, 0, 0, 0), of=1)
        scene.process.ended("status 1")
        scene.reactor.advance(0)
        scene.has_done(Counts(1, 0, 0, 0), of=1)
        scene.process.ended("status 1")
        assert scene.worker.blocks.past_counts == {"time": Counts(5, 1, 2, 3), "date": Counts(11)}

    def test_no_delay_for_who_has_served(self, scene: Scene) -> None:
        """A worker that died of a request is replaced immediately, however often."""
        scene.serve()
        for number in range(20):
            if number % 2:
                scene.has_done(Counts(served=1))
            else:
                scene.holds("192.0.2.1:50001")
            scene.process.ended("signal SIGSEGV")
            scene.reactor.advance(0)
            assert scene.worker.state is WorkerState.STARTING
            scene.channel.says(Ready())

    def test_delay_for_who_has_only_refused(self, scene: Scene) -> None:
        """A refused connection does not count as served."""
        scene.serve()
        for expected in (WorkerState.STARTING, WorkerState.BACKOFF):
            scene.has_done(Counts(refused=3))
            scene.process.ended("status 1")
            scene.reactor.advance(0)
            assert scene.worker.state is expected

    def test_lost_clients_are_named(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """One line names the worker, how it ended, and the lost clients of all services."""
        scene.serve()
        scene.holds("192.0.2.1:50001", "192.0.2.2:50002")
        scene.holds("uid:1000", of=1)
        scene.process.ended("signal SIGSEGV")
        assert texts(logged) == [
            "error: worker time (pid 101) ended with signal SIGSEGV; "
            "3 connections (192.0.2.1:50001, 192.0.2.2:50002, uid:1000) lost; the next in 0 s"
        ]
        assert scene.runtime[0].board.active_connections() == []

    def test_none_lost(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """The line of a worker that dies without connections says so."""
        scene.serve()
        scene.process.ended("status 3")
        assert "ended with status 3; no connection lost" in texts(logged)[0]

    def test_one_lost(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A single client is not spoken of in the plural."""
        scene.serve()
        scene.holds("192.0.2.1:50001")
        scene.process.ended("status 3")
        assert "; 1 connection (192.0.2.1:50001) lost;" in texts(logged)[0]

    def test_very_many_lost(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A line stays readable when thousands are lost: ten names, and the rest a number."""
        scene.serve()
        scene.holds(*(f"c{number}" for number in range(SHOWN + 2)))
        scene.process.ended("status 3")
        assert "; 12 connections (c0, c1, " in texts(logged)[0]
        assert ", c9 and 2 more) lost;" in texts(logged)[0]

    def test_delays(self, scene: Scene) -> None:
        """Workers that die in a row are replaced immediately, after 0.1 s, 0.2 s … 10 s."""
        scene.worker.start()
        for delay in (0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10):
            started = len(scene.spawner.processes)
            scene.process.ended("status 1")
            assert scene.worker.state is WorkerState.BACKOFF
            if delay:
                scene.reactor.advance(delay * 0.99)
                assert len(scene.spawner.processes) == started
            scene.reactor.advance(delay * 0.0101)
            assert len(scene.spawner.processes) == started + 1

    def test_delays_after_stable_serving(self, scene: Scene) -> None:
        """A worker that served for long is replaced immediately."""
        scene.serve()
        for delay in (0, 0.1, 0.2):
            scene.process.ended("status 1")
            scene.reactor.advance(delay)
        scene.channel.says(Ready())
        scene.reactor.advance(10)
        scene.process.ended("status 1")
        scene.reactor.advance(0)
        assert scene.worker.state is WorkerState.STARTING

    def test_slow_start_is_not_stable_serving(self, scene: Scene) -> None:
        """Only the time after "ready" counts: imports of a minute do not."""
        scene.worker.start()
        for expected in (WorkerState.STARTING, WorkerState.BACKOFF):
            scene.reactor.advance(30)
            scene.process.ended("status 1")
            scene.reactor.advance(0)
            assert scene.worker.state is expected

    def test_restarts_for_hours(self, scene: Scene) -> None:
        """A worker that dies at every start is still replaced after three hours of it."""
        scene.worker.start()
        for number in range(1100):
            scene.process.ended("status 1")
            scene.reactor.advance(10)
            scene.process.channel.close()
            scene.channel.socket.close()
            assert len(scene.spawner.processes) == number + 2

    def test_what_it_printed_is_logged(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """Lines on its standard error, such as faulthandler's, are logged under its name."""
        scene.serve()
        scene.process.wrote("Fatal Python error: Segmentation fault")
        assert texts(logged) == ["warn: worker time: Fatal Python error: Segmentation fault"]


class TestReports:
    def test_lines(self, scene: Scene) -> None:
        """A worker's log goes on as it is."""
        scene.serve()
        scene.channel.says(LogLines("one\ntwo\n"), LogLines("three\n"))
        assert scene.lines == ["one\ntwo\n", "three\n"]

    def test_failed(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """Why a worker cannot serve is logged, with the service; it leaves by itself."""
        scene.worker.start()
        scene.channel.says(StartFailed("date", 'there is no module "calendars" (/srv/handlers)'))
        assert texts(logged) == [
            'error: service date: there is no module "calendars" (/srv/handlers)'
        ]
        assert not scene.process.killed

    def test_failed_read_after_the_end(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """The reason is logged although the process was reaped before its report was read."""
        scene.worker.start()
        channel = scene.channel
        scene.process.ended("status 0")
        channel.says(StartFailed("date", "no"))
        assert texts(logged)[-1] == "error: service date: no"

    def test_last_lines(self, scene: Scene) -> None:
        """What a process logged before it ended is not lost with it."""
        scene.serve()
        channel = scene.channel
        scene.process.ended("status 0")
        channel.says(LogLines("last\n"))
        assert scene.lines == ["last\n"]

    def test_the_channel_of_a_dead_process_is_closed(self, scene: Scene) -> None:
        """Its children may hold the other end for ever; a second is enough for last words."""
        scene.serve()
        channel = scene.channel
        scene.process.ended("status 0")
        assert not channel.transport.disconnecting
        scene.reactor.advance(LAST_WORDS)
        assert channel.transport.disconnecting

    def test_ready_of_a_dead_process(self, scene: Scene) -> None:
        """A "ready" that was under way when its process died is not the next one's."""
        scene.worker.start()
        channel = scene.channel
        scene.process.ended("status 1")
        channel.says(Ready())
        assert scene.worker.state is WorkerState.BACKOFF
        scene.reactor.advance(0)
        channel.says(Ready())
        assert scene.worker.state is WorkerState.STARTING

    @pytest.mark.parametrize(
        "junk",
        [
            b"",
            b"no JSON",
            b"\xff\xfe",
            b'["Unknown", {}]',
            b'["Ready", {"extra": "x"}]',
            b'["Ready", []]',
            b'["Lines", ["text"]]',
            b'["Lines", {"text": 5}]',
            b"[" * 100_000,
        ],
        ids=lambda junk: repr(junk[:20]),
    )
    def test_junk(self, scene: Scene, logged: Sequence[LogEvent], junk: bytes) -> None:
        """A worker that says what is no report is killed, with a line that shows it."""
        scene.serve()
        scene.channel.writes(framed(junk))
        assert scene.process.killed == 1
        [said] = texts(logged)
        assert said.startswith("error: worker time sent an invalid report (")
        assert said.endswith("); it is ended")
        assert len(said) < 300

    def test_too_long(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A report that claims to be huge is not waited for."""
        scene.serve()
        scene.channel.writes((LONGEST_REPORT + 1).to_bytes(4) + b"x" * 100)
        assert scene.process.killed == 1
        assert texts(logged) == [
            "error: worker time sent a report that is too long (8388609 bytes); it is ended"
        ]

    def test_the_longest(self, scene: Scene) -> None:
        """A report of exactly the longest size is understood."""
        scene.serve()
        frame = len(encode_report(LogLines("")))
        scene.channel.says(LogLines("x" * (LONGEST_REPORT - frame)))
        assert not scene.process.killed
        assert len(scene.lines[0]) == LONGEST_REPORT - frame

    def test_in_pieces(self, scene: Scene) -> None:
        """A report may come in as many pieces as it likes."""
        scene.serve()
        for byte in framed(encode_report(LogLines("x"))):
            scene.channel.writes(bytes([byte]))
        assert scene.lines == ["x"]

    def test_nothing_is_heard_after_junk(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """Junk is logged once, however much follows before the process ends."""
        scene.serve()
        scene.channel.writes(framed(b"junk") * 3 + framed(encode_report(LogLines("x"))))
        scene.channel.writes(framed(b"junk"))
        assert (scene.process.killed, len(logged), scene.lines) == (1, 1, [])

    def test_ready_twice(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A worker that is ready again while it serves is not to be trusted."""
        scene.serve()
        scene.channel.says(Ready())
        assert scene.process.killed == 1
        assert "worker time sent ready twice" in texts(logged)[0]

    @pytest.mark.parametrize(
        ("report", "said"),
        [
            (SuspendRequested("date"), ("shutdown", "date")),
            (Suspended("time"), ("stopped accepting", "time")),
            (NeedsRecycling("time", "has served 5 requests"), ("recycle", "")),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_for_the_owner(self, scene: Scene, report: Report, said: tuple[str, str]) -> None:
        """What concerns all workers of a service is passed on."""
        scene.serve()
        scene.channel.says(report)
        assert scene.said == [said]
        assert not scene.process.killed

    @pytest.mark.parametrize("state", ["starting", "draining"])
    def test_for_the_owner_at_any_time(self, scene: Scene, state: str) -> None:
        """A handler may ask while its worker leaves, and another service's while it starts."""
        scene.worker.start()
        if state == "draining":
            scene.worker.drain()
        scene.channel.says(SuspendRequested("time"), Suspended("time"))
        assert scene.said == [("shutdown", "time"), ("stopped accepting", "time")]

    def test_for_the_owner_of_a_dead_process(self, scene: Scene) -> None:
        """A late report of a dead process does not count for the next one."""
        scene.serve()
        channel = scene.channel
        scene.process.ended("status 1")
        scene.reactor.advance(0)
        channel.says(
            SuspendRequested("time"),
            Suspended("time"),
            NeedsRecycling("time", "is old"),
            HandlerHung("time"),
        )
        assert scene.said == []
        assert not scene.process.killed

    @pytest.mark.parametrize(
        "report",
        [
            SuspendRequested("week"),
            Suspended(""),
            NeedsRecycling("Time", "is old"),
            HandlerHung("week"),
        ],
    )
    def test_of_a_foreign_service(
        self, scene: Scene, logged: Sequence[LogEvent], report: Report
    ) -> None:
        """A worker that speaks of what is not its own is not to be trusted."""
        scene.serve()
        scene.channel.says(report)
        assert (scene.process.killed, scene.said) == (1, [])
        [text] = texts(logged)
        assert text.startswith(
            "error: worker time sent a report about a service that it does not run"
        )

    def test_hung(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A worker that reports a hanging handler is ended, and that is logged."""
        scene.serve()
        scene.channel.says(HandlerHung("date"))
        assert scene.process.killed == 1
        assert texts(logged) == ["error: worker time hangs in service date; it is ended"]

    def test_recycle(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """Why a worker is replaced is logged."""
        scene.serve()
        scene.channel.says(NeedsRecycling("time", "has served 5 requests"))
        assert texts(logged) == [
            "info: worker time (pid 101) has served 5 requests; it is replaced"
        ]

    def test_junk_of_a_dead_process(self, scene: Scene) -> None:
        """What a dead process's children write does not cost the next one its life."""
        scene.serve()
        channel = scene.channel
        scene.process.ended("status 1")
        scene.reactor.advance(0)
        channel.writes(framed(b"junk"))
        assert len(scene.spawner.processes) == 2
        assert not scene.process.killed

    def test_failure(self, scene: Scene) -> None:
        """Why a worker has not come up is remembered until one does."""
        scene.worker.start()
        assert scene.worker.failure is None
        scene.channel.says(StartFailed("date", "no"))
        scene.process.ended("status 0")
        assert scene.worker.failure == "services.date: no"
        scene.reactor.advance(0)
        scene.channel.says(Ready())
        assert scene.worker.failure is None

    def test_failure_without_a_word(self, scene: Scene) -> None:
        """A worker that dies before it is ready, and says nothing, has failed as well."""
        scene.worker.start()
        scene.process.ended("signal SIGKILL")
        expected = "worker time ended with signal SIGKILL before it was ready"
        assert scene.worker.failure == expected

    def test_failure_of_a_dead_process(self, scene: Scene) -> None:
        """Its last words, read late, say nothing about the one that has come up since."""
        scene.worker.start()
        channel = scene.channel
        scene.process.ended("status 0")
        scene.reactor.advance(0)
        scene.channel.says(Ready())
        channel.says(StartFailed("date", "no"))
        assert scene.worker.failure is None

    def test_cut_off(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A process without its channel gets no orders, so it is ended."""
        scene.serve()
        scene.channel.protocol.connectionLost()
        scene.reactor.advance(LAST_WORDS - 0.1)
        assert not scene.process.killed
        scene.reactor.advance(0.1)
        assert scene.process.killed == 1
        assert texts(logged) == ["error: worker time has closed its channel; it is ended"]

    def test_closed_channel(self, scene: Scene) -> None:
        """A channel that ends says nothing yet: the process's own end counts."""
        scene.serve()
        scene.channel.protocol.connectionLost()
        assert scene.worker.state is WorkerState.SERVING


class TestDrain:
    def test_empty(self, scene: Scene) -> None:
        """A worker that never had a process is closed immediately."""
        scene.worker.drain()
        assert scene.states == [WorkerState.CLOSED]

    def test_starting(self, scene: Scene) -> None:
        """A worker told to drain while it starts may say "ready", and leaves."""
        scene.worker.start()
        scene.worker.drain()
        assert scene.channel.transport.orders()[1:] == [Drain()]
        scene.channel.says(Ready())
        assert scene.worker.state is WorkerState.DRAINING
        scene.process.ended("status 0")
        assert scene.states[-1] is WorkerState.CLOSED

    def test_starting_is_not_waited_for(self, scene: Scene) -> None:
        """It has no connection, and its import may take long."""
        scene.worker.start()
        scene.worker.drain()
        scene.reactor.advance(END_DEADLINE - 0.1)
        assert not scene.process.killed
        scene.reactor.advance(0.1)
        assert scene.process.killed

    def test_ready_after_that_is_waited_for(self, scene: Scene) -> None:
        """The deadline of a start is not one for handlers that finish."""
        scene.worker.start()
        scene.worker.drain()
        scene.channel.says(Ready())
        scene.reactor.advance(START_DEADLINE)
        assert not scene.process.killed

    def test_about_to_be_ready_is_waited_for(self, scene: Scene) -> None:
        """Its word may still be on its way when it has a client."""
        scene.worker.start()
        scene.holds("192.0.2.1:50001")
        scene.worker.drain()
        scene.reactor.advance(START_DEADLINE)
        assert not scene.process.killed

    def test_ready_does_not_prolong_an_end(self, scene: Scene) -> None:
        """A worker that was ordered to stop is killed at last, whatever it reports."""
        scene.worker.start()
        scene.worker.drain()
        scene.worker.end()
        scene.channel.says(Ready())
        scene.reactor.advance(END_DEADLINE)
        assert scene.process.killed

    def test_serving(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A serving worker is ordered to drain, waited for, and not replaced."""
        scene.serve()
        scene.has_done(Counts(served=3))
        scene.worker.drain()
        assert scene.channel.transport.orders() == [Drain()]
        assert scene.worker.state is WorkerState.DRAINING
        scene.process.ended("status 0")
        scene.reactor.advance(60)
        assert scene.states == [
            WorkerState.STARTING,
            WorkerState.SERVING,
            WorkerState.DRAINING,
            WorkerState.CLOSED,
        ]
        assert len(scene.spawner.processes) == 1
        assert scene.counts == Counts(served=3)
        assert logged == []

    def test_waiting(self, scene: Scene) -> None:
        """Without a process the worker closes immediately, and none is started."""
        scene.serve()
        scene.process.ended("status 1")
        scene.worker.drain()
        assert scene.worker.state is WorkerState.CLOSED
        scene.reactor.advance(60)
        assert len(scene.spawner.processes) == 1

    def test_again(self, scene: Scene) -> None:
        """A second drain changes nothing, in the middle or at the end."""
        scene.serve()
        scene.worker.drain()
        scene.worker.drain()
        assert scene.channel.transport.orders() == [Drain()]
        scene.process.ended("status 0")
        scene.worker.drain()
        assert scene.worker.state is WorkerState.CLOSED

    def test_dies_while_draining(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """A worker that crashes while it drains is not replaced; its lost clients are logged."""
        scene.serve()
        scene.holds("192.0.2.1:50001")
        scene.worker.drain()
        scene.process.ended("signal SIGSEGV")
        assert scene.worker.state is WorkerState.CLOSED
        assert texts(logged) == [
            "error: worker time (pid 101) ended with signal SIGSEGV; "
            "1 connection (192.0.2.1:50001) lost"
        ]


class TestEnd:
    def test_stop_then_kill(self, scene: Scene) -> None:
        """When the time of its handlers is over, a worker is told, and after a second killed."""
        scene.serve()
        scene.worker.drain()
        scene.channel.transport.orders()
        scene.worker.end()
        assert scene.channel.transport.orders() == [Stop()]
        scene.reactor.advance(END_DEADLINE - 0.01)
        assert not scene.process.killed
        scene.reactor.advance(0.01)
        assert scene.process.killed == 1

    def test_it_obeys(self, scene: Scene) -> None:
        """A worker that leaves when told to is not killed."""
        scene.serve()
        scene.worker.drain()
        scene.worker.end()
        scene.process.ended("status 0")
        scene.reactor.advance(60)
        assert scene.worker.state is WorkerState.CLOSED
        assert not scene.process.killed

    def test_whom_it_cuts_off(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """The clients still served are logged, by service, before the worker is stopped."""
        scene.serve()
        scene.holds("192.0.2.1:50001", "192.0.2.2:50002")
        scene.holds("uid:1000", of=1)
        scene.worker.drain()
        scene.worker.end()
        assert texts(logged) == [
            "warn: service time: 2 connections (192.0.2.1:50001, 192.0.2.2:50002) "
            "still served when the time was over",
            "warn: service date: 1 connection (uid:1000) still served when the time was over",
        ]

    def test_only_who_drains(self, scene: Scene) -> None:
        """A worker that was not asked to drain is not ended."""
        scene.worker.end()
        scene.serve()
        scene.worker.end()
        assert scene.channel.transport.orders() == []
        scene.reactor.advance(60)
        assert not scene.process.killed

    def test_a_worker_that_starts(self, scene: Scene) -> None:
        """An import that hangs holds up a stop no longer than handlers may."""
        scene.worker.start()
        scene.worker.drain()
        scene.worker.end()
        assert scene.channel.transport.orders()[1:] == [Drain(), Stop()]
        scene.reactor.advance(END_DEADLINE)
        assert scene.process.killed == 1

    def test_kill(self, scene: Scene) -> None:
        """kill() kills the process, and does nothing without one."""
        scene.worker.kill()
        scene.serve()
        scene.worker.drain()
        scene.worker.kill()
        scene.process.ended("signal SIGKILL")
        scene.worker.kill()
        assert scene.process.killed == 1
        assert scene.worker.state is WorkerState.CLOSED
