"""A daemon's parts without processes: generations, and workers that report what a test wants."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from netd.daemon.generations.generation import Builder, Generation, by_worker
from netd.daemon.workers.pool import Pool
from netd.ipc.worker import Drain, Order, Ready, StartWorker
from netd.listening.binding import bind_all
from netd.model.address import InetAddress, Transport
from netd.model.service import Configuration, Reference, Runs, Service
from tests.daemon.fakes import Adopted, FakeProcess, FakeReactor, FakeSpawner

LOCAL = InetAddress(Transport.TCP, 0, "127.0.0.1")


def service(name: str, **keys: Any) -> Service:
    """A service on a free port, with one thread."""
    values: dict[str, Any] = {
        "listen": (LOCAL,),
        "runs": Runs("handler", Reference("m", "H")),
        "worker": name,
        "threads": 1,
    }
    return Service(name, **{**values, **keys})


def configuration(*services: Service, **keys: Any) -> Configuration:
    """A configuration of these services."""
    return Configuration("/etc/netd.toml", services, **keys)


class Stage:
    """A reactor, a spawner, and what is built with them; ``close`` closes what is left."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.reactor = FakeReactor()
        self.spawner = FakeSpawner()
        self._ready: set[int] = set()
        self._ended: set[int] = set()
        self.stack.callback(self.reactor.close)
        self.stack.callback(self.spawner.close)
        self.builder = Builder(self.reactor, self.spawner, lambda text: None, lambda log: "text")

    def generation(self, of: Configuration) -> Generation:
        """A generation whose workers all serve."""
        listeners = bind_all(of.services)
        pools = {
            worker: self.builder.pool(services, of, listeners, lambda: None)
            for worker, services in by_worker(of.services).items()
        }
        for pool in pools.values():
            pool.start()
        self.all_are_ready()
        return Generation(of, listeners, pools)

    def channel(self, name: str) -> Adopted:
        """The channel of the last worker of this name."""
        number = max(
            index for index, process in enumerate(self.spawner.processes) if process.name == name
        )
        return self.reactor.adopted[number]

    def is_ready(self, name: str) -> None:
        """The last worker of this name reports that it is ready."""
        self.channel(name).says(Ready())

    def all_are_ready(self) -> None:
        """Every worker that has not reported yet reports that it is ready."""
        for process, channel in zip(self.spawner.processes, self.reactor.adopted, strict=True):
            if process.pid not in self._ready:
                self._ready.add(process.pid)
                channel.says(Ready())

    def orders(self, name: str) -> list[Order]:
        """The orders of the last worker of this name since the last call."""
        return self.channel(name).transport.orders()

    def start_of(self, name: str) -> StartWorker:
        """The first order of the last worker of this name, whose orders have not been read."""
        start = self.orders(name)[0]
        assert isinstance(start, StartWorker)
        return start

    def ends(self, name: str, how: str = "status 0") -> None:
        """The last worker of this name ends."""
        self._end([one for one in self.spawner.processes if one.name == name][-1], how)
        self.reactor.advance(0)

    def all_have_ended(self) -> None:
        """Every worker that was ordered to drain, or was killed, ends."""
        for process, channel in zip(self.spawner.processes, self.reactor.adopted, strict=False):
            if process.pid not in self._ended and (
                process.killed or Drain() in channel.transport.orders()
            ):
                self._end(process, "status 0")

    def _end(self, process: FakeProcess, how: str) -> None:
        self._ended.add(process.pid)
        process.ended(how)

    def close(self, *generations: Generation) -> None:
        """Close everything."""
        for generation in generations:
            generation.listeners.close()
        self.stack.close()


def pages(pools: list[Pool]) -> list[bool]:
    """For each scoreboard of *pools*, whether it is still open."""
    return [is_open(runtime.page) for pool in pools for runtime in pool.runtime]


def is_open(descriptor: int) -> bool:
    """Whether a descriptor of ours is open."""
    return os.path.exists(f"/proc/self/fd/{descriptor}")
