"""``netd.daemon.generations.reload``: all is changed, or nothing is, without a process."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from netd.daemon.generations.generation import Generation
from netd.daemon.generations.reload import Outcome, Reload
from netd.daemon.workers.pool import Pool
from netd.daemon.workers.worker import START_DEADLINE
from netd.ipc.worker import Drain, Resume, StartFailed, Stop
from netd.listening.listener import Listeners
from netd.model.address import InetAddress, Transport
from netd.model.service import Configuration, Plugin
from tests.daemon.estates import Stage, configuration, service
from tests.descriptors import count_descriptors


class Scene(Stage):
    """A generation of two services, and a reload of it."""

    def __init__(self) -> None:
        super().__init__()
        self.old = self.generation(configuration(service("a"), service("b")))
        self.switched: list[tuple[Generation, list[Pool], Listeners]] = []
        self.outcomes: list[Outcome] = []
        self.descriptors = count_descriptors()
        self.orders("a")
        self.orders("b")

    def reload(self, wanted: Configuration) -> Reload:
        """Begin one."""

        def switch(new: Generation, replaced: list[Pool], gone: Listeners) -> None:
            self.switched.append((new, replaced, gone))

        reload = Reload(self.old, wanted, self.builder, switch)
        ended: Deferred[Outcome] = reload.begin()
        ended.addCallback(self.outcomes.append)
        return reload

    def refused(self) -> str:
        """Why it was not done; nothing of it is left."""
        (outcome,) = self.outcomes
        assert not outcome.done
        assert not self.switched
        self.all_have_ended()
        self.reactor.advance(2)
        # What fakes keep of a process: its channel, twice.
        kept = len(self.spawner.processes[2:]) + len(self.reactor.adopted[2:])
        assert count_descriptors() - kept == self.descriptors
        assert not self.reactor.getDelayedCalls()
        (problem,) = outcome.problems
        return problem

    def finish(self) -> None:
        for pool in self.old:
            pool.drain()
        for generation, _, gone in self.switched:
            generation.listeners.close()
            gone.close()
        self.close(self.old)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.finish()


class TestDone:
    def test_nothing_to_do(self, scene: Scene) -> None:
        """All pools are kept, and no worker is started."""
        scene.reload(configuration(service("b"), service("a")))
        (outcome,) = scene.outcomes
        assert outcome.done
        ((generation, replaced, gone),) = scene.switched
        assert generation.pools == scene.old.pools
        assert (replaced, list(gone)) == ([], [])
        assert len(scene.spawner.processes) == 2

    def test_only_when_all_are_ready(self, scene: Scene) -> None:
        """Until then nothing is switched, and new workers do not accept."""
        scene.reload(configuration(service("a", backlog=9), service("b"), service("c")))
        assert scene.start_of("a").services[0].suspended
        assert scene.start_of("c").services[0].suspended
        scene.is_ready("c")
        assert not scene.outcomes
        assert scene.orders("c") == []
        scene.is_ready("a")
        assert scene.outcomes[0].done
        assert scene.orders("a") == [Resume("a")]
        assert scene.orders("c") == [Resume("c")]
        ((generation, replaced, gone),) = scene.switched
        assert replaced == [scene.old.pools["a"]]
        assert list(generation.pools) == ["a", "b", "c"]
        assert generation.pools["b"] is scene.old.pools["b"]
        assert list(gone) == []

    def test_a_kept_listener_is_the_same(self, scene: Scene) -> None:
        scene.reload(configuration(service("a", threads=2), service("b")))
        scene.is_ready("a")
        ((generation, _, _),) = scene.switched
        assert [one.socket for one in generation.listeners] == [
            one.socket for one in scene.old.listeners
        ]

    def test_a_listener_that_goes(self, scene: Scene) -> None:
        """It is passed to the switch with its pool, which closes it."""
        scene.reload(configuration(service("a")))
        ((_, replaced, gone),) = scene.switched
        assert replaced == [scene.old.pools["b"]]
        assert [one.service for one in gone] == ["b"]
        assert next(iter(gone)).socket.fileno() >= 0

    def test_a_service_that_goes_to_another_worker(self, scene: Scene) -> None:
        """The worker's name is what pools are kept by."""
        scene.reload(configuration(service("a", worker="w"), service("b", worker="w")))
        scene.is_ready("w")
        ((generation, replaced, _),) = scene.switched
        assert list(generation.pools) == ["w"]
        assert replaced == list(scene.old.pools.values())


class TestSuspended:
    def test_before(self, scene: Scene) -> None:
        """It is so in the new generation."""
        scene.old.pools["a"].suspension.suspend("a")
        scene.reload(configuration(service("a", threads=2), service("b")))
        scene.is_ready("a")
        ((generation, _, _),) = scene.switched
        assert generation.pools["a"].suspension.services == {"a"}
        assert Resume("a") not in scene.orders("a")

    def test_while_the_new_generation_starts(self, scene: Scene) -> None:
        scene.reload(configuration(service("a", threads=2), service("b")))
        scene.old.pools["a"].suspension.suspend("a")
        scene.is_ready("a")
        ((generation, _, _),) = scene.switched
        assert generation.pools["a"].suspension.services == {"a"}
        assert Resume("a") not in scene.orders("a")

    def test_resumed_while_the_new_generation_starts(self, scene: Scene) -> None:
        scene.old.pools["a"].suspension.suspend("a")
        scene.reload(configuration(service("a", threads=2), service("b")))
        scene.old.pools["a"].suspension.resume("a")
        scene.is_ready("a")
        ((generation, _, _),) = scene.switched
        assert generation.pools["a"].suspension.services == frozenset()
        assert Resume("a") in scene.orders("a")


class TestTakenBack:
    def test_a_service_that_cannot_be_used(self, scene: Scene) -> None:
        """Its reason is the problem; the other one, ready before it, is ended, too."""
        scene.reload(configuration(service("a", threads=2), service("b"), service("c")))
        scene.is_ready("a")
        scene.channel("c").says(StartFailed("c", "no database"))
        scene.ends("c", "status 1")
        assert scene.outcomes
        told = scene.orders("a")[1:]
        assert told == [Drain(), Stop()]
        scene.ends("a")
        assert scene.refused() == "services.c: no database"

    def test_a_worker_that_dies(self, scene: Scene) -> None:
        scene.reload(configuration(service("a", threads=2), service("b")))
        scene.ends("a", "signal SIGSEGV")
        assert scene.refused() == "worker a ended with signal SIGSEGV before it was ready"

    def test_a_worker_that_is_never_ready(self, scene: Scene) -> None:
        """After the start deadline."""
        scene.reload(configuration(service("a", threads=2), service("b")))
        scene.reactor.advance(START_DEADLINE)
        assert scene.spawner.processes[-1].killed
        assert not scene.outcomes
        scene.ends("a", "signal SIGKILL")
        assert "before it was ready" in scene.refused()

    def test_a_worker_that_cannot_be_started(self, scene: Scene) -> None:
        """The pools after it are not started."""
        scene.spawner.failures.append(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        scene.reload(configuration(service("a", threads=2), service("b", threads=2)))
        assert "Resource temporarily unavailable" in scene.refused()
        assert len(scene.spawner.processes) == 2

    def test_an_address_that_is_taken(self, scene: Scene) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            scene.descriptors += 1
            request = InetAddress(Transport.TCP, other.getsockname()[1], "127.0.0.1")
            new = configuration(service("a", threads=2), service("c", listen=(request,)))
            scene.reload(new)
            assert scene.refused().startswith("services.c: cannot listen on tcp:")
            scene.descriptors -= 1

    def test_no_memory_for_a_page(self, scene: Scene) -> None:
        """The pools that were made before it are given back."""
        impossible = replace(service("c"), threads=1 << 60)
        scene.reload(configuration(service("a", threads=2), impossible))
        assert "OverflowError" in scene.refused()

    def test_given_up(self, scene: Scene) -> None:
        """Because the daemon stops, for instance; again is nothing."""
        reload = scene.reload(configuration(service("a", threads=2), service("b")))
        reload.give_up("the daemon is stopping")
        reload.give_up("again")
        assert scene.refused() == "the daemon is stopping"

    def test_given_up_too_late(self, scene: Scene) -> None:
        """What is done is done."""
        reload = scene.reload(configuration(service("a"), service("b")))
        reload.give_up("the daemon is stopping")
        assert [outcome.done for outcome in scene.outcomes] == [True]

    def test_one_that_becomes_ready_after_all(self, scene: Scene) -> None:
        """Its word comes too late."""
        reload = scene.reload(configuration(service("a", threads=2), service("b")))
        reload.give_up("the daemon is stopping")
        scene.is_ready("a")
        assert scene.refused() == "the daemon is stopping"


class TestLate:
    """Plugins bind for themselves, so there cannot be two."""

    @pytest.fixture
    def plugged(self) -> Iterator[Scene]:
        scene = Scene()
        scene.old.listeners.close()
        scene.old = scene.generation(configuration(plugin(80)))
        scene.orders("p")
        yield scene
        scene.finish()

    def test_started_when_the_old_one_has_gone(self, plugged: Scene) -> None:
        started = len(plugged.spawner.processes)
        plugged.reload(configuration(plugin(81)))
        assert plugged.outcomes[0].done
        assert len(plugged.spawner.processes) == started
        plugged.old.pools["p"].drain()
        assert len(plugged.spawner.processes) == started
        plugged.ends("p")
        assert len(plugged.spawner.processes) == started + 1
        assert not plugged.start_of("p").services[0].suspended

    def test_replaced_before_it_was_started(self, plugged: Scene) -> None:
        """The third one waits for the first; the second is never started."""
        first = plugged.old
        started = len(plugged.spawner.processes)
        plugged.reload(configuration(plugin(81)))
        plugged.old = plugged.switched[0][0]
        first.pools["p"].drain()
        plugged.reload(configuration(plugin(82)))
        second = plugged.old.pools["p"]
        second.drain()
        assert not second.is_closed
        plugged.ends("p")
        assert second.is_closed
        assert len(plugged.spawner.processes) == started + 1
        assert plugged.start_of("p").services[0].service.runs == plugin(82).runs


def plugin(port: int) -> Any:
    return service("p", listen=(), runs=Plugin("web", (f"--port={port}",)))
