"""A service in its pool, and what all workers of a pool have in common."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from netd.core.reactor import ListeningReactor
from netd.daemon.forkserver.spawn import Spawner
from netd.daemon.workers.dispatcher import Dispatcher
from netd.ipc.scoreboard import Scoreboard
from netd.model.service import Program, Service


@dataclass(frozen=True)
class ServiceRuntime:
    """A service in its pool, with what the daemon keeps for it. ``close`` gives that back."""

    service: Service
    listeners: tuple[socket.socket, ...]
    """They stay the generation's, which closes them."""
    page: int
    """The descriptor of its scoreboard."""
    board: Scoreboard
    dispatchers: tuple[Dispatcher | None, ...] = ()
    """For each listener, the dispatcher that accepts from it; empty if workers accept from all."""

    @property
    def name(self) -> str:
        """The service's name."""
        return self.service.name

    @property
    def is_inetd_wait(self) -> bool:
        """Whether a program gets the listener itself, and may leave its backlog as it is."""
        runs = self.service.runs
        return isinstance(runs, Program) and runs.wait

    @property
    def active_dispatchers(self) -> Iterator[Dispatcher]:
        """The dispatchers that there are."""
        return (one for one in self.dispatchers if one is not None)

    @property
    def queues(self) -> Iterator[socket.socket]:
        """The sockets that workers accept from: a listener, or its dispatcher's queue."""
        dispatchers = self.dispatchers or (None,) * len(self.listeners)
        for listener, dispatcher in zip(self.listeners, dispatchers, strict=True):
            yield listener if dispatcher is None else dispatcher.queue

    def close(self) -> None:
        """Close the dispatchers and the scoreboard; when no worker uses them."""
        # Dispatchers first: they log the connections that they still have.
        for dispatcher in self.active_dispatchers:
            dispatcher.close()
        self.board.close()
        os.close(self.page)


@dataclass(frozen=True)
class WorkerSpec:
    """What all workers of a pool have in common."""

    name: str
    runtime: tuple[ServiceRuntime, ...]
    python_path: tuple[str, ...] = ()
    graceful_timeout: float = 0.0
    """Seconds that a draining worker has."""


@dataclass(frozen=True)
class WorkerTools:
    """What a worker is started and watched with."""

    reactor: ListeningReactor
    spawner: Spawner
    write_log: Callable[[str], None]
    """Gets the lines of the workers' log."""
