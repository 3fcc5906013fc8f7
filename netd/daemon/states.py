"""The lifecycles of a worker, a service and the daemon, as tables.

``docs/states.md`` is made from the tables and from the docstring of each state and event.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from netd.daemon.lifecycle import Table


class WorkerState(StrEnum):
    """A worker keeps its index while one process after another runs in it."""

    NEW = "new"
    """It has had no process yet."""
    STARTING = "starting"
    """Its process is not ready yet."""
    SERVING = "serving"
    """Its process accepts connections."""
    BACKOFF = "backoff"
    """It has no process until the delay before the next start is over."""
    DRAINING = "draining"
    """Its process stops accepting and finishes its requests."""
    CLOSED = "closed"
    """It has no process and gets none."""


class WorkerEvent(StrEnum):
    """What can happen to a worker."""

    START = "start"
    """A process is started."""
    READY = "ready"
    """The process reports that it is ready."""
    EXITED = "exited"
    """The process has ended, or could not be started."""
    DRAIN = "drain"
    """The worker is told to drain."""


WORKER: Final[Table[WorkerState, WorkerEvent]] = {
    WorkerState.NEW: {
        WorkerEvent.START: WorkerState.STARTING,
        # Without a process there is nothing to wait for; so it is in BACKOFF.
        WorkerEvent.DRAIN: WorkerState.CLOSED,
    },
    WorkerState.STARTING: {
        WorkerEvent.READY: WorkerState.SERVING,
        WorkerEvent.EXITED: WorkerState.BACKOFF,
        WorkerEvent.DRAIN: WorkerState.DRAINING,
    },
    WorkerState.SERVING: {
        WorkerEvent.EXITED: WorkerState.BACKOFF,
        WorkerEvent.DRAIN: WorkerState.DRAINING,
    },
    WorkerState.BACKOFF: {
        WorkerEvent.START: WorkerState.STARTING,
        WorkerEvent.DRAIN: WorkerState.CLOSED,
    },
    WorkerState.DRAINING: {
        # The report and the order may cross on the channel.
        WorkerEvent.READY: WorkerState.DRAINING,
        WorkerEvent.DRAIN: WorkerState.DRAINING,
        WorkerEvent.EXITED: WorkerState.CLOSED,
    },
    WorkerState.CLOSED: {WorkerEvent.DRAIN: WorkerState.CLOSED},
}


class ServiceState(StrEnum):
    """A service of one generation, as the daemon sees it."""

    STARTING = "starting"
    """Not all of its workers are ready, or a reload holds them back until it is done."""
    SERVING = "serving"
    """At least the least number of workers serve."""
    FAILING = "failing"
    """A worker has died or does not come up, and the others are too few."""
    SUSPENDING = "suspending"
    """It is to stop accepting, and not all workers have confirmed that they have."""
    SUSPENDED = "suspended"
    """No worker accepts for it."""
    DRAINING = "draining"
    """Its workers finish their requests, and no worker is started."""
    STOPPED = "stopped"
    """Its last worker has exited."""


class ServiceEvent(StrEnum):
    """What can happen to a service."""

    UP = "up"
    """At least the least number of workers serve."""
    TOO_FEW = "too few workers"
    """Fewer workers serve, because some are starting."""
    WORKER_DIED = "worker died"
    """Fewer workers serve, because one has died."""
    SUSPEND = "suspend"
    """It is told to stop accepting."""
    NOT_ACCEPTING = "not accepting"
    """All workers have confirmed that they stopped accepting."""
    RESUME = "resume"
    """It is told to accept again."""
    DRAIN = "drain"
    """It is replaced or removed, or the daemon stops."""
    WORKERS_EXITED = "workers exited"
    """Its last worker has exited."""


SERVICE: Final[Table[ServiceState, ServiceEvent]] = {
    ServiceState.STARTING: {
        ServiceEvent.UP: ServiceState.SERVING,
        ServiceEvent.TOO_FEW: ServiceState.STARTING,
        ServiceEvent.WORKER_DIED: ServiceState.FAILING,
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.RESUME: ServiceState.STARTING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    ServiceState.SERVING: {
        ServiceEvent.UP: ServiceState.SERVING,
        ServiceEvent.TOO_FEW: ServiceState.STARTING,
        ServiceEvent.WORKER_DIED: ServiceState.FAILING,
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.RESUME: ServiceState.SERVING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    ServiceState.FAILING: {
        ServiceEvent.UP: ServiceState.SERVING,
        # The next process of the worker starts, which is no success yet.
        ServiceEvent.TOO_FEW: ServiceState.FAILING,
        ServiceEvent.WORKER_DIED: ServiceState.FAILING,
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.RESUME: ServiceState.FAILING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    ServiceState.SUSPENDING: {
        # Workers that die or become ready do not end a suspension: they start suspended.
        ServiceEvent.UP: ServiceState.SUSPENDING,
        ServiceEvent.TOO_FEW: ServiceState.SUSPENDING,
        ServiceEvent.WORKER_DIED: ServiceState.SUSPENDING,
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.NOT_ACCEPTING: ServiceState.SUSPENDED,
        # SERVING or FAILING follows immediately from the states of the workers.
        ServiceEvent.RESUME: ServiceState.STARTING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    ServiceState.SUSPENDED: {
        ServiceEvent.UP: ServiceState.SUSPENDED,
        ServiceEvent.TOO_FEW: ServiceState.SUSPENDED,
        ServiceEvent.WORKER_DIED: ServiceState.SUSPENDED,
        # All workers are asked again, so all have to confirm again.
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.NOT_ACCEPTING: ServiceState.SUSPENDED,
        ServiceEvent.RESUME: ServiceState.STARTING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    # An administrator may suspend or resume a service while its pool drains.
    ServiceState.DRAINING: {
        ServiceEvent.SUSPEND: ServiceState.DRAINING,
        ServiceEvent.NOT_ACCEPTING: ServiceState.DRAINING,
        ServiceEvent.RESUME: ServiceState.DRAINING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
        ServiceEvent.WORKERS_EXITED: ServiceState.STOPPED,
    },
    ServiceState.STOPPED: {
        ServiceEvent.SUSPEND: ServiceState.STOPPED,
        ServiceEvent.NOT_ACCEPTING: ServiceState.STOPPED,
        ServiceEvent.RESUME: ServiceState.STOPPED,
        ServiceEvent.DRAIN: ServiceState.STOPPED,
    },
}

NOT_ACCEPTING: Final = frozenset({ServiceState.SUSPENDING, ServiceState.SUSPENDED})
"""The states of a service from ``suspend`` to ``resume``."""


class DaemonState(StrEnum):
    """The daemon process, from its start to its end."""

    BOUND = "bound"
    """Its listeners are bound, and it has no worker yet."""
    STARTING = "starting"
    """Not all of its workers have been ready yet."""
    RUNNING = "running"
    """All of its workers have been ready once."""
    RELOADING = "reloading"
    """A new generation starts; the old one serves."""
    UPGRADING = "upgrading"
    """Another daemon starts; this one serves."""
    REPLACED = "replaced"
    """The other daemon serves; this one is about to stop."""
    DELAYING = "delaying"
    """It has been told to stop, and accepts until `drain_delay` is over."""
    STOPPING = "stopping"
    """It accepts no new connections, and handlers finish."""
    STOPPED = "stopped"
    """Its last worker has exited."""


class DaemonEvent(StrEnum):
    """What can happen to the daemon."""

    START = "start"
    """Its workers are started."""
    READY = "ready"
    """All workers are ready, or have been before."""
    RELOAD = "reload"
    """A new configuration has been read and checked, and its generation starts."""
    RELOADED = "reloaded"
    """The new generation serves, or the reload has failed and the old one goes on."""
    UPGRADE = "upgrade"
    """Another daemon is started to replace this one."""
    UPGRADED = "upgraded"
    """The other daemon is ready and has the listeners."""
    NOT_UPGRADED = "not upgraded"
    """The other daemon has failed, and this one goes on."""
    STOP_REQUESTED = "stop requested"
    """It is told to stop."""
    STOP = "stop"
    """`drain_delay` is over, or the daemon stops without it."""
    WORKERS_EXITED = "workers exited"
    """Its last worker has exited."""


DAEMON: Final[Table[DaemonState, DaemonEvent]] = {
    DaemonState.BOUND: {DaemonEvent.START: DaemonState.STARTING},
    DaemonState.STARTING: {
        DaemonEvent.READY: DaemonState.RUNNING,
        DaemonEvent.RELOAD: DaemonState.RELOADING,
        DaemonEvent.UPGRADE: DaemonState.UPGRADING,
        DaemonEvent.STOP_REQUESTED: DaemonState.DELAYING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.RUNNING: {
        DaemonEvent.RELOAD: DaemonState.RELOADING,
        DaemonEvent.UPGRADE: DaemonState.UPGRADING,
        DaemonEvent.STOP_REQUESTED: DaemonState.DELAYING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.RELOADING: {
        # The workers of the old generation may become ready meanwhile.
        DaemonEvent.READY: DaemonState.RELOADING,
        # Not RUNNING, because a reload may begin before all workers have been ready. READY follows
        # immediately if they have.
        DaemonEvent.RELOADED: DaemonState.STARTING,
        DaemonEvent.STOP_REQUESTED: DaemonState.DELAYING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.UPGRADING: {
        DaemonEvent.READY: DaemonState.UPGRADING,
        DaemonEvent.UPGRADED: DaemonState.REPLACED,
        DaemonEvent.NOT_UPGRADED: DaemonState.STARTING,
        DaemonEvent.STOP_REQUESTED: DaemonState.DELAYING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.REPLACED: {
        DaemonEvent.STOP_REQUESTED: DaemonState.DELAYING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    # A stop abandons the reload or the upgrade under way, whose end is recorded after it.
    DaemonState.DELAYING: {
        DaemonEvent.RELOADED: DaemonState.DELAYING,
        DaemonEvent.NOT_UPGRADED: DaemonState.DELAYING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.STOPPING: {
        DaemonEvent.RELOADED: DaemonState.STOPPING,
        DaemonEvent.NOT_UPGRADED: DaemonState.STOPPING,
        DaemonEvent.WORKERS_EXITED: DaemonState.STOPPED,
    },
    DaemonState.STOPPED: {},
}
