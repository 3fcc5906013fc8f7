"""What a client costs that has connected to a TLS listener and says nothing: memory of the server.

Only that of its processes; what the kernel keeps of a connection is the same for all of them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from bench import processes
from bench.scenarios import SCENARIOS, TWISTED
from bench.servers import HOST, NETD, Place, running

CLIENTS: Final = 1000

SETTLED: Final = 0.5
"""Seconds without growth after which all clients have been taken."""

SILENT_THREADS: Final = "silent TLS client, netd, threads"
SILENT_REACTOR: Final = "silent TLS client, netd, reactor"
SILENT_TWISTED: Final = "silent TLS client, twisted"

_PAGE: Final = 4  # KiB, of statm


def silent_client(name: str, server: str, place: Place) -> float:
    """KiB of memory of a scenario's server for each of CLIENTS that are silent.

    Raises CannotStart.
    """
    (scenario,) = (one for one in SCENARIOS if one.name == name)
    with running(server, scenario, place) as up, ExitStack() as clients:
        before = _settled(up.pid)
        for _ in range(CLIENTS):
            client = socket.create_connection((HOST, up.port), timeout=5)
            clients.enter_context(closing(client))
        return (_settled(up.pid) - before) / CLIENTS


def _settled(pid: int) -> int:
    """KiB of a process tree that has come to rest."""
    seen = -1
    while (found := sum(map(_resident, processes.tree(pid)))) != seen:
        seen = found
        time.sleep(SETTLED)
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0


MEASUREMENTS: Final[dict[str, Callable[[Place], float]]] = {
    SILENT_THREADS: lambda place: silent_client("tls", NETD, place),
    SILENT_REACTOR: lambda place: silent_client("tls-reactor", NETD, place),
    SILENT_TWISTED: lambda place: silent_client("tls-reactor", TWISTED, place),
}
"""What ``memory`` measures, in each round."""
