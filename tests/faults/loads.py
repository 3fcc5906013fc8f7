"""Loads on a daemon, and what came of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.administered import Administered

LONGEST = 3600
"""Seconds after which a load ends even if nobody ends it."""


@dataclass(frozen=True)
class Target:
    """A listener, and how it is loaded."""

    service: str
    listener: int
    clients: int = 8
    port: int | None = None
    """Where it is loaded instead: a proxy before it."""


@dataclass
class Tally:
    """What came of loads so far."""

    done: int = 0
    failed: int = 0
    details: str = ""

    def add(self, target: Target, found: dict[str, Any]) -> None:
        """Count a load that has ended."""
        self.done += found["done"]
        self.failed += found["failed"]
        if found["failed"]:
            where = f"{target.service}[{target.listener}]"
            self.details += f"{where}: {found['failed']} of {found['done']}; "


class LoadTool:
    """The program of ``bench/load.c``."""

    def __init__(self, program: Path) -> None:
        self._program = program

    @contextmanager
    def on(self, site: Administered, targets: Iterable[Target]) -> Iterator[Tally]:
        """Load all *targets* for as long as the context lasts; then the tally is complete."""
        tally = Tally()
        with ExitStack() as stack:
            running = [
                (target, stack.enter_context(self._start(site, target))) for target in targets
            ]
            try:
                yield tally
            finally:
                for _, process in running:
                    process.terminate()
            for target, process in running:
                said, _ = process.communicate(timeout=60)
                tally.add(target, json.loads(said))

    def _start(self, site: Administered, target: Target) -> subprocess.Popen[str]:
        service = site.service(target.service)
        kind = service["listeners"][target.listener].partition(" ")[0]
        address = site.address(target.service, target.listener)
        where = address if isinstance(address, str) else str(target.port or address[1])
        mode = "udp" if kind == "udp" else "line"
        command = [str(self._program), mode, where, str(target.clients), str(LONGEST)]
        # Clients would be on another machine: they take what the daemon leaves of this one.
        return subprocess.Popen(["nice", "-n10", *command], stdout=subprocess.PIPE, text=True)
