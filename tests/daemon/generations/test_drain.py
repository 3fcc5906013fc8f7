"""``netd.daemon.generations.drain``: pools that drain, and backlogs that are emptied first."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from twisted.logger import capturedLogs

from netd.daemon.generations.drain import EMPTYING_INTERVAL, HANDSHAKE_TIME, DrainingGenerations
from netd.daemon.generations.generation import Generation
from netd.daemon.workers.worker import END_DEADLINE
from netd.ipc.worker import Drain, NeedsRecycling, Stop
from netd.listening.listener import Listeners
from netd.model.address import Transport, UnixAddress
from netd.model.service import Program
from tests.daemon.estates import Stage, configuration, pages, service
from tests.daemon.fakes import texts

NOBODY = Listeners()


class Scene(Stage):
    """Draining generations, and a generation with one service that is to drain."""

    def __init__(self, **keys: object) -> None:
        super().__init__()
        self.over = 0
        self.draining = DrainingGenerations(self.reactor, self._is_over)
        self.made = self.generation(configuration(service("a", **keys)))
        self.orders("a")

    def _is_over(self) -> None:
        self.over += self.draining.is_over

    def drain_pools(self, generation: Generation, gone: Listeners, seconds: float = 30.0) -> None:
        self.draining.drain_pools(list(generation), gone, seconds)

    @property
    def address(self) -> tuple[str, int]:
        host, port = next(iter(self.made.listeners)).socket.getsockname()
        return host, port

    def take(self) -> None:
        """Be the worker: accept a connection."""
        next(iter(self.made.listeners)).socket.accept()[0].close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close(scene.made)


class TestWithoutListeners:
    def test_drains_at_once(self, scene: Scene) -> None:
        """And is over when the worker has ended; its page is given back."""
        scene.drain_pools(scene.made, NOBODY)
        assert scene.orders("a") == [Drain()]
        assert list(scene.draining) == list(scene.made)
        scene.ends("a")
        assert (scene.over, list(scene.draining)) == (1, [])
        assert pages(list(scene.made)) == [False]
        scene.reactor.advance(2)
        assert not scene.reactor.getDelayedCalls()

    def test_nobody_at_all(self, scene: Scene) -> None:
        """A daemon without services stops."""
        scene.draining.drain_pools([], NOBODY, 30.0)
        assert scene.over

    def test_ends_when_the_time_is_over(self, scene: Scene) -> None:
        scene.drain_pools(scene.made, NOBODY, 30.0)
        scene.reactor.advance(29.9)
        assert scene.orders("a") == [Drain()]
        scene.reactor.advance(0.1)
        assert scene.orders("a") == [Stop()]
        scene.reactor.advance(END_DEADLINE)
        assert scene.spawner.processes[0].killed == 1

    def test_three_generations_at_most(self, scene: Scene) -> None:
        """The oldest of three on their way out is ended."""
        scene.drain_pools(scene.made, NOBODY)
        others = [scene.generation(configuration(service(name))) for name in ("b", "c")]
        with capturedLogs() as logged:
            for generation in others:
                scene.drain_pools(generation, NOBODY)
        assert scene.orders("a") == [Drain(), Stop()]
        assert Stop() not in scene.orders("b")
        assert texts(logged) == ["warn: too many generations are draining: the oldest is ended"]
        for generation in others:
            generation.listeners.close()


class TestQueues:
    def test_are_emptied_first(self, scene: Scene) -> None:
        """The worker accepts until the backlog is empty; then it drains and is closed."""
        with closing(socket.create_connection(scene.address)):
            scene.drain_pools(scene.made, scene.made.listeners)
            scene.reactor.advance(HANDSHAKE_TIME)
            scene.reactor.advance(EMPTYING_INTERVAL)
            assert scene.orders("a") == []
            scene.take()
            scene.reactor.advance(EMPTYING_INTERVAL)
            assert scene.orders("a") == [Drain()]
        assert next(iter(scene.made.listeners)).socket.fileno() == -1

    def test_nobody_new_gets_in(self, scene: Scene) -> None:
        scene.drain_pools(scene.made, scene.made.listeners)
        with closing(socket.socket()) as late:
            late.settimeout(0.1)
            with pytest.raises(TimeoutError):
                late.connect(scene.address)

    def test_an_empty_one_of_the_internet_settles(self, scene: Scene) -> None:
        """A handshake may be under way."""
        scene.drain_pools(scene.made, scene.made.listeners)
        assert scene.orders("a") == []
        scene.reactor.advance(HANDSHAKE_TIME)
        assert scene.orders("a") == [Drain()]

    def test_a_path_goes_at_once(self, tmp_path) -> None:  # type: ignore[no-untyped-def]
        """The connections in its backlog are served, too."""
        path = tmp_path / "s"
        scene = Scene(listen=(UnixAddress(Transport.UNIX, str(path)),))
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(path))
            scene.drain_pools(scene.made, scene.made.listeners)
            assert not path.exists()
            assert scene.orders("a") == []
            scene.take()
            scene.reactor.advance(EMPTYING_INTERVAL)
            assert scene.orders("a") == [Drain()]
        scene.close(scene.made)

    def test_a_worker_that_dies_meanwhile_is_replaced(self, scene: Scene) -> None:
        """Its successor serves the queued connections."""
        with closing(socket.create_connection(scene.address)):
            scene.drain_pools(scene.made, scene.made.listeners)
            scene.ends("a", "signal SIGKILL")
            assert len(scene.spawner.processes) == 2
            scene.all_are_ready()
            scene.reactor.advance(HANDSHAKE_TIME)
            assert Drain() not in scene.orders("a")

    def test_a_recycled_worker_is_replaced(self, scene: Scene) -> None:
        """As it would be in all its life."""
        with closing(socket.create_connection(scene.address)):
            scene.drain_pools(scene.made, scene.made.listeners)
            scene.channel("a").says(NeedsRecycling("a", "has served 1 request"))
            assert len(scene.spawner.processes) == 2

    def test_not_longer_than_the_time(self, scene: Scene) -> None:
        """Connections that are still queued then are closed."""
        with closing(socket.create_connection(scene.address)):
            scene.drain_pools(scene.made, scene.made.listeners, 1.0)
            scene.reactor.advance(1.0)
            assert scene.orders("a") == [Drain(), Stop()]
            assert next(iter(scene.made.listeners)).socket.fileno() == -1

    def test_ended_at_once(self, scene: Scene) -> None:
        with closing(socket.create_connection(scene.address)):
            scene.drain_pools(scene.made, scene.made.listeners)
            scene.draining.end()
            assert scene.orders("a") == [Drain(), Stop()]

    def test_of_a_suspended_service(self, scene: Scene) -> None:
        """No worker accepts from it, so the drain does not wait for its backlog."""
        with closing(socket.create_connection(scene.address)):
            next(iter(scene.made)).suspension.suspend("a")
            scene.orders("a")
            scene.drain_pools(scene.made, scene.made.listeners)
            scene.reactor.advance(HANDSHAKE_TIME)
            assert Drain() in scene.orders("a")

    def test_of_a_service_that_never_comes_up(self) -> None:
        """The same."""
        scene = Scene()
        with closing(socket.create_connection(scene.address)):
            scene.ends("a", "status 1")
            scene.reactor.advance(0)
            scene.ends("a", "status 1")
            scene.drain_pools(scene.made, scene.made.listeners)
            scene.reactor.advance(HANDSHAKE_TIME)
            assert scene.over
        scene.close(scene.made)

    def test_of_a_program_that_takes_for_itself(self) -> None:
        """It may leave clients there for as long as it likes."""
        scene = Scene(runs=Program("/bin/x", ("x",), wait=True))
        with closing(socket.create_connection(scene.address)):
            scene.drain_pools(scene.made, scene.made.listeners)
            scene.reactor.advance(HANDSHAKE_TIME)
            assert scene.orders("a") == [Drain()]
        scene.close(scene.made)


class TestOnTheWay:
    def test_to_a_worker_that_accepts(self) -> None:
        """Connections in a dispatcher are waited for, unless the service is suspended."""
        stage = Stage()
        generation = stage.generation(
            configuration(service("a", proxies=("127.0.0.1",), processes=2))
        )
        pool = generation.pools["a"]
        (listener,) = generation.listeners
        with socket.create_connection(listener.socket.getsockname(), 10):
            assert not pool.accepting.is_pending
            while not pool.accepting.is_pending:
                stage.reactor.read()
            pool.suspension.suspend("a")
            assert not pool.accepting.is_pending
            pool.suspension.resume("a")
            assert pool.accepting.is_pending
            pool.drain()
            stage.all_have_ended()
            pool.close()
        stage.close(generation)
