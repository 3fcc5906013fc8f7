"""One worker as the daemon sees it: one process after another in the same blocks."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final, Protocol

from twisted.internet.protocol import Factory
from twisted.logger import Logger

from netd.core.backoff import Backoff
from netd.core.timer import Timer
from netd.daemon.forkserver.spawn import Process
from netd.daemon.lifecycle import Lifecycle
from netd.daemon.states import WORKER, WorkerEvent, WorkerState
from netd.daemon.workers.blocks import WorkerBlocks
from netd.daemon.workers.channel import WorkerChannel
from netd.daemon.workers.runtime import WorkerSpec, WorkerTools
from netd.daemon.workers.start_order import start_order
from netd.ipc.worker import (
    ConfigureLog,
    Drain,
    HandlerHung,
    LogLines,
    NeedsRecycling,
    Order,
    Ready,
    Report,
    StartFailed,
    Stop,
    Suspended,
    SuspendRequested,
)
from netd.model.log import WorkerLog

log = Logger()

START_DEADLINE: Final = 60.0
"""Seconds that a worker has to report that it is ready. The probe has imported the same modules
before, in less."""

LAST_WORDS: Final = 1.0
"""Seconds to read what a process sent before it ended; its children may hold the channel open."""

END_DEADLINE: Final = 1.0
"""Seconds between the order to stop and SIGKILL."""

SHOWN: Final = 10
"""Clients named in one log line when a worker is lost; of the others only the number is logged."""


class WorkerOwner(Protocol):
    """The pool that a worker belongs to."""

    def changed(self, worker: WorkerHandle) -> None:
        """The worker has another ``state``."""

    def recycle(self, worker: WorkerHandle) -> None:
        """The worker has reached one of its recycle limits."""


class ServiceControl(Protocol):
    """Decides which services accept, and gets the workers' reports about them."""

    def is_suspended(self, service: str) -> bool:
        """Whether a worker that starts now must not accept for *service*."""

    def shutdown_called(self, service: str) -> None:
        """A handler has called ``server.shutdown()``."""

    def stopped_accepting(self, worker: WorkerHandle, service: str) -> None:
        """The worker no longer accepts for *service*."""


class WorkerHandle:
    """Keeps one process running until it is drained. Reactor's thread only."""

    def __init__(
        self,
        spec: WorkerSpec,
        index: int,
        worker_log: WorkerLog,
        tools: WorkerTools,
        owner: WorkerOwner,
        control: ServiceControl,
    ) -> None:
        self.index = index
        self.blocks = WorkerBlocks(spec.runtime, index)
        self.failure: str | None = None
        """Why the last process was never ready; None once one is."""
        self._spec = spec
        self._worker_log = worker_log
        self._tools = tools
        self._owner = owner
        self._control = control
        self._life = Lifecycle(f"worker {spec.name}", WORKER, WorkerState.NEW)
        self._backoff = Backoff()
        self._timer = Timer(tools.reactor)
        """The deadline of the start or of the end, or the delay before the next process: a worker
        never waits for two of them."""
        self._process: Process | None = None
        self._channel: WorkerChannel | None = None
        self._ready_at: float | None = None
        self._is_stopping = False
        """Whether the worker's handlers get no more time."""
        self._stopped_services: set[str] = set()
        """The services for which the worker has reported, since its drain, that it stopped
        accepting."""

    @property
    def name(self) -> str:
        """The worker's name, which all workers of a pool share."""
        return self._spec.name

    @property
    def state(self) -> WorkerState:
        """Its state."""
        return self._life.state

    @property
    def is_leaving(self) -> bool:
        """Whether it has been told to drain, so that it does not count towards the pool's size."""
        return self.state in (WorkerState.DRAINING, WorkerState.CLOSED)

    @property
    def pid(self) -> int | None:
        """The pid of its process, if there is one."""
        return self._process.pid if self._process is not None else None

    @property
    def may_accept(self) -> bool:
        """Whether it may still accept; a draining one may until it reports that it stopped."""
        if self.state is not WorkerState.DRAINING:
            return self.state is WorkerState.SERVING
        return any(one.name not in self._stopped_services for one in self._spec.runtime)

    # What the pool asks for.

    def start(self) -> None:
        """Start a process."""
        if not self._advance(WorkerEvent.START):
            return
        self._ready_at = None
        try:
            self._spawn()
        except OSError as error:
            log.error("worker {name} cannot be started: {error}", name=self.name, error=error)
            self._ended(str(error))
            return
        self._timer.set(START_DEADLINE, self._start_deadline_passed)

    def _spawn(self) -> None:
        """Start a process with a channel to it, and send its first order. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            channel = WorkerChannel(self._received, self._misbehaved, self._channel_lost)
            factory = Factory.forProtocol(lambda: channel)
            factory.noisy = False
            self._tools.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
            descriptors, order = start_order(
                self._spec,
                self.index,
                self._worker_log,
                theirs.fileno(),
                self._control.is_suspended,
            )
            # Kept before the process is started: if that fails, _ended closes it.
            self._channel = channel
            self._process = self._tools.spawner.spawn(
                self.name, descriptors, self._log_output, self._ended
            )
        channel.order(order)

    def drain(self) -> None:
        """Let the process finish its requests and exit; then the worker is closed.

        A process that is not ready yet has no request, and is not waited for.
        """
        before = self.state
        # It may have stopped for a suspension before, and been resumed since.
        self._stopped_services.clear()
        self._advance(WorkerEvent.DRAIN)
        if before is WorkerState.BACKOFF:
            self._timer.clear()
        elif before in (WorkerState.STARTING, WorkerState.SERVING):
            self._timer.clear()
            self.order(Drain())
        if before is WorkerState.STARTING:
            self._timer.set(END_DEADLINE, self._kill_unless_busy)

    def end(self) -> None:
        """End a draining worker now: by an order, and by SIGKILL if it does not obey in time.

        The order comes first because only the worker can end the programs that it started.
        """
        if self.state is not WorkerState.DRAINING:
            return
        for service, clients in self.blocks.active_clients:
            if clients:
                log.warn(
                    "service {service}: {clients} still served when the time was over",
                    service=service,
                    clients=_named(clients),
                )
        self._is_stopping = True
        self.order(Stop())
        self._timer.set(END_DEADLINE, self.kill)

    def kill(self) -> None:
        """Send SIGKILL to the process."""
        if self._process is not None:
            self._process.kill()

    def relog(self, worker_log: WorkerLog) -> None:
        """Log by *worker_log*, in this process and in the next ones."""
        self._worker_log = worker_log
        self.order(ConfigureLog(worker_log))

    def order(self, order: Order) -> None:
        """Send an order to the process, if there is one."""
        if self._channel is not None:
            self._channel.order(order)

    def _kill_unless_busy(self) -> None:
        # The process may have become ready just before the order to drain reached it, and may have
        # accepted a connection by then.
        if not self.blocks.is_busy:
            self.kill()

    # What the process reports.

    def _received(self, channel: WorkerChannel, report: Report) -> None:
        # Log lines and failures may be the last that a process sent before an end that is already
        # known, so they count from a former channel, too.
        if isinstance(report, LogLines):
            self._tools.write_log(report.text)
        elif isinstance(report, StartFailed):
            # A process that serves has come up since; then an older one's failure is history.
            if self.state is not WorkerState.SERVING:
                self.failure = f"services.{report.service}: {report.message}"
            log.error("service {name}: {message}", name=report.service, message=report.message)
        elif channel is self._channel:
            self._received_now(channel, report)

    def _received_now(
        self,
        channel: WorkerChannel,
        report: Ready | SuspendRequested | Suspended | NeedsRecycling | HandlerHung,
    ) -> None:
        """Handle a report that concerns the process that is there now."""
        if isinstance(report, Ready):
            self._became_ready(channel)
            return
        service = report.service
        if all(runtime.name != service for runtime in self._spec.runtime):
            channel.reject(f"a report about a service that it does not run: {service}")
        elif isinstance(report, SuspendRequested):
            self._control.shutdown_called(service)
        elif isinstance(report, Suspended):
            self._stopped_services.add(service)
            self._control.stopped_accepting(self, service)
        elif isinstance(report, NeedsRecycling):
            text = "worker {name} (pid {pid}) {why}; it is replaced"
            log.info(text, name=self.name, pid=self.pid, why=report.why)
            self._owner.recycle(self)
        else:
            text = "worker {name} hangs in service {service}; it is ended"
            log.error(text, name=self.name, service=service)
            self.kill()

    def _became_ready(self, channel: WorkerChannel) -> None:
        if self.state is WorkerState.SERVING:
            channel.reject("ready twice")
            return
        # A worker that was ordered to stop before it was ready still has to obey in time.
        if not self._is_stopping:
            self._timer.clear()
        self._ready_at = self._tools.reactor.seconds()
        self.failure = None
        self._advance(WorkerEvent.READY)

    def _misbehaved(self, channel: WorkerChannel, what: str) -> None:
        log.error("worker {name} sent {what}; it is ended", name=self.name, what=what)
        if channel is self._channel:
            self.kill()

    def _channel_lost(self, channel: WorkerChannel) -> None:
        """The process has ended or is about to, or a handler has closed its channel."""
        if channel is self._channel and self.state in (WorkerState.STARTING, WorkerState.SERVING):
            self._timer.set(LAST_WORDS, self._kill_without_channel)

    def _kill_without_channel(self) -> None:
        # Such a worker can be neither drained nor stopped, and would outlive its generation.
        log.error("worker {name} has closed its channel; it is ended", name=self.name)
        self.kill()

    def _log_output(self, line: str) -> None:
        log.warn("worker {name}: {line}", name=self.name, line=line)

    def _start_deadline_passed(self) -> None:
        text = "worker {name} is not ready after {seconds:g} s; it is ended"
        log.error(text, name=self.name, seconds=START_DEADLINE)
        self.kill()

    def _ended(self, how: str) -> None:
        """The process has ended: log what was lost, and start the next one unless it drained."""
        if self.state is WorkerState.STARTING and self.failure is None:
            self.failure = f"worker {self.name} ended with {how} before it was ready"
        self._timer.clear()
        # Before anything may start the next process, which writes the same blocks.
        loss = self.blocks.settle()
        pid = self.pid
        self._process = None
        if self._channel is not None:
            # The end of a process and what it sent come by different descriptors, in any order.
            self._tools.reactor.callLater(LAST_WORDS, self._channel.close)
            self._channel = None
        then = ""
        if self.state is not WorkerState.DRAINING:
            now = self._tools.reactor.seconds()
            served = 0.0 if self._ready_at is None else now - self._ready_at
            delay = self._backoff.died(served, loss.requests)
            self._timer.set(delay, self.start)
            then = f"; the next in {delay:g} s"
        if then or loss.clients:
            log.error(
                "worker {name} (pid {pid}) ended with {how}; {lost} lost{then}",
                name=self.name,
                pid=pid,
                how=how,
                lost=_named(loss.clients),
                then=then,
            )
        self._advance(WorkerEvent.EXITED)

    def _advance(self, event: WorkerEvent) -> bool:
        """Record *event*, and tell the owner. Return whether it could happen."""
        # After a change only: the owner acts on the state, and would act twice.
        could = self._life.on(event)
        if could:
            self._owner.changed(self)
        return could


def _named(clients: Sequence[str]) -> str:
    """*clients* for a log line."""
    if not clients:
        return "no connection"
    shown = ", ".join(clients[:SHOWN])
    more = f" and {len(clients) - SHOWN} more" if len(clients) > SHOWN else ""
    plural = "s" if len(clients) > 1 else ""
    return f"{len(clients)} connection{plural} ({shown}{more})"
