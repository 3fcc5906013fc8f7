"""The daemon as a Twisted service: start, readiness, signals, stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from netd.daemon.generations.controller import STOPPING, ControllerEvents, GenerationController
from netd.daemon.generations.generation import Generation
from netd.daemon.generations.predecessor import Predecessor
from netd.daemon.generations.tools import DaemonTools
from netd.daemon.lifecycle import Lifecycle
from netd.daemon.states import DAEMON, DaemonEvent, DaemonState
from netd.listening.listener import Listeners
from netd.log.writer import DaemonLog
from netd.model.service import Configuration

log = Logger()

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Daemon(MultiService):
    """Runs *configuration* on *listeners*, which it closes at the end.

    *predecessor* is the daemon that this one replaces, if there is one; until this one is ready it
    accepts nothing, and it leaves no trace if it stops before that.
    Everything but the constructor runs in the reactor's thread, after twistd has forked.
    """

    def __init__(
        self,
        configuration: Configuration,
        listeners: Listeners,
        tools: DaemonTools,
        predecessor: Predecessor | None = None,
    ) -> None:
        super().__init__()
        self.setName("netd")
        self._tools = tools
        self._life = Lifecycle("the daemon", DAEMON, DaemonState.BOUND)
        self.generations = GenerationController(
            Generation(configuration, listeners, {}),
            self._life,
            tools,
            ControllerEvents(self._pools_changed, self._leave_at_once, self._stop_now),
            predecessor,
        )
        self.started = 0.0
        """Seconds of CLOCK_MONOTONIC."""
        self._has_been_ready = False
        self._is_impatient = False
        """Whether handlers get no time to finish."""
        self._at_start: list[Callable[[], None]] = []
        self._at_end: list[Callable[[], None]] = []
        self._stopped: Deferred[None] | None = None

    def at_start(self, call: Callable[[], None]) -> None:
        """Call when all workers are ready for the first time, but those that bind ports themselves.

        These cannot be before a predecessor that has their ports has stopped, which waits for this
        call.
        """
        self._at_start.append(call)

    def at_end(self, call: Callable[[], None]) -> None:
        """Call when all workers have exited."""
        self._at_end.append(call)

    def setServiceParent(self, parent: object) -> None:
        """Join the application, and be its log unless twistd was told to log elsewhere."""
        # As a component, because twistd looks there for the application's log observer.
        if isinstance(parent, Componentized) and isinstance(self._tools.log, DaemonLog):
            parent.setComponent(ILogObserver, self._tools.log)
        super().setServiceParent(parent)

    @property
    def state(self) -> DaemonState:
        """Its state."""
        return self._life.state

    def startService(self) -> None:
        """Start the workers. The listeners have been bound before."""
        super().startService()
        self._life.on(DaemonEvent.START)
        self.started = time.monotonic()
        # Here and not in the constructor: its thread would not survive twistd's fork.
        self._tools.log.start()
        reactor = self._tools.reactor
        reactor.callWhenRunning(self._tools.notifications.start_watchdog, reactor)
        # The reactor installs its own handlers when it starts, so these have to come later.
        reactor.callWhenRunning(self._handle_signals)
        self.generations.start()

    def _pools_changed(self) -> None:
        """Look whether all workers are ready or, after a stop, have exited."""
        if self._stopped is not None:
            if self.generations.draining.is_over:
                self._finish()
        elif self._life.may(DaemonEvent.READY):
            self._check_ready()

    def _check_ready(self) -> None:
        if self._has_been_ready:
            # The daemon is ready once: a worker that dies later is its service's failure.
            self._life.on(DaemonEvent.READY)
            return
        if self.generations.is_ready:
            # Before the calls, one of which opens the admin socket: two daemons must not answer.
            self.generations.take_over()
            calls, self._at_start = self._at_start, []
            for call in calls:
                call()
        if not self.generations.late:
            self._life.on(DaemonEvent.READY)
            self._has_been_ready = True
            log.info(
                "ready: {count} service(s) in {seconds:.2f} s",
                count=len(self.generations.current.configuration.services),
                seconds=time.monotonic() - self.started,
            )
            self._tools.notifications.ready(self.generations.status)

    # Stop.

    def stop(self) -> None:
        """Stop gracefully, after ``drain_delay``, in which load balancers notice the stop."""
        if not self._life.may(DaemonEvent.STOP_REQUESTED):
            return
        self._life.on(DaemonEvent.STOP_REQUESTED)
        self.generations.abandon(STOPPING)
        # During the delay the daemon accepts as before, and its status is "delaying".
        delay = self.generations.current.configuration.drain_delay
        if delay:
            log.info("stopping in {delay:g} s", delay=delay)
            self._tools.notifications.stopping(f"stopping in {delay:g} s")
        self._tools.reactor.callLater(delay, self._stop_now)

    def _stop_now(self) -> None:
        if self.running:
            self._tools.reactor.stop()

    def _leave_at_once(self) -> None:
        self._is_impatient = True
        self._stop_now()

    def stopService(self) -> Deferred[None]:
        """Accept nothing more. Fires when the last handler has finished or its time is over.

        Connections in the backlogs are served, too.
        """
        super().stopService()
        self._life.on(DaemonEvent.STOP)
        self.generations.abandon(STOPPING)
        stopped: Deferred[None] = Deferred()
        # Before the drain, which is over immediately if there is no pool, and then reads this.
        self._stopped = stopped
        seconds = self.generations.current.configuration.graceful_timeout
        log.info("stopping: handlers have {seconds:g} s to finish", seconds=seconds)
        if not len(self.generations.shared):  # else the service goes on, in another process
            self._tools.notifications.stopping(f"handlers have {seconds:g} s to finish")
        self.generations.drain(seconds)
        if self._is_impatient:
            self.generations.draining.end()
        return stopped

    def _finish(self) -> None:
        """All workers have exited: give everything back, and let the reactor stop."""
        stopped, self._stopped = self._stopped, None
        self._life.on(DaemonEvent.WORKERS_EXITED)
        # After the last worker: the spawner reports how the workers end.
        self._tools.spawner.close()
        for call in self._at_end:
            call()
        log.info(
            "stopped: {served} served, {refused} refused, {failed} failed, {dropped} dropped",
            **vars(self.generations.draining.counts),
        )
        if stopped is not None:
            stopped.callback(None)

    # Signals.

    def _handle_signals(self) -> None:
        """Replace the reactor's signal handlers.

        With the reactor's own, twistd ends by the signal (status 143) instead of with status 0.
        """
        for number in SIGNALS:
            signal.signal(number, self._enqueue)

    def _enqueue(self, number: int, _frame: FrameType | None) -> None:
        # It may interrupt any line of Python, so it does nothing itself.
        self._tools.reactor.callFromThread(self._signalled, number)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            log.info("SIGHUP: reloading")
            self.generations.reload()
        elif number == signal.SIGUSR2:
            self.generations.upgrade()
        elif number == signal.SIGUSR1:
            self._tools.log.reopen()
        elif self._life.may(DaemonEvent.STOP_REQUESTED):
            log.info("{signal}: stopping", signal=signal.Signals(number).name)
            self.stop()
        else:
            log.info("{signal} again: stopping immediately", signal=signal.Signals(number).name)
            self._leave_at_once()
            # After the stop, which may have made more pools drain.
            self.generations.draining.end()
