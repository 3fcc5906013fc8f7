"""What runs, at one moment, as plain values for JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from netd import __version__
from netd.daemon.generations.generation import Estate
from netd.daemon.states import DaemonState
from netd.daemon.workers.pool import Pool
from netd.daemon.workers.worker import Placed
from netd.ipc.scoreboard import Counts, Occupant


def snapshot(
    estate: Estate, retiring: Iterable[Pool], state: DaemonState, started: float
) -> dict[str, Any]:
    """Describe the daemon; *started* is a time of CLOCK_MONOTONIC."""
    return {
        "version": __version__,
        "pid": os.getpid(),
        "configuration": estate.configuration.file,
        "state": state,
        "log_level": estate.configuration.log.level,
        "uptime": round(time.monotonic() - started, 3),
        "services": [_service(placed, pool, estate) for pool in estate for placed in pool.placed],
        "draining": [
            {
                "service": placed.service.name,
                "state": pool.state(placed.service.name),
                "connections": len(placed.board.occupants()),
            }
            for pool in retiring
            for placed in pool.placed
        ],
    }


def _service(placed: Placed, pool: Pool, estate: Estate) -> dict[str, Any]:
    service = placed.service
    counts = pool.counts_of(placed) + placed.board.counts()
    return {
        "name": service.name,
        "state": pool.state(service.name),
        "worker": service.worker,
        "runs": str(service.runs),
        "concurrency": service.concurrency,
        "listeners": [listener.bound for listener in estate.listeners.of(service.name)],
        "processes": [{"pid": place.pid, "state": place.state} for place in pool if place.pid],
        "active": placed.board.busy(range(service.slots)),
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
    """Who is inside *service*, or any, the longest first."""
    now = time.monotonic()
    found = [(occupant, name) for _, name, occupant in occupants(pools) if service in (None, name)]
    found.sort(key=lambda one: one[0].since)
    return [_connection(occupant, name, now) for occupant, name in found]


def occupants(pools: Iterable[Pool]) -> Iterator[tuple[Pool, str, Occupant]]:
    """Everybody who is inside, with the pool and the name of the service."""
    for pool in pools:
        for placed in pool.placed:
            for occupant in placed.board.occupants():
                yield pool, placed.service.name, occupant


def connection_id(service: str, occupant: Occupant) -> str:
    """What a connection is called: like no other, as long as the machine runs."""
    return f"{service}-{occupant.slot}-{occupant.stamp:x}"


def _connection(occupant: Occupant, service: str, now: float) -> dict[str, Any]:
    return {
        "id": connection_id(service, occupant),
        "service": service,
        "client": occupant.client,
        "since": round(time.time() - (now - occupant.since), 3),
    }
