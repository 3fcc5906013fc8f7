"""A worker as the daemon sees it: a place in which one process after another serves."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.protocol import Factory
from twisted.logger import Logger

from netd.core.backoff import Backoff
from netd.core.reactor import DelayedCall
from netd.daemon.forkserver.spawn import Process, Spawner
from netd.daemon.lifecycle import Lifecycle
from netd.daemon.states import WORKER, WorkerEvent, WorkerState
from netd.daemon.workers.channel import _WorkerChannel
from netd.daemon.workers.dispatcher import Dispatcher
from netd.ipc.scoreboard import Counts, Scoreboard
from netd.ipc.worker import (
    Drain,
    Failed,
    Hung,
    Lines,
    LogAs,
    NeedsRecycling,
    Order,
    Ready,
    Report,
    ServiceStart,
    Shutdown,
    Start,
    Stop,
    Suspended,
)
from netd.model.log import WorkerLog
from netd.model.service import Service

log = Logger()

START_DEADLINE: Final = 60.0
"""Seconds that a worker has to say it is ready: imports were tried before, and took less."""

LAST_WORDS: Final = 1.0
"""Seconds to read what a process sent before it ended; its children may hold the channel open."""

END_DEADLINE: Final = 1.0
"""Seconds between "stop" and SIGKILL."""

SHOWN: Final = 10
"""Clients named in one log line when a worker is lost; the rest are a number."""

_CHANNEL: Final = 3


@dataclass(frozen=True)
class ServiceRuntime:
    """A service in its worker, with what the daemon keeps for it. The daemon closes both."""

    service: Service
    listeners: tuple[socket.socket, ...]
    page: int
    """The descriptor of its scoreboard."""
    board: Scoreboard
    entrances: tuple[Dispatcher | None, ...] = ()
    """For each listener, where the daemon takes from it; empty where it takes from none."""


def _numbered(descriptors: dict[int, int], ours: int) -> int:
    """Give *ours* the next number that the worker has not used yet; return it."""
    number = len(descriptors) + _CHANNEL
    descriptors[number] = ours
    return number


class Owner(Protocol):
    """Whom a place belongs to."""

    def changed(self, place: WorkerHandle) -> None:
        """The place has another ``state``."""

    def is_suspended(self, service: str) -> bool:
        """Whether a worker that starts now is to take nothing for *service*."""

    def shutdown(self, service: str) -> None:
        """A handler wants *service* suspended."""

    def suspended(self, place: WorkerHandle, service: str) -> None:
        """The worker takes nothing more for *service*."""

    def worn(self, place: WorkerHandle) -> None:
        """The worker has done enough."""


class WorkerHandle:
    """Keeps a worker running for *placed* services, until it is drained. Reactor's thread only.

    The worker writes the block of *index* of each scoreboard. *lines* gets its log, as
    *worker_log* has it.
    """

    def __init__(
        self,
        name: str,
        index: int,
        runtime: Sequence[ServiceRuntime],
        python_path: tuple[str, ...],
        graceful_timeout: float,
        worker_log: WorkerLog,
        reactor: Any,
        spawner: Spawner,
        lines: Callable[[str], None],
        owner: Owner,
    ) -> None:
        self.name = name
        self.index = index
        self._life = Lifecycle(f"worker {name}", WORKER, WorkerState.EMPTY)
        self.counts_of: dict[str, Counts] = {}
        """What the processes that have gone have done, by service."""
        self._runtime = tuple(runtime)
        self._python_path = python_path
        self._graceful_timeout = graceful_timeout
        self._worker_log = worker_log
        self._reactor = reactor
        self._spawner = spawner
        self._lines = lines
        self._owner = owner
        self._backoff = Backoff()
        self._process: Process | None = None
        self._channel: _WorkerChannel | None = None
        self._timer: DelayedCall | None = None
        self._ready_at: float | None = None
        self._is_ending = False
        """Whether what the worker has is not waited for."""
        self._suspended: set[str] = set()
        """The services for which the worker has said that it takes nothing more, since it was told
        to leave."""
        self.failure: str | None = None
        """Why the last process here was never ready; None once one is."""

    @property
    def state(self) -> WorkerState:
        """What there is in it."""
        return self._life.state

    @property
    def counts(self) -> Counts:
        """What the processes that have gone have done."""
        return sum(self.counts_of.values(), Counts())

    @property
    def pid(self) -> int | None:
        """Of the process that is here, if there is one."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Put a process into the empty place."""
        if not self._advance(WorkerEvent.START):
            return
        self._ready_at = None
        try:
            self._spawn()
        except OSError as error:
            log.error("worker {name} cannot be started: {error}", name=self.name, error=error)
            self._ended(str(error))
            return
        self._set_timer(START_DEADLINE, self._too_slow)

    def _spawn(self) -> None:
        """Start a process with a channel to it, and tell it what to be. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._channel = _WorkerChannel(self._heard, self._misunderstood, self._lost)
            factory = Factory.forProtocol(partial(_the, self._channel))
            factory.noisy = False
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
            descriptors, order = self._start_order(theirs.fileno())
            self._process = self._spawner.spawn(self.name, descriptors, self._wrote, self._ended)
        self._channel.order(order)

    def drain(self) -> None:
        """Let the worker finish what it has and leave; then the place is closed.

        A worker that has not said it is ready has nothing, and is not waited for.
        """
        before = self.state
        self._suspended.clear()
        self._advance(WorkerEvent.DRAIN)
        if before in (WorkerState.STARTING, WorkerState.SERVING):
            self._clear_timer()
            self.order(Drain())
        elif before is WorkerState.WAITING:
            self._clear_timer()
        if before is WorkerState.STARTING:
            self._set_timer(END_DEADLINE, self._kill_unless_it_serves)

    @property
    def may_accept(self) -> bool:
        """Whether the process may take somebody yet: one that is to leave, until it says not."""
        if self.state is not WorkerState.DRAINING:
            return self.state is WorkerState.SERVING
        return any(runtime.service.name not in self._suspended for runtime in self._runtime)

    def end(self) -> None:
        """Tell a worker that is draining to leave at once, and see to it that it does."""
        if self.state is not WorkerState.DRAINING:
            return
        for runtime in self._runtime:
            inside = runtime.board.active_connections(self.index)
            if inside:
                log.warn(
                    "service {service}: {clients} still served when the time was over",
                    service=runtime.service.name,
                    clients=_named([active_connection.client for active_connection in inside]),
                )
        self._is_ending = True
        self.order(Stop())
        self._set_timer(END_DEADLINE, self.kill)

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    def _kill_unless_it_serves(self) -> None:
        """End what was told to drain before it was ready, though it may have become so just now."""
        if not any(runtime.board.busy(self.index) for runtime in self._runtime):
            self.kill()

    def _start_order(self, channel: int) -> tuple[dict[int, int], Start]:
        """Number the worker's descriptors; return which of ours they are, and the order."""
        descriptors = {_CHANNEL: channel}
        services = []
        for runtime in self._runtime:
            number = partial(_numbered, descriptors)
            page = number(runtime.page)
            services.append(
                ServiceStart(
                    runtime.service,
                    tuple(number(listener.fileno()) for listener in runtime.listeners),
                    page,
                    self.index,
                    self._owner.is_suspended(runtime.service.name),
                    tuple(
                        None if entrance is None else number(entrance.queue.fileno())
                        for entrance in runtime.entrances
                    ),
                )
            )
        return descriptors, Start(
            self.name,
            tuple(services),
            self._python_path,
            self._graceful_timeout,
            self._worker_log,
        )

    # What the worker says and does.

    def _heard(self, channel: _WorkerChannel, report: Report) -> None:
        # Lines and reasons may be the last words of a process whose end is known already.
        if isinstance(report, Lines):
            self._lines(report.text)
        elif isinstance(report, Failed):
            if self.state is not WorkerState.SERVING:  # otherwise another one has come up since
                self.failure = f"services.{report.service}: {report.message}"
            log.error("service {name}: {message}", name=report.service, message=report.message)
        elif channel is self._channel:
            self._heard_now(channel, report)

    def _heard_now(
        self, channel: _WorkerChannel, report: Ready | Shutdown | Suspended | NeedsRecycling | Hung
    ) -> None:
        """A report of the process that is here."""
        if isinstance(report, Ready):
            self._ready(channel)
        elif not self._serves(report.service):
            channel.misunderstand(f"something of a service that is not its own: {report.service}")
        elif isinstance(report, Shutdown):
            self._owner.shutdown(report.service)
        elif isinstance(report, Suspended):
            self._suspended.add(report.service)
            self._owner.suspended(self, report.service)
        elif isinstance(report, NeedsRecycling):
            self._worn(report)
        else:
            self._hung(report)

    def _hung(self, report: Hung) -> None:
        text = "worker {name} hangs in service {service}; it is ended"
        log.error(text, name=self.name, service=report.service)
        self.kill()

    def _worn(self, report: NeedsRecycling) -> None:
        log.info(
            "worker {name} (pid {pid}) {why}; it is replaced",
            name=self.name,
            pid=self.pid,
            why=report.why,
        )
        self._owner.worn(self)

    def _serves(self, service: str) -> bool:
        return any(runtime.service.name == service for runtime in self._runtime)

    def _ready(self, channel: _WorkerChannel) -> None:
        if self.state is WorkerState.SERVING:
            channel.misunderstand("that it is ready, again")
            return
        if not self._is_ending:
            self._clear_timer()
        self._ready_at = self._reactor.seconds()
        self.failure = None
        self._advance(WorkerEvent.READY)

    def _misunderstood(self, channel: _WorkerChannel, why: str) -> None:
        log.error("worker {name} said {why}; it is ended", name=self.name, why=why)
        if channel is self._channel:
            self.kill()

    def _lost(self, channel: _WorkerChannel) -> None:
        """The process has gone, or is about to; if not, a handler has closed its channel."""
        if channel is self._channel and self.state in (WorkerState.STARTING, WorkerState.SERVING):
            self._set_timer(LAST_WORDS, self._cut_off)

    def _cut_off(self) -> None:
        log.error("worker {name} has closed its channel; it is ended", name=self.name)
        self.kill()

    def _wrote(self, line: str) -> None:
        log.warn("worker {name}: {line}", name=self.name, line=line)

    def _too_slow(self) -> None:
        log.error(
            "worker {name} is not ready after {seconds:g} s; it is ended",
            name=self.name,
            seconds=START_DEADLINE,
        )
        self.kill()

    def _ended(self, how: str) -> None:
        """The process has gone: say what that cost, and replace it, unless it was to go."""
        if self.state is WorkerState.STARTING and self.failure is None:
            self.failure = f"worker {self.name} ended with {how} before it was ready"
        self._clear_timer()
        lost, requests = self._take_stock()
        pid = self.pid
        self._process = None
        if self._channel is not None:
            self._reactor.callLater(LAST_WORDS, self._channel.close)
            self._channel = None
        if self.state is not WorkerState.DRAINING:
            served = 0.0 if self._ready_at is None else self._reactor.seconds() - self._ready_at
            delay = self._backoff.died(served, requests)
            self._set_timer(delay, self.start)
            self._say_ended(pid, how, lost, f"; the next in {delay:g} s")
        elif lost:
            self._say_ended(pid, how, lost, "")
        self._advance(WorkerEvent.DIED)

    def _say_ended(self, pid: int | None, how: str, lost: list[str], then: str) -> None:
        log.error(
            "worker {name} (pid {pid}) ended with {how}; {lost} lost{then}",
            name=self.name,
            pid=pid,
            how=how,
            lost=_named(lost),
            then=then,
        )

    def _take_stock(self) -> tuple[list[str], int]:
        """Add up what the process had done, clear its block; return whom it held.

        And how many requests it had taken.
        """
        lost, requests = [], 0
        for runtime in self._runtime:
            inside = runtime.board.active_connections(self.index)
            counts = runtime.board.counts(self.index)
            requests += len(inside) + counts.served
            lost += [active_connection.client for active_connection in inside]
            name = runtime.service.name
            self.counts_of[name] = self.counts_of.get(name, Counts()) + counts
            runtime.board.clear(self.index)
        return lost, requests

    def _advance(self, event: WorkerEvent) -> bool:
        """*event* has happened; whether it could."""
        could = self._life.on(event)
        if could:
            self._owner.changed(self)
        return could

    def relog(self, worker_log: WorkerLog) -> None:
        """Have the worker log otherwise, and the next ones in this place."""
        self._worker_log = worker_log
        self.order(LogAs(worker_log))

    def order(self, order: Order) -> None:
        """Tell the worker, if there is one."""
        if self._channel is not None:
            self._channel.order(order)

    def _set_timer(self, seconds: float, call: Callable[[], None]) -> None:
        self._clear_timer()
        self._timer = self._reactor.callLater(seconds, call)

    def _clear_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def _the(channel: _WorkerChannel) -> _WorkerChannel:
    return channel


def _named(clients: list[str]) -> str:
    """Clients for a log line."""
    if not clients:
        return "no connection"
    shown = ", ".join(clients[:SHOWN])
    more = f" and {len(clients) - SHOWN} more" if len(clients) > SHOWN else ""
    plural = "s" if len(clients) > 1 else ""
    return f"{len(clients)} connection{plural} ({shown}{more})"
