"""What an administrator can see and do, carried out on the daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netd.admin.api import NotDone, Object, UnknownConnection, UnknownService
from netd.admin.snapshot import active_connections, connection_id, connections, snapshot
from netd.config.plan import Plan
from netd.core.reactor import Timing
from netd.daemon.daemon import Daemon
from netd.daemon.generations.reload import Outcome
from netd.daemon.generations.upgrade import Upgraded
from netd.daemon.workers.pool import Pool
from netd.ipc.layout import ActiveConnection
from netd.model.log import Level
from netd.model.problem import ConfigurationError

log = Logger()

EMPTY_INTERVAL: Final = 0.05
"""Seconds between two looks at a scoreboard; only while a command waits for a connection to end.
Workers report no ends, which would cost every connection a message for the few that are awaited."""

DISCONNECT_PATIENCE: Final = 5.0
"""Seconds that a handler has to notice that its connection has ended."""

STILL_THERE: Final = f"its handler has not returned within {DISCONNECT_PATIENCE:g} s"


class DaemonCommands:
    """The commands of the API (``netd.admin.api.Commands``). In the reactor's thread."""

    def __init__(self, daemon: Daemon, reactor: Timing) -> None:
        self._daemon = daemon
        self._reactor = reactor

    def status(self) -> Object:
        """See ``Commands``."""
        generations = self._daemon.generations
        return snapshot(
            generations.current, generations.draining, self._daemon.state, self._daemon.started
        )

    def log(self, level: Level) -> None:
        """See ``Commands``."""
        self._daemon.generations.log_from(level)

    def connections(self, service: str | None) -> Sequence[Object]:
        """See ``Commands``. Connections of draining pools are listed, too."""
        if service is not None:
            self._pool(service)  # raises, where an unknown service would have no connection
        return connections(self._all_pools, service)

    def plan(self, file: str | None) -> Deferred[Outcome]:
        """See ``Commands``."""
        return self._daemon.generations.plan(file).addCallbacks(_planned, _refused)

    def reload(self) -> Deferred[Outcome]:
        """See ``Commands``."""
        return self._daemon.generations.reload()

    def suspend(self, service: str) -> Deferred[None]:
        """See ``Commands``."""
        self._pool(service)
        # Draining pools may still accept, to empty a backlog.
        pools = [pool for pool in self._all_pools if service in pool.states]
        suspended = [pool.suspension.suspend(service) for pool in pools]
        return gatherResults(suspended).addCallback(_nothing)

    def resume(self, service: str) -> Deferred[None]:
        """See ``Commands``."""
        # Not in draining pools: their listeners may be gone, and the new pool accepts.
        self._pool(service).suspension.resume(service)
        return succeed(None)

    def drain(self, service: str) -> Deferred[None]:
        """See ``Commands``."""
        emptied: Deferred[None] = Deferred()

        def look(_: object = None) -> None:
            # Over the pools that there are at each look, which a reload may have replaced.
            if not connections(self._all_pools, service):
                emptied.callback(None)
            else:
                self._reactor.callLater(EMPTY_INTERVAL, look)

        self.suspend(service).addCallback(look)
        return emptied

    def disconnect(self, connection: str) -> Deferred[None]:
        """See ``Commands``. Fails with NotDone if the handler takes too long."""
        found = self._find(connection)
        if found is None:
            raise UnknownConnection(connection)
        pool, service, active_connection = found
        client = active_connection.client
        log.info("disconnecting {connection}: {client}", connection=connection, client=client)
        pool.workers.disconnect(service, active_connection)
        gone: Deferred[None] = Deferred()
        deadline = self._reactor.seconds() + DISCONNECT_PATIENCE

        def look() -> None:
            # A later connection has another ID, even if it has the same record.
            if self._find(connection) is None:
                gone.callback(None)
            elif self._reactor.seconds() < deadline:
                self._reactor.callLater(EMPTY_INTERVAL, look)
            else:
                gone.errback(Failure(NotDone(f"{connection}: {STILL_THERE}")))

        look()
        return gone

    def upgrade(self) -> Deferred[Upgraded]:
        """See ``Commands``."""
        return self._daemon.generations.upgrade()

    def stop(self) -> None:
        """See ``Commands``."""
        # Later, so that the answer is written before the reactor stops.
        self._reactor.callLater(0, self._daemon.stop)

    def _find(self, connection: str) -> tuple[Pool, str, ActiveConnection] | None:
        """The active connection of this id, with its pool and its service."""
        for pool, service, active_connection in active_connections(self._all_pools):
            if connection_id(service, active_connection) == connection:
                return pool, service, active_connection
        return None

    @property
    def _all_pools(self) -> list[Pool]:
        """The pools that serve, and those that drain."""
        return [*self._daemon.generations.current, *self._daemon.generations.draining]

    def _pool(self, service: str) -> Pool:
        for pool in self._daemon.generations.current:
            if service in pool.states:
                return pool
        raise UnknownService(service)


def _nothing(_: object) -> None:
    """The result of a command that answers nothing."""


def _planned(plan: Plan) -> Outcome:
    return Outcome(True, plan)


def _refused(failure: Failure) -> Outcome:
    error = failure.trap(ConfigurationError) and failure.value
    assert isinstance(error, ConfigurationError)
    return Outcome(False, None, tuple(map(str, error.problems)))
