"""A generation: a configuration, its listeners, and the pools that serve on them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from twisted.logger import Logger

from netd.accept.next_step import is_dispatched
from netd.accept.pause import Pause, by_logger
from netd.accept.pending import PendingConnections
from netd.core.reactor import ProcessReactor
from netd.daemon.forkserver.spawn import Spawner
from netd.daemon.workers.dispatcher import Dispatcher
from netd.daemon.workers.pool import Pool
from netd.daemon.workers.runtime import ServiceRuntime, WorkerSpec, WorkerTools
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.listening.listener import Listeners
from netd.model.log import Form, Log, WorkerLog
from netd.model.service import Configuration, Plugin, Service

log = Logger()


@dataclass(frozen=True)
class Generation:
    """A configuration at work. Its holder closes the listeners and the pools."""

    configuration: Configuration
    listeners: Listeners
    pools: dict[str, Pool]
    """By the name of the worker."""

    def __iter__(self) -> Iterator[Pool]:
        return iter(self.pools.values())

    @property
    def suspended(self) -> frozenset[str]:
        """The services that are suspended."""
        return frozenset[str]().union(*(pool.suspension.services for pool in self))


@dataclass(frozen=True)
class PoolStart:
    """How a pool starts that replaces another one."""

    suspended: frozenset[str] = frozenset()
    """Services that are suspended now; those of other pools are ignored."""
    is_held: bool = False
    """Whether no worker accepts before the pool is released."""


class Builder:
    """Makes pools, not started, of services and their listeners.

    *write_log* gets the lines of the workers' log, in the form that *form* chooses for a ``[log]``.
    """

    def __init__(
        self,
        reactor: ProcessReactor,
        spawner: Spawner,
        write_log: Callable[[str], None],
        form: Callable[[Log], Form],
    ) -> None:
        self._reactor = reactor
        self._tools = WorkerTools(reactor, spawner, write_log)
        self._form = form

    def worker_log(self, configured: Log) -> WorkerLog:
        """What workers log under this ``[log]``."""
        return WorkerLog(self._form(configured), configured.level, configured.connections)

    def pool(
        self,
        services: Sequence[Service],
        configuration: Configuration,
        listeners: Listeners,
        changed: Callable[[], None],
        start: PoolStart = PoolStart(),
    ) -> Pool:
        """Make the pool of *services*, which share a worker. Raises OSError.

        *changed* is called after every change of a worker's state.
        """
        names = {service.name for service in services}
        spec = WorkerSpec(
            services[0].worker,
            self._all_runtime(services, listeners),
            configuration.python_path,
            configuration.graceful_timeout,
        )
        worker_log = self.worker_log(configuration.log)
        suspended = start.suspended & names
        return Pool(spec, worker_log, self._tools, changed, suspended, start.is_held)

    def _all_runtime(
        self, services: Iterable[Service], listeners: Listeners
    ) -> tuple[ServiceRuntime, ...]:
        """Make the runtime of all services, or of none. Raises OSError."""
        with ExitStack() as undo:
            runtime = tuple(self._runtime(service, listeners, undo) for service in services)
            undo.pop_all()
        return runtime

    def _runtime(self, service: Service, listeners: Listeners, undo: ExitStack) -> ServiceRuntime:
        geometry = Geometry.of(service)
        page = Scoreboard.make(service.name, geometry)
        # Opened in this order, closed in the reverse one if a later service fails.
        undo.callback(os.close, page)
        board = Scoreboard(page, geometry)
        undo.callback(board.close)
        sockets = tuple(listener.socket for listener in listeners.of(service.name))
        dispatchers = tuple(self._dispatchers(service, sockets, undo))
        return ServiceRuntime(service, sockets, page, board, dispatchers)

    def _dispatchers(
        self, service: Service, sockets: Iterable[socket.socket], undo: ExitStack
    ) -> Iterator[Dispatcher | None]:
        # The whole bound, where workers get a share of it: only the daemon accepts from these.
        pending = PendingConnections(service.handshakes, service.handshake_timeout, self._reactor)
        pause = Pause(by_logger(log, service.name), self._reactor.callLater)
        for address, listener in zip(service.listen, sockets, strict=False):  # a plugin has none
            if is_dispatched(service, address):
                dispatcher = Dispatcher(service, address, listener, pending, pause, self._reactor)
                undo.callback(dispatcher.close)
                yield dispatcher
            else:
                yield None


def by_worker(services: Iterable[Service]) -> dict[str, list[Service]]:
    """The services of each worker, in the order of the file."""
    found: dict[str, list[Service]] = {}
    for service in services:
        found.setdefault(service.worker, []).append(service)
    return found


def binds_itself(services: Iterable[Service]) -> bool:
    """Whether a worker of *services* binds ports itself, so that no second one can run beside it.

    Only hosted plugins do: their listeners are Twisted's, made in the worker.
    """
    return any(isinstance(service.runs, Plugin) for service in services)
