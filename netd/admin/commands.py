"""What an administrator can see and do, by the daemon's own means."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netd.admin.api import NotDone, UnknownConnection, UnknownService
from netd.admin.snapshot import active_connections, connection_id, connections, snapshot
from netd.config.plan import Plan
from netd.daemon.generations.reload import Outcome
from netd.daemon.generations.upgrade import Upgraded
from netd.daemon.service import Daemon
from netd.daemon.workers.pool import Pool
from netd.ipc.layout import ActiveConnection
from netd.model.log import Level
from netd.model.problem import ConfigurationError

log = Logger()

EMPTY_INTERVAL: Final = 0.05
"""Seconds between two looks whether a service that is drained is empty; only while one waits."""


DISCONNECT_PATIENCE: Final = 5.0
"""Seconds that a handler has to notice that its connection has ended."""

STILL_THERE: Final = f"its handler has not returned within {DISCONNECT_PATIENCE:g} s"


class DaemonCommands:
    """The commands of the API (``netd.admin.api.Commands``). In the reactor's thread."""

    def __init__(self, daemon: Daemon, reactor: Any) -> None:
        self._daemon = daemon
        self._reactor = reactor

    def status(self) -> dict[str, Any]:
        """What runs."""
        daemon = self._daemon
        return snapshot(daemon.generation, daemon.draining, daemon.state, daemon.started)

    def log(self, level: Level) -> None:
        """Log from *level* on."""
        self._daemon.log_from(level)

    def connections(self, service: str | None) -> list[dict[str, Any]]:
        """Who is connected, also to pools that are on their way out. Raises UnknownService."""
        if service is not None:
            self._pool(service)
        return connections(self._everybody, service)

    def plan(self, file: str | None) -> Deferred[Outcome]:
        """What a reload would do; of *file*, if it is not the daemon's own."""
        planned = self._daemon.plan(file)
        return planned.addCallbacks(_planned, _refused)

    def reload(self) -> Deferred[Outcome]:
        """Reload."""
        return self._daemon.reload()

    def suspend(self, service: str) -> Deferred[None]:
        """Take nothing more for *service*. Raises UnknownService."""
        self._pool(service)
        # Those that are on their way out may still be emptying a queue.
        pools = [pool for pool in self._everybody if pool.serves(service)]
        return gatherResults([pool.suspend(service) for pool in pools]).addCallback(_nothing)

    def resume(self, service: str) -> Deferred[None]:
        """Take again. Raises UnknownService."""
        self._pool(service).resume(service)
        return succeed(None)

    def drain(self, service: str) -> Deferred[None]:
        """Suspend, and fire when nobody is inside. Raises UnknownService."""
        emptied: Deferred[None] = Deferred()

        def look(_: object = None) -> None:
            # Of all pools that there are now: a reload may have replaced those of a moment ago.
            if not connections(self._everybody, service):
                emptied.callback(None)
            else:
                self._reactor.callLater(EMPTY_INTERVAL, look)

        self.suspend(service).addCallback(look)
        return emptied

    def disconnect(self, connection: str) -> Deferred[None]:
        """End a connection, and fire when its handler has returned.

        Raises UnknownConnection. Fails with NotDone if a handler takes too long.
        """
        inside = self._occupant(connection)
        if inside is None:
            raise UnknownConnection(connection)
        pool, service, active_connection = inside
        who = active_connection.client
        log.info("disconnecting {connection}: {who}", connection=connection, who=who)
        pool.disconnect(service, active_connection)
        gone: Deferred[None] = Deferred()
        deadline = self._reactor.seconds() + DISCONNECT_PATIENCE

        def look() -> None:
            if self._occupant(connection) is None:
                gone.callback(None)
            elif self._reactor.seconds() < deadline:
                self._reactor.callLater(EMPTY_INTERVAL, look)
            else:
                gone.errback(Failure(NotDone(f"{connection}: {STILL_THERE}")))

        look()
        return gone

    def upgrade(self) -> Deferred[Upgraded]:
        """Start another daemon in the place of this one."""
        return self._daemon.upgrade()

    def stop(self) -> None:
        """Stop the daemon, gracefully."""
        self._reactor.callLater(0, self._daemon.stop)

    def _occupant(self, connection: str) -> tuple[Pool, str, ActiveConnection] | None:
        """Whoever is inside under this name, if anybody is."""
        for pool, service, active_connection in active_connections(self._everybody):
            if connection_id(service, active_connection) == connection:
                return pool, service, active_connection
        return None

    @property
    def _everybody(self) -> list[Pool]:
        """The pools that serve, and those that are on their way out."""
        return [*self._daemon.generation, *self._daemon.draining]

    def _pool(self, service: str) -> Pool:
        for pool in self._daemon.generation:
            if pool.serves(service):
                return pool
        raise UnknownService(service)


def _nothing(_: object) -> None:
    """What a command that only does something answers."""


def _planned(plan: Plan) -> Outcome:
    return Outcome(True, plan)


def _refused(failure: Failure) -> Outcome:
    error = failure.trap(ConfigurationError) and failure.value
    assert isinstance(error, ConfigurationError)
    return Outcome(False, None, tuple(map(str, error.problems)))
