"""What runs, at one moment, as plain values for JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from netd import __version__
from netd.daemon.generations.generation import Generation
from netd.daemon.states import DaemonState
from netd.daemon.workers.pool import Pool
from netd.daemon.workers.runtime import ServiceRuntime
from netd.ipc.layout import ActiveConnection
from netd.ipc.scoreboard import Counts


def snapshot(
    generation: Generation, retiring: Iterable[Pool], state: DaemonState, started: float
) -> dict[str, Any]:
    """Describe the daemon; *started* is a time of CLOCK_MONOTONIC."""
    return {
        "version": __version__,
        "pid": os.getpid(),
        "configuration": generation.configuration.file,
        "state": state,
        "log_level": generation.configuration.log.level,
        "uptime": round(time.monotonic() - started, 3),
        "services": [
            _service(runtime, pool, generation) for pool in generation for runtime in pool.runtime
        ],
        "draining": [
            {
                "service": runtime.service.name,
                "state": pool.state(runtime.service.name),
                "connections": runtime.board.busy(),
            }
            for pool in retiring
            for runtime in pool.runtime
        ],
    }


def _service(runtime: ServiceRuntime, pool: Pool, generation: Generation) -> dict[str, Any]:
    service = runtime.service
    counts = pool.counts_of(runtime) + runtime.board.counts()
    return {
        "name": service.name,
        "state": pool.state(service.name),
        "worker": service.worker,
        "runs": str(service.runs),
        "concurrency": service.concurrency,
        "listeners": [listener.bound for listener in generation.listeners.of(service.name)],
        "processes": [{"pid": place.pid, "state": place.state} for place in pool if place.pid],
        "active": runtime.board.busy(),
        **_counts(counts),
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {
        "served": counts.served,
        "refused": counts.refused,
        "failed": counts.failed,
        "dropped": counts.dropped,
        "truncated": counts.truncated,
    }


def connections(pools: Iterable[Pool], service: str | None) -> list[dict[str, Any]]:
    """List the active connections of *service*, or of all, oldest first."""
    now = time.monotonic()
    found = [
        (active_connection, name)
        for _, name, active_connection in active_connections(pools)
        if service in (None, name)
    ]
    found.sort(key=lambda one: one[0].since)
    return [_connection(active_connection, name, now) for active_connection, name in found]


def active_connections(pools: Iterable[Pool]) -> Iterator[tuple[Pool, str, ActiveConnection]]:
    """Yield all active connections, with their pool and the name of their service."""
    for pool in pools:
        for runtime in pool.runtime:
            for active_connection in runtime.board.active_connections():
                yield pool, runtime.service.name, active_connection


def connection_id(service: str, active_connection: ActiveConnection) -> str:
    """What a connection is called: no other connection of any service is ever called so."""
    return f"{service}-{active_connection.id:016x}"


def _connection(active_connection: ActiveConnection, service: str, now: float) -> dict[str, Any]:
    return {
        "id": connection_id(service, active_connection),
        "service": service,
        "client": active_connection.client,
        "since": round(time.time() - (now - active_connection.since), 3),
    }
