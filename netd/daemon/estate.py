"""What a configuration has come to: its listeners, and the pools that serve on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from netd.daemon.place import Placed
from netd.daemon.pool import Pool
from netd.daemon.spawning import Spawner
from netd.listening.binding import Listeners
from netd.values.log import Form, Log, WorkerLog
from netd.values.scoreboard import Scoreboard
from netd.values.service import Configuration, Plugin, Service


@dataclass(frozen=True)
class Estate:
    """A configuration at work. Who has it closes the listeners and the pools."""

    configuration: Configuration
    listeners: Listeners
    pools: dict[str, Pool]
    """By the name of the worker."""

    def __iter__(self) -> Iterator[Pool]:
        return iter(self.pools.values())


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
    ) -> Pool:
        """Make the pool of one worker's services. *changed* is called whenever it is otherwise."""
        return Pool(
            name,
            [_placed(service, listeners) for service in services],
            configuration.python_path,
            configuration.graceful_timeout,
            self.worker_log(configuration.log),
            self._reactor,
            self._spawner,
            self._lines,
            changed,
            suspended,
        )


def by_worker(services: Iterable[Service]) -> dict[str, list[Service]]:
    """The services of each worker."""
    ordered = sorted(services, key=_worker)
    return {name: list(group) for name, group in groupby(ordered, key=_worker)}


def binds_itself(services: Iterable[Service]) -> bool:
    """Whether a new generation cannot be beside the old one, since each binds for itself."""
    return any(isinstance(service.runs, Plugin) for service in services)


def queues(pool: Pool, gone: Listeners) -> tuple[tuple[str, int], ...]:
    """Which of a pool's listeners are among *gone*: a service, and the place in its ``listen``."""
    sockets = {id(listener.socket) for listener in gone}
    return tuple(
        (placed.service.name, index)
        for placed in pool.placed
        for index, one in enumerate(placed.listeners)
        if id(one) in sockets
    )


def _placed(service: Service, listeners: Listeners) -> Placed:
    page = Scoreboard.make(service.name, service.slots)
    sockets = tuple(listener.socket for listener in listeners.of(service.name))
    return Placed(service, sockets, page, Scoreboard(page, service.slots))


def _worker(service: Service) -> str:
    return service.worker
