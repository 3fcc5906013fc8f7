"""The lives of a worker's place, a service and the daemon, as tables.

``docs/states.md`` is made from them, and from what stands under each state and event.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from netd.daemon.lifecycle import Table


class WorkerState(StrEnum):
    """What there is in a worker's place."""

    EMPTY = "empty"
    """Nothing yet."""
    STARTING = "starting"
    """A process that has not said it is ready."""
    SERVING = "serving"
    """A process that takes clients."""
    WAITING = "waiting"
    """No process, until the delay before the next one is over."""
    DRAINING = "draining"
    """A process that takes nothing more and finishes what it has."""
    CLOSED = "closed"
    """No process, and there will be none."""


class WorkerEvent(StrEnum):
    """What can happen to it."""

    START = "start"
    """A process is started."""
    READY = "ready"
    """The process says that it is ready."""
    DIED = "died"
    """The process has ended, or could not be started."""
    DRAIN = "drain"
    """It is told to leave."""


WORKER: Final[Table[WorkerState, WorkerEvent]] = {
    WorkerState.EMPTY: {
        WorkerEvent.START: WorkerState.STARTING,
        WorkerEvent.DRAIN: WorkerState.CLOSED,
    },
    WorkerState.STARTING: {
        WorkerEvent.READY: WorkerState.SERVING,
        WorkerEvent.DIED: WorkerState.WAITING,
        WorkerEvent.DRAIN: WorkerState.DRAINING,
    },
    WorkerState.SERVING: {
        WorkerEvent.DIED: WorkerState.WAITING,
        WorkerEvent.DRAIN: WorkerState.DRAINING,
    },
    WorkerState.WAITING: {
        WorkerEvent.START: WorkerState.STARTING,
        WorkerEvent.DRAIN: WorkerState.CLOSED,
    },
    WorkerState.DRAINING: {
        # A worker told to drain while it starts says "ready" all the same.
        WorkerEvent.READY: WorkerState.DRAINING,
        WorkerEvent.DRAIN: WorkerState.DRAINING,
        WorkerEvent.DIED: WorkerState.CLOSED,
    },
    WorkerState.CLOSED: {WorkerEvent.DRAIN: WorkerState.CLOSED},
}


class ServiceState(StrEnum):
    """What a service of one generation is about, as the daemon sees it."""

    STARTING = "starting"
    """Not all of its workers are up, or they take nobody before a reload is done."""
    SERVING = "serving"
    """As many workers serve as there are at least."""
    FAILING = "failing"
    """A worker has died, or does not come up, and not all have been up since."""
    SUSPENDING = "suspending"
    """It is to take nobody, and not all workers have said yet that they do not."""
    SUSPENDED = "suspended"
    """It takes nobody, whatever its workers are about."""
    DRAINING = "draining"
    """Its workers finish what they have; none is started any more."""
    STOPPED = "stopped"
    """The last worker has gone."""


class ServiceEvent(StrEnum):
    """What can happen to it."""

    UP = "up"
    """As many workers serve as there are at least."""
    SHORT = "short"
    """Fewer serve than there are at least, because some are starting."""
    DIED = "died"
    """Fewer serve than there are at least, because one has died."""
    SUSPEND = "suspend"
    """It is to take nobody."""
    IDLE = "idle"
    """No worker takes for it any more."""
    RESUME = "resume"
    """It is to take again."""
    DRAIN = "drain"
    """It is replaced or removed, or the daemon stops."""
    GONE = "gone"
    """Its last worker has gone."""


SERVICE: Final[Table[ServiceState, ServiceEvent]] = {
    ServiceState.STARTING: {
        ServiceEvent.UP: ServiceState.SERVING,
        ServiceEvent.SHORT: ServiceState.STARTING,
        ServiceEvent.DIED: ServiceState.FAILING,
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.RESUME: ServiceState.STARTING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    ServiceState.SERVING: {
        ServiceEvent.UP: ServiceState.SERVING,
        ServiceEvent.SHORT: ServiceState.STARTING,
        ServiceEvent.DIED: ServiceState.FAILING,
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.RESUME: ServiceState.SERVING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    ServiceState.FAILING: {
        ServiceEvent.UP: ServiceState.SERVING,
        ServiceEvent.SHORT: ServiceState.FAILING,
        ServiceEvent.DIED: ServiceState.FAILING,
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.RESUME: ServiceState.FAILING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    ServiceState.SUSPENDING: {
        ServiceEvent.UP: ServiceState.SUSPENDING,
        ServiceEvent.SHORT: ServiceState.SUSPENDING,
        ServiceEvent.DIED: ServiceState.SUSPENDING,
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.IDLE: ServiceState.SUSPENDED,
        ServiceEvent.RESUME: ServiceState.STARTING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    ServiceState.SUSPENDED: {
        ServiceEvent.UP: ServiceState.SUSPENDED,
        ServiceEvent.SHORT: ServiceState.SUSPENDED,
        ServiceEvent.DIED: ServiceState.SUSPENDED,
        # All workers are asked again.
        ServiceEvent.SUSPEND: ServiceState.SUSPENDING,
        ServiceEvent.IDLE: ServiceState.SUSPENDED,
        ServiceEvent.RESUME: ServiceState.STARTING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
    },
    ServiceState.DRAINING: {
        ServiceEvent.SUSPEND: ServiceState.DRAINING,
        ServiceEvent.IDLE: ServiceState.DRAINING,
        ServiceEvent.RESUME: ServiceState.DRAINING,
        ServiceEvent.DRAIN: ServiceState.DRAINING,
        ServiceEvent.GONE: ServiceState.STOPPED,
    },
    ServiceState.STOPPED: {
        ServiceEvent.SUSPEND: ServiceState.STOPPED,
        ServiceEvent.IDLE: ServiceState.STOPPED,
        ServiceEvent.RESUME: ServiceState.STOPPED,
        ServiceEvent.DRAIN: ServiceState.STOPPED,
    },
}

TAKES_NOBODY: Final = frozenset({ServiceState.SUSPENDING, ServiceState.SUSPENDED})
"""What a service is in from ``suspend`` to ``resume``."""


class DaemonState(StrEnum):
    """What the daemon is about."""

    BOUND = "bound"
    """It has its listeners, and no worker yet."""
    STARTING = "starting"
    """Not all of its workers have been up yet."""
    RUNNING = "running"
    """All of its workers have been up once."""
    RELOADING = "reloading"
    """A new generation starts; the one before it serves."""
    UPGRADING = "upgrading"
    """Another daemon starts; this one serves."""
    REPLACED = "replaced"
    """The other one serves, and this one is about to stop."""
    LEAVING = "leaving"
    """It is to stop when `drain_delay` is over, and serves until then."""
    STOPPING = "stopping"
    """Nobody new gets in, and handlers finish."""
    STOPPED = "stopped"
    """The last worker has gone."""


class DaemonEvent(StrEnum):
    """What can happen to it."""

    START = "start"
    """Workers are started."""
    READY = "ready"
    """All workers are up, or have been before."""
    RELOAD = "reload"
    """A configuration has been read and checked, and is to run."""
    RELOADED = "reloaded"
    """The new configuration runs, or all is as it was."""
    UPGRADE = "upgrade"
    """Another daemon is to take this one's place."""
    UPGRADED = "upgraded"
    """The other daemon is ready and has the listeners."""
    NOT_UPGRADED = "not upgraded"
    """The other daemon has failed, and all is as it was."""
    LEAVE = "leave"
    """It is told to stop."""
    STOP = "stop"
    """The time to stop has come."""
    GONE = "gone"
    """The last worker has gone."""


DAEMON: Final[Table[DaemonState, DaemonEvent]] = {
    DaemonState.BOUND: {DaemonEvent.START: DaemonState.STARTING},
    DaemonState.STARTING: {
        DaemonEvent.READY: DaemonState.RUNNING,
        DaemonEvent.RELOAD: DaemonState.RELOADING,
        DaemonEvent.UPGRADE: DaemonState.UPGRADING,
        DaemonEvent.LEAVE: DaemonState.LEAVING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.RUNNING: {
        DaemonEvent.RELOAD: DaemonState.RELOADING,
        DaemonEvent.UPGRADE: DaemonState.UPGRADING,
        DaemonEvent.LEAVE: DaemonState.LEAVING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.RELOADING: {
        # The workers of the generation before may come up meanwhile.
        DaemonEvent.READY: DaemonState.RELOADING,
        DaemonEvent.RELOADED: DaemonState.STARTING,
        DaemonEvent.LEAVE: DaemonState.LEAVING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.UPGRADING: {
        DaemonEvent.READY: DaemonState.UPGRADING,
        DaemonEvent.UPGRADED: DaemonState.REPLACED,
        DaemonEvent.NOT_UPGRADED: DaemonState.STARTING,
        DaemonEvent.LEAVE: DaemonState.LEAVING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.REPLACED: {
        DaemonEvent.LEAVE: DaemonState.LEAVING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    # Whatever is under way when it is told to leave is given up, and ends after that.
    DaemonState.LEAVING: {
        DaemonEvent.RELOADED: DaemonState.LEAVING,
        DaemonEvent.NOT_UPGRADED: DaemonState.LEAVING,
        DaemonEvent.STOP: DaemonState.STOPPING,
    },
    DaemonState.STOPPING: {
        DaemonEvent.RELOADED: DaemonState.STOPPING,
        DaemonEvent.NOT_UPGRADED: DaemonState.STOPPING,
        DaemonEvent.GONE: DaemonState.STOPPED,
    },
    DaemonState.STOPPED: {},
}
