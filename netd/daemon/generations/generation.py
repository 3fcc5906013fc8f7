"""What a configuration has come to: its listeners, and the pools that serve on them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from netd.accept.pending import Reception
from netd.daemon.forkserver.spawn import Spawner
from netd.daemon.workers.dispatcher import Dispatcher
from netd.daemon.workers.pool import Pool
from netd.daemon.workers.worker import ServiceRuntime
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.listening.binding import Listeners
from netd.model.log import Form, Log, WorkerLog
from netd.model.service import Configuration, Plugin, Service
from netd.model.tls import HANDSHAKE_TIMEOUT


@dataclass(frozen=True)
class Generation:
    """A configuration at work. Who has it closes the listeners and the pools."""

    configuration: Configuration
    listeners: Listeners
    pools: dict[str, Pool]
    """By the name of the worker."""

    def __iter__(self) -> Iterator[Pool]:
        return iter(self.pools.values())

    @property
    def suspended(self) -> frozenset[str]:
        """The services that take nobody."""
        return frozenset[str]().union(*(pool.suspended_services for pool in self))


class Builder:
    """Makes pools, not started, of services and their listeners.

    *lines* gets the workers' log, in the form that *form* says is that of a ``[log]``.
    """

    def __init__(
        self,
        reactor: Any,
        spawner: Spawner,
        lines: Callable[[str], None],
        form: Callable[[Log], Form],
    ) -> None:
        self._reactor = reactor
        self._spawner = spawner
        self._lines = lines
        self._form = form

    def worker_log(self, configured: Log) -> WorkerLog:
        """What workers are to send up under this ``[log]``."""
        return WorkerLog(self._form(configured), configured.level, configured.connections)

    def pool(
        self,
        name: str,
        services: Sequence[Service],
        configuration: Configuration,
        listeners: Listeners,
        changed: Callable[[], None],
        suspended: Iterable[str] = (),
        is_held: bool = False,
    ) -> Pool:
        """Make the pool of one worker's services. *changed* is called whenever it is otherwise.

        With *is_held* its workers take nobody before it is released. Raises OSError.
        """
        return Pool(
            name,
            _all_placed(services, listeners, self._reactor),
            configuration.python_path,
            configuration.graceful_timeout,
            self.worker_log(configuration.log),
            self._reactor,
            self._spawner,
            self._lines,
            changed,
            suspended,
            is_held,
        )


def by_worker(services: Iterable[Service]) -> dict[str, list[Service]]:
    """The services of each worker, in the order of the file."""
    found: dict[str, list[Service]] = {}
    for service in services:
        found.setdefault(service.worker, []).append(service)
    return found


def binds_itself(services: Iterable[Service]) -> bool:
    """Whether a new generation cannot be beside the old one, since each binds for itself."""
    return any(isinstance(service.runs, Plugin) for service in services)


def _all_placed(
    services: Iterable[Service], listeners: Listeners, reactor: Any
) -> list[ServiceRuntime]:
    """Place all services, or none. Raises OSError."""
    with ExitStack() as undo:
        runtime = [_runtime(service, listeners, reactor, undo) for service in services]
        undo.pop_all()
    return runtime


def _runtime(
    service: Service, listeners: Listeners, reactor: Any, undo: ExitStack
) -> ServiceRuntime:
    geometry = Geometry.of(service)
    page = Scoreboard.make(service.name, geometry)
    undo.callback(os.close, page)
    board = Scoreboard(page, geometry)
    undo.callback(board.close)
    sockets = tuple(listener.socket for listener in listeners.of(service.name))
    entrances = tuple(_entrances(service, sockets, reactor, undo))
    return ServiceRuntime(service, sockets, page, board, entrances)


def _entrances(
    service: Service, sockets: Iterable[socket.socket], reactor: Any, undo: ExitStack
) -> Iterator[Dispatcher | None]:
    seconds = HANDSHAKE_TIMEOUT if service.tls is None else service.tls.handshake_timeout
    # Whole, unlike in workers: nothing else takes from these listeners.
    reception = Reception(service.handshakes, seconds, reactor)
    for address, listener in zip(service.listen, sockets, strict=False):  # a plugin's has none
        if service.is_handed(address):
            entrance = Dispatcher(service, address, listener, reception, reactor)
            undo.callback(entrance.close)
            yield entrance
        else:
            yield None
