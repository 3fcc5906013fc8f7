"""``netd.admin.commands``: what an administrator sees and does, on a daemon without processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from netd.admin.api import NotDone, UnknownConnection, UnknownService
from netd.admin.commands import DISCONNECT_PATIENCE, EMPTY_INTERVAL, DaemonCommands
from netd.config.plan import Plan
from netd.daemon.generations.generation import Generation
from netd.daemon.states import ServiceState
from netd.daemon.workers.pool import Pool
from netd.ipc.scoreboard import WorkerBlock
from netd.ipc.worker import Disconnect, Suspend, Suspended
from netd.model.problem import ConfigurationError, Problem
from tests.daemon.estates import Stage, configuration, service


class FakeGenerations:
    """A daemon's generations, as far as commands see them; none drains."""

    def __init__(self, generation: Generation) -> None:
        self.current = generation
        self.draining: list[Pool] = []
        self.planned: Deferred[Plan] = Deferred()

    def plan(self, file: str | None) -> Deferred[Plan]:
        return self.planned


class FakeDaemon:
    """A daemon, as far as commands see it."""

    def __init__(self, generation: Generation) -> None:
        self.generations = FakeGenerations(generation)


class Scene(Stage):
    """Two services, of which the first has two workers."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.generation(
            configuration(service("a", threads=2, processes=2), service("b"))
        )
        self.daemon = FakeDaemon(self.now)
        self.commands = DaemonCommands(self.daemon, self.reactor)  # type: ignore[arg-type]
        self.ended: list[Any] = []
        self._blocks: dict[int, WorkerBlock] = {}

    def enters(self, worker: int) -> str:
        """Make a connection of ``a`` active in a worker; return its id."""
        if worker not in self._blocks:
            self._blocks[worker] = self.now.pools["a"].runtime[0].board.block(worker)
        block = self._blocks[worker]
        address = "192.0.2.1", 5000
        block.begin(0, 0, address, "192.0.2.1:5000", None, time.monotonic())
        (one,) = self.commands.connections("a")
        return str(one["id"])

    def leaves(self, name: str) -> None:
        number = int(name.rpartition("-")[2], 16)
        for block in self._blocks.values():
            block.end(number)

    def begin(self, done: Deferred[Any]) -> None:
        """Remember how a command ends."""
        done.addBoth(self.ended.append)

    def finish(self) -> None:
        for pool in self.now:
            pool.drain()
        self.close(self.now)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.finish()


class TestDisconnect:
    def test_tells_the_worker(self, scene: Scene) -> None:
        """That has the connection, and waits until its record is free."""
        name = scene.enters(1)
        scene.begin(scene.commands.disconnect(name))
        assert scene.ended == []
        number = int(name.rpartition("-")[2], 16)
        assert scene.orders("a")[-1] == Disconnect("a", number)
        first = scene.reactor.adopted[0].transport.orders()
        assert not [order for order in first if isinstance(order, Disconnect)]
        scene.reactor.advance(EMPTY_INTERVAL)
        assert scene.ended == []
        scene.leaves(name)
        scene.reactor.advance(EMPTY_INTERVAL)
        assert scene.ended == [None]

    def test_somebody_else_by_then(self, scene: Scene) -> None:
        """A later connection in the same record is another one."""
        name = scene.enters(0)
        scene.begin(scene.commands.disconnect(name))
        scene.leaves(name)
        assert scene.enters(0) != name
        scene.reactor.advance(EMPTY_INTERVAL)
        assert scene.ended == [None]
        with pytest.raises(UnknownConnection):
            scene.commands.disconnect(name)

    def test_a_handler_that_does_not_return(self, scene: Scene) -> None:
        """Is not waited for without end."""
        name = scene.enters(0)
        scene.begin(scene.commands.disconnect(name))
        for _ in range(round(DISCONNECT_PATIENCE / EMPTY_INTERVAL) + 1):
            scene.reactor.advance(EMPTY_INTERVAL)
        (failure,) = scene.ended
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, NotDone)
        assert str(failure.value) == f"{name}: its handler has not returned within 5 s"
        assert not scene.reactor.getDelayedCalls()

    @pytest.mark.parametrize("name", ["", "a", "a-0", "a-0-0", "a-x-y", "-"])
    def test_nonsense(self, scene: Scene, name: str) -> None:
        scene.enters(0)
        with pytest.raises(UnknownConnection):
            scene.commands.disconnect(name)


class TestServices:
    @pytest.mark.parametrize("command", ["suspend", "resume", "drain", "connections"])
    def test_unknown(self, scene: Scene, command: str) -> None:
        with pytest.raises(UnknownService):
            getattr(scene.commands, command)("c")

    def test_suspend_and_resume(self, scene: Scene) -> None:
        """It is so when the last worker says so."""
        pool = scene.now.pools["b"]
        scene.begin(scene.commands.suspend("b"))
        assert scene.orders("b")[-1] == Suspend("b")
        assert scene.ended == []
        scene.channel("b").says(Suspended("b"))
        assert scene.ended == [None]
        assert pool.state("b") is ServiceState.SUSPENDED
        scene.begin(scene.commands.resume("b"))
        assert scene.ended == [None, None]
        assert pool.state("b") is ServiceState.SERVING

    def test_drain(self, scene: Scene) -> None:
        """Fires when the service has no connection."""
        name = scene.enters(0)
        scene.begin(scene.commands.drain("a"))
        for channel in scene.reactor.adopted[:2]:
            channel.says(Suspended("a"))
        scene.reactor.advance(EMPTY_INTERVAL)
        assert scene.ended == []
        scene.leaves(name)
        scene.reactor.advance(EMPTY_INTERVAL)
        assert scene.ended == [None]


class TestPlan:
    def test_done(self, scene: Scene) -> None:
        scene.begin(scene.commands.plan(None))
        scene.daemon.generations.planned.callback(Plan(()))
        assert scene.ended[0].done
        assert scene.ended[0].plan == Plan(())

    def test_problems(self, scene: Scene) -> None:
        problems = [Problem("f", 1, "a", "no"), Problem("f", 2, "b", "x")]
        scene.daemon.generations.planned = fail(ConfigurationError(problems))
        scene.begin(scene.commands.plan(None))
        assert scene.ended[0].problems == ("f:1: a: no", "f:2: b: x")
