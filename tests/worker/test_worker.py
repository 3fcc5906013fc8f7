"""``netd.worker.worker``: a worker obeys its daemon; its services are fakes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from netd.admission.lists import AccessLists
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.ipc.worker import (
    AllSuspended,
    Disconnect,
    Drain,
    HandlerHung,
    NeedsRecycling,
    Ready,
    Recheck,
    Report,
    Resume,
    ServiceStart,
    StartFailed,
    StartWorker,
    Suspend,
    Suspended,
    SuspendRequested,
)
from netd.model.address import InetAddress, Transport
from netd.model.service import Access, Reference, Runs, Service
from netd.worker.build.context import ServiceContext
from netd.worker.importing import CannotImport
from netd.worker.worker import Worker
from tests.daemon.fakes import Adopted, FakeReactor
from tests.reactors import PATIENCE


class FakeExecution:
    """A service that records its calls."""

    def __init__(self, context: ServiceContext, told: list[tuple[str, str]]) -> None:
        self.context = context
        self.name = context.service.name
        self.lists: AccessLists | None = None
        self.stopped: Callable[[], None] | None = None
        self._told = told

    def _is(self, what: str) -> None:
        self._told.append((self.name, what))

    def start(self, accepting: bool = True) -> None:
        self._is("start" if accepting else "start without taking")

    def suspend(self) -> None:
        self._is("suspend")

    def resume(self) -> None:
        self._is("resume")

    def stop(self, stopped: Callable[[], None]) -> None:
        self._is("stop")
        self.stopped = stopped

    def disconnect(self, connection: int) -> None:
        self._is(f"disconnect {connection}")

    def recheck(self, lists: AccessLists) -> None:
        self.lists = lists

    def kill(self) -> None:
        self._is("kill")


class Scene:
    """A worker of two services, and its daemon."""

    def __init__(self, *suspended: str) -> None:
        self._stack = ExitStack()
        self.reactor = FakeReactor()
        self.told: list[tuple[str, str]] = []
        self.services: dict[str, FakeExecution] = {}
        starts = [self._start(number, name, suspended) for number, name in enumerate(NAMES)]
        self.worker = Worker(self.reactor, StartWorker("w", tuple(starts), (), 5.0), self._join)

    def _start(self, number: int, name: str, suspended: tuple[str, ...]) -> ServiceStart:
        service = Service(
            name,
            (InetAddress(Transport.TCP, 0),),
            Runs("handler", Reference("m", "H")),
            "w",
            threads=2,
            processes=3,
        )
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        page = Scoreboard.make(name, Geometry.of(service))
        return ServiceStart(service, (os.dup(listener.fileno()),), page, number, name in suspended)

    def _join(self, context: ServiceContext) -> FakeExecution:
        for bound in context.listeners:
            self._stack.enter_context(bound.socket)
            self._stack.enter_context(bound.shown)
        self.services[context.service.name] = FakeExecution(context, self.told)
        return self.services[context.service.name]

    def begin(self) -> None:
        """Connect the worker with its daemon."""
        assert self.worker.prepare() is None
        ours, theirs = socket.socketpair()
        self._stack.enter_context(theirs)
        self.worker.connect(ours)

    @property
    def daemon(self) -> Adopted:
        return self.reactor.adopted[-1]

    @property
    def reports(self) -> list[Report]:
        """The worker's reports since the daemon last read."""
        self.reactor.advance(0)
        return self.daemon.transport.reports()

    @property
    def has_left(self) -> bool:
        return bool(self.daemon.transport.disconnecting)

    def close(self) -> None:
        self.reactor.close()
        self._stack.close()


NAMES = ("time", "date")


@pytest.fixture
def made() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


@pytest.fixture
def scene(made: Scene) -> Scene:
    """A scene whose worker is ready."""
    made.begin()
    assert made.reports == [Ready()]
    made.told.clear()
    return made


class TestStart:
    def test_all_begin(self, made: Scene) -> None:
        """Every service is started, and then the worker reports ``Ready``."""
        made.begin()
        assert made.told == [("time", "start"), ("date", "start")]
        assert made.reports == [Ready()]

    def test_suspended(self) -> None:
        """A service that starts suspended never accepts before ``Resume``."""
        scene = Scene("date")
        scene.begin()
        assert scene.told == [("time", "start"), ("date", "start without taking")]
        scene.close()

    def test_its_own_blocks(self, scene: Scene) -> None:
        """Each service writes the block that its worker was given."""
        for number, name in enumerate(NAMES):
            context = scene.services[name].context
            context.block.begin(0, 0, None, "client", None, 1.0)
            assert [each.worker for each in context.board.active_connections()] == [number]
            assert len(context.block.lanes) == 2

    def test_no_descriptor_is_left(self, made: Scene) -> None:
        """Each service opens one descriptor more: that of the socket that its handlers see."""
        before = set(os.listdir("/proc/self/fd"))
        assert made.worker.prepare() is None
        # That of the page is closed; the mapping has one of its own. (Others may be closed
        # meanwhile, which earlier tests have left to the collector.)
        assert len(set(os.listdir("/proc/self/fd")) - before) <= len(NAMES)

    def test_what_cannot_be_imported(self, made: Scene) -> None:
        """The first service that cannot be built is reported, with the reason."""

        def join(context: ServiceContext) -> FakeExecution:
            if context.service.name == "date":
                for bound in context.listeners:
                    bound.socket.close()
                    bound.shown.close()
                raise CannotImport('there is no module "m"')
            return made._join(context)

        made.worker._build = join
        assert made.worker.prepare() == StartFailed("date", 'there is no module "m"')


class TestSuspension:
    def test_suspend(self, scene: Scene) -> None:
        """The service stops accepting, and then the worker reports it."""
        scene.daemon.orders(Suspend("date"))
        assert scene.told == [("date", "suspend")]
        assert scene.reports == [Suspended("date")]

    def test_resume(self, scene: Scene) -> None:
        """The service accepts again; the worker reports nothing."""
        scene.daemon.orders(Suspend("date"), Resume("date"))
        assert scene.told == [("date", "suspend"), ("date", "resume")]
        assert scene.reports == [Suspended("date")]

    def test_resume_while_draining(self, scene: Scene) -> None:
        """A draining worker ignores ``Resume``."""
        scene.daemon.orders(Drain(), Resume("date"), Suspend("time"))
        assert ("date", "resume") not in scene.told
        assert scene.reports == [*map(Suspended, NAMES), Suspended("time")]

    @pytest.mark.parametrize("answer", [AllSuspended("time"), Resume("time")])
    def test_a_handler_asks(self, scene: Scene, answer: AllSuspended | Resume) -> None:
        """The handler goes on once the daemon reports the suspension, or a resumption instead."""
        handler = threading.Thread(target=scene.worker.link.suspend, args=("time",), daemon=True)
        handler.start()
        self._wait_for(scene, SuspendRequested("time"))
        scene.daemon.orders(AllSuspended("date"))
        assert handler.is_alive()
        scene.daemon.orders(answer)
        handler.join(PATIENCE)
        assert not handler.is_alive()

    def test_asked_in_the_reactors_thread(self, scene: Scene) -> None:
        """A request in the reactor's thread returns immediately; the daemon still gets it."""
        scene.worker.link.suspend("time")
        assert scene.reports == [SuspendRequested("time")]

    @staticmethod
    def _wait_for(scene: Scene, report: Report) -> None:
        """Return once the worker has sent *report*, which another thread requests."""
        while (said := scene.reports) != [report]:
            assert said == []


class TestLink:
    def test_requests_of_services(self, scene: Scene) -> None:
        """A request for a successor and a hanging handler are reported with their service."""
        scene.worker.link.recycle("date", "has served 5 requests")
        scene.worker.link.handler_hung("time")
        assert scene.reports == [
            NeedsRecycling("date", "has served 5 requests"),
            HandlerHung("time"),
        ]

    def test_recheck(self, scene: Scene) -> None:
        """New lists apply to the named service only."""
        scene.daemon.orders(Recheck("date", Access(deny=("192.0.2.1",))))
        lists = scene.services["date"].lists
        assert lists is not None
        assert lists.refuses_inet("192.0.2.1") == "deny"
        assert scene.services["time"].lists is None

    def test_disconnect(self, scene: Scene) -> None:
        """The service of the connection gets its ID."""
        scene.told.clear()
        scene.daemon.orders(Disconnect("date", 7))
        assert scene.told == [("date", "disconnect 7")]


class TestDrain:
    def test_all_have_finished(self, scene: Scene) -> None:
        """The worker exits once the last of its services has stopped."""
        scene.daemon.orders(Drain())
        assert scene.told == [("time", "stop"), ("date", "stop")]
        self._has_finished(scene, "date")
        assert not scene.has_left
        self._has_finished(scene, "time")
        assert scene.has_left

    def test_again(self, scene: Scene) -> None:
        """A second ``Drain`` changes nothing."""
        scene.daemon.orders(Drain(), Drain())
        assert scene.told == [("time", "stop"), ("date", "stop")]
        self._has_finished(scene, "date")
        self._has_finished(scene, "date")
        assert not scene.has_left

    def test_handlers_that_ask_meanwhile(self, scene: Scene) -> None:
        """A handler that calls shutdown() while its worker drains reaches the daemon."""
        scene.daemon.orders(Drain())
        scene.worker.link.suspend("time")
        assert scene.reports == [*map(Suspended, NAMES), SuspendRequested("time")]

    @staticmethod
    def _has_finished(scene: Scene, name: str) -> None:
        stopped = scene.services[name].stopped
        assert stopped is not None
        stopped()
