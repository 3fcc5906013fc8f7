"""What a daemon is built with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from netd.core.reactor import ProcessReactor
from netd.daemon.forkserver.spawn import Spawner
from netd.daemon.generations.upgrade import CommandLine
from netd.daemon.systemd import Notifications
from netd.log.destination import LogLocation
from netd.log.writer import Log
from netd.model.service import Configuration

Recheck = Callable[[str | None], Deferred[Configuration]]
"""Reads and checks the daemon's configuration again, or another file instead of it. The Deferred
fails with ConfigurationError."""


@dataclass(frozen=True)
class DaemonTools:
    """What a daemon is built with, beside its configuration and its listeners."""

    reactor: ProcessReactor
    spawner: Spawner
    log: Log
    log_location: LogLocation
    recheck: Recheck
    command: CommandLine
    notifications: Notifications
