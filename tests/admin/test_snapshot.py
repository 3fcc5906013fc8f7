"""``netd.admin.snapshot``: what runs, as JSON has it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from netd import __version__
from netd.admin.snapshot import connections, snapshot
from netd.daemon.generations.generation import Generation
from netd.daemon.states import DaemonState
from netd.ipc.scoreboard import WorkerBlock
from netd.model.log import Log
from tests.daemon.estates import Stage, configuration, service


class Scene(Stage):
    """An estate of two services, of which the second has processes that come and go."""

    def __init__(self) -> None:
        super().__init__()
        elastic = service("b", concurrency="process", processes=3)
        self.now = self.generation(configuration(service("a", threads=2), elastic, log=Log("json")))
        self.retiring: list[Any] = []
        self._blocks: dict[tuple[str, int], WorkerBlock] = {}

    def enters(self, name: str, worker: int, client: str, ago: float) -> None:
        """A connection has been active for so many seconds."""
        self.block(name, worker).begin(0, 0, None, client, None, time.monotonic() - ago)

    def block(self, name: str, worker: int) -> WorkerBlock:
        """What the worker writes; made once, because it knows which of its records are free."""
        if (name, worker) not in self._blocks:
            self._blocks[name, worker] = self.now.pools[name].runtime[0].board.block(worker)
        return self._blocks[name, worker]

    def seen(self) -> dict[str, Any]:
        values = snapshot(self.now, self.retiring, DaemonState.RUNNING, time.monotonic() - 5)
        assert json.loads(json.dumps(values)) == values
        return values

    def service(self, name: str) -> dict[str, Any]:
        (found,) = (one for one in self.seen()["services"] if one["name"] == name)
        values: dict[str, Any] = found
        return values

    def finish(self) -> None:
        for pool in self.now:
            pool.drain()
        self.close(self.now)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.finish()


class TestDaemon:
    def test_itself(self, scene: Scene) -> None:
        seen = scene.seen()
        assert seen["version"] == __version__
        assert seen["pid"] == os.getpid()
        assert seen["configuration"] == "/etc/netd.toml"
        assert seen["state"] == "running"
        assert seen["log_level"] == "info"
        assert 5 <= seen["uptime"] < 60

    def test_who_is_on_the_way_out(self, scene: Scene) -> None:
        """With those who are still inside."""
        assert scene.seen()["draining"] == []
        scene.enters("a", 0, "192.0.2.1:5000", 1)
        pool = scene.now.pools["a"]
        scene.retiring.append(pool)
        pool.drain()
        assert scene.seen()["draining"] == [{"service": "a", "state": "draining", "connections": 1}]


class TestService:
    def test_what_it_is(self, scene: Scene) -> None:
        seen = scene.service("a")
        (listener,) = scene.now.listeners.of("a")
        port = listener.socket.getsockname()[1]
        assert seen["listeners"] == [f"tcp 127.0.0.1:{port}"]
        assert (seen["worker"], seen["runs"], seen["concurrency"]) == ("a", "m:H", "thread")
        assert seen["processes"] == [{"pid": 101, "state": "serving"}]

    def test_counts(self, scene: Scene) -> None:
        """Those of processes that have gone, too."""
        scene.enters("a", 0, "192.0.2.1:5000", 1)
        assert scene.service("a")["active"] == 1
        block = scene.block("a", 0)
        lane = block.lanes[1]
        lane.served, lane.refused, lane.failed, lane.dropped = 4, 3, 2, 1
        lane.publish()
        (connection,) = scene.now.pools["a"].runtime[0].board.active_connections()
        block.end(connection.id)
        for _ in range(2):
            seen = scene.service("a")
            figures = [seen[key] for key in ("active", "served", "refused", "failed", "dropped")]
            assert figures == [0, 4, 3, 2, 1]
            scene.ends("a", "status 1")

    def test_states(self, scene: Scene) -> None:
        """As the table has them."""
        assert scene.service("a")["state"] == "serving"
        pool = scene.now.pools["a"]
        pool.suspension.suspend("a")
        assert scene.service("a")["state"] == "suspending"
        pool.suspension.resume("a")
        assert scene.service("a")["state"] == "serving"
        scene.ends("a", "status 1")
        assert scene.service("a")["state"] == "failing"
        assert scene.service("a")["processes"] == [{"pid": 103, "state": "starting"}]
        scene.all_are_ready()
        assert scene.service("a")["state"] == "serving"


class TestConnections:
    def test_the_longest_first(self, scene: Scene) -> None:
        """With when they came, by the clock on the wall."""
        scene.enters("a", 0, "192.0.2.1:5000", 1)
        scene.enters("b", 0, "192.0.2.2:5000", 60)
        scene.enters("a", 1, "192.0.2.3:5000", 30)
        seen = connections(scene.now, None)
        assert [one["client"] for one in seen] == [
            "192.0.2.2:5000",
            "192.0.2.3:5000",
            "192.0.2.1:5000",
        ]
        assert [one["service"] for one in seen] == ["b", "a", "a"]
        assert abs(time.time() - 60 - seen[0]["since"]) < 10
        assert len({one["id"] for one in seen}) == 3

    def test_of_a_service(self, scene: Scene) -> None:
        scene.enters("a", 0, "192.0.2.1:5000", 1)
        assert connections(scene.now, "b") == []
        (one,) = connections(scene.now, "a")
        assert one["client"] == "192.0.2.1:5000"


def test_nothing(scene: Scene) -> None:
    """A configuration without services is one."""
    empty = Generation(configuration(), scene.now.listeners, {})
    assert snapshot(empty, [], DaemonState.STARTING, time.monotonic())["services"] == []
