"""The daemon itself, as a Twisted service: workers in their places, signals, the way out."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from netd.config.plan import Plan, plan
from netd.daemon.check.self_signed import with_certificates
from netd.daemon.forkserver.spawn import Spawner
from netd.daemon.generations.drain import DrainingGenerations
from netd.daemon.generations.generation import Builder, Generation, binds_itself, by_worker
from netd.daemon.generations.predecessor import Predecessor
from netd.daemon.generations.reload import Outcome, Reload
from netd.daemon.generations.reload_queue import Reloads
from netd.daemon.generations.upgrade import CommandLine, Upgrade, Upgraded
from netd.daemon.lifecycle import Lifecycle
from netd.daemon.states import DAEMON, DaemonEvent, DaemonState
from netd.daemon.systemd import Notifications
from netd.daemon.workers.pool import Pool
from netd.listening.binding import Listener, Listeners
from netd.log.destination import LogLocation
from netd.log.file import Destination, cannot_log
from netd.log.writer import DaemonLog, Log
from netd.model.log import Level
from netd.model.log import Log as LogSettings
from netd.model.service import Configuration

log = Logger()

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

STOPPING: Final = "the daemon is stopping"
"""Why nothing is reloaded any more."""

REPLACED: Final = "another daemon is taking this one's place, and reads the configuration itself"
"""Why nothing is reloaded meanwhile."""

_BEING_REPLACED: Final = frozenset({DaemonState.UPGRADING, DaemonState.REPLACED})


class Daemon(MultiService):
    """Runs *configuration* on *listeners*, which it closes at the end.

    *recheck* reads the configuration again, or another file for it; its Deferred fails with
    ConfigurationError. *predecessor* is the daemon in whose place this one is started, if there is
    one; until this one is ready it takes nobody, and stops without a trace.
    Everything but the constructor runs in the reactor's thread, after twistd has forked.
    """

    def __init__(
        self,
        configuration: Configuration,
        listeners: Listeners,
        reactor: Any,
        spawner: Spawner,
        daemon_log: Log,
        log_place: LogLocation,
        recheck: Callable[[str | None], Deferred[Configuration]],
        command: CommandLine,
        notifications: Notifications,
        predecessor: Predecessor | None = None,
    ) -> None:
        super().__init__()
        self.setName("netd")
        self._reactor = reactor
        self._spawner = spawner
        self._log = daemon_log
        self._log_place = log_place
        self._recheck = recheck
        self._command = command
        self._notifications = notifications
        self.handed_over: list[Listener] = []
        """Listeners beside those of services that a new daemon gets, too."""
        self._builder = Builder(reactor, spawner, daemon_log.write, log_place.form)
        self.generation = Generation(configuration, listeners, {})
        self.draining = DrainingGenerations(reactor, self._pools_changed)
        self._reloads = Reloads(partial(recheck, None), self._begin_reload)
        self._reload: Reload | None = None
        self.started = 0.0
        """Seconds of CLOCK_MONOTONIC."""
        self._life = Lifecycle("the daemon", DAEMON, DaemonState.BOUND)
        self._said_ready = False
        self._is_ending = False
        """Whether nobody is given any time."""
        self._at_start: list[Callable[[], None]] = []
        self._at_end: list[Callable[[], None]] = []
        self._upgrade: Upgrade | None = None
        self._predecessor = predecessor
        self.shared = predecessor.listeners if predecessor is not None else Listeners()
        """The listeners that another daemon serves by, so that they stay as they are."""
        self._when_replaced: list[Callable[[], None]] = []
        self._stopped: Deferred[None] | None = None

    def at_start(self, call: Callable[[], None]) -> None:
        """Call when all workers are ready for the first time, but those that bind for themselves.

        They cannot before another daemon that has their ports has left, which waits for this call.
        """
        self._at_start.append(call)

    def when_replaced(self, call: Callable[[], None]) -> None:
        """Call when another daemon serves in the place of this one."""
        self._when_replaced.append(call)

    def at_end(self, call: Callable[[], None]) -> None:
        """Call when all workers have gone."""
        self._at_end.append(call)

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, and be its log unless twistd was told to log elsewhere."""
        if isinstance(parent, Componentized) and isinstance(self._log, DaemonLog):
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start the workers. The listeners have been bound before."""
        super().startService()
        self._life.on(DaemonEvent.START)
        self.started = time.monotonic()
        self._log.start()
        self._reactor.callWhenRunning(self._notifications.start_watchdog, self._reactor)
        self._reactor.callWhenRunning(self._obey_signals)
        configuration, listeners = self.generation.configuration, self.generation.listeners
        _say_listeners(listeners)
        _say_notes(configuration)
        before = self._predecessor
        suspended = before.suspended if before is not None else frozenset[str]()
        pools = {
            worker: self._builder.pool(
                worker,
                services,
                configuration,
                listeners,
                self._pools_changed,
                suspended & {service.name for service in services},
                is_held=before is not None,
            )
            for worker, services in by_worker(configuration.services).items()
        }
        self.generation = Generation(configuration, listeners, pools)
        if before is not None:
            before.watch(partial(self._is_unwanted, before), self._is_alone)
        for pool in self.generation:
            pool.start()

    def stopService(self) -> Deferred[None]:
        """Take nothing more, and fire when the last handler is done or its time is over.

        Those who are in the queues of the listeners are served, too.
        """
        super().stopService()
        self._life.on(DaemonEvent.STOP)
        self._give_up()
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        seconds = self.generation.configuration.graceful_timeout
        log.info("stopping: handlers have {seconds:g} s to finish", seconds=seconds)
        if not len(self.shared):  # else the service goes on, in another process
            self._notifications.stopping(f"handlers have {seconds:g} s to finish")
        gone = self.generation.listeners.without(self.shared)
        self.draining.drain_pools(list(self.generation), gone, seconds)
        if self._is_ending:
            self.draining.end()
        return stopped

    def _give_up(self) -> None:
        """Prepare nothing any more: what is new is taken back, and another daemon ended."""
        if self._reload is not None:
            self._reload.give_up(STOPPING)
        if self._upgrade is not None:
            self._upgrade.give_up(STOPPING)

    def _pools_changed(self) -> None:
        """See whether everything has come up, or has come to its end."""
        if self._stopped is not None:
            if self.draining.is_over:
                self._finish()
        elif self._life.may(DaemonEvent.READY):
            self._see_who_is_up()

    def _see_who_is_up(self) -> None:
        """See whether all have come up, or all but those in whose way another daemon is.

        Once they have, that is no question any more.
        """
        if self._said_ready:
            self._life.on(DaemonEvent.READY)
            return
        late = [pool for pool in self.generation if not pool.is_up]
        if all(binds_itself(runtime.service for runtime in pool.runtime) for pool in late):
            self._take_over()
            calls, self._at_start = self._at_start, []
            for call in calls:
                call()
        if not late:
            self._life.on(DaemonEvent.READY)
            self._said_ready = True
            log.info(
                "ready: {count} service(s) in {seconds:.2f} s",
                count=len(self.generation.configuration.services),
                seconds=time.monotonic() - self.started,
            )
            self._notifications.ready(self._serving())

    def _serving(self) -> str:
        """What the daemon is for, in a line."""
        return f"serving {len(self.generation.configuration.services)} service(s)"

    def _finish(self) -> None:
        """All workers have gone: give everything back, and let the reactor stop."""
        stopped, self._stopped = self._stopped, None
        self._life.on(DaemonEvent.GONE)
        self._spawner.close()
        for call in self._at_end:
            call()
        log.info(
            "stopped: {served} served, {refused} refused, {failed} failed, {dropped} dropped",
            **vars(self.draining.counts),
        )
        if stopped is not None:
            stopped.callback(None)

    @property
    def state(self) -> DaemonState:
        """What the daemon is about."""
        return self._life.state

    def stop(self) -> None:
        """Stop gracefully, after the time that others are given to notice (``drain_delay``)."""
        if not self._life.may(DaemonEvent.LEAVE):
            return
        self._life.on(DaemonEvent.LEAVE)
        self._give_up()
        delay = self.generation.configuration.drain_delay
        if delay:
            log.info("stopping in {delay:g} s", delay=delay)
            self._notifications.stopping(f"stopping in {delay:g} s")
        self._reactor.callLater(delay, self._stop_now)

    def _stop_now(self) -> None:
        if self.running:
            self._reactor.stop()

    # Upgrades: as the new daemon, and as the old one.

    def _take_over(self) -> None:
        """Serve in the place of the daemon before, if there is one."""
        predecessor, self._predecessor = self._predecessor, None
        if predecessor is None:
            return
        for pool in self.generation:
            pool.release()
        self.shared = Listeners()
        predecessor.tell(Listeners([*self.generation.listeners, *self.handed_over]))

    def _is_unwanted(self, predecessor: Predecessor) -> None:
        log.error("the daemon before this one goes on by itself: this one leaves")
        self.shared = predecessor.listeners
        # Its pid file has come back, and is not to be removed by twistd.
        self._command.twistd["pidfile"] = ""
        self._is_ending = True
        self._stop_now()

    def _is_alone(self) -> None:
        if self._predecessor is not None:
            log.warn("the daemon before this one has gone")
            self.shared = Listeners()

    def upgrade(self) -> Deferred[Upgraded]:
        """Start a new daemon in our place, and leave when it is ready. Fires with what came."""
        if not self._life.may(DaemonEvent.UPGRADE):
            how = Upgraded(None, f"the daemon is {self.state}: try again later")
            _say_not_upgraded(how)
            return succeed(how)
        self._life.on(DaemonEvent.UPGRADE)
        listeners = Listeners([*self.generation.listeners, *self.handed_over])
        log.info("upgrading: starting {command}", command=" ".join(self._command.arguments))
        self._upgrade = Upgrade(self._command, listeners, self.generation.suspended, self._reactor)
        return self._upgrade.begin().addCallback(self._upgraded)

    def _upgraded(self, how: Upgraded) -> Upgraded:
        if how.pid is None:
            self._upgrade = None
            _say_not_upgraded(how)
            self._life.on(DaemonEvent.NOT_UPGRADED)
            self._pools_changed()
        else:
            log.info("upgraded: pid {pid} serves now", pid=how.pid)
            self._life.on(DaemonEvent.UPGRADED)
            self.shared = Listeners([*self.generation.listeners, *self.handed_over]).without(
                how.unused
            )
            for call in self._when_replaced:
                call()
            self._notifications.replaced(how.pid)
            # After whoever asked has had his answer.
            self._reactor.callLater(0.1, self._stop_now)
        return how

    # The log.

    @property
    def log_level(self) -> Level:
        """The least that is logged now."""
        return self.generation.configuration.log.level

    def log_from(self, level: Level) -> None:
        """Log from *level* on, in all processes, until a reload does as the file says."""
        old = self.generation.configuration
        if level == old.log.level:
            return
        log.info("the log level is {least} now", least=level)
        changed = replace(old, log=replace(old.log, level=level))
        self.generation = replace(self.generation, configuration=changed)
        self._log_as(changed.log, None)

    def _log_as(self, now: LogSettings, destination: Destination | None) -> None:
        self._log.change(destination, self._log_place.form(now), now.level)
        for pool in (*self.generation, *self.draining):
            pool.relog(self._builder.worker_log(now))

    # Reloads.

    def reload(self) -> Deferred[Outcome]:
        """Read the configuration again and run what it says. Fires with what came of it."""
        if not self.running:
            return succeed(Outcome(False, None, (STOPPING,)))
        self._notifications.reloading()
        return self._reloads.ask().addCallback(self._say_reloaded)

    def _say_reloaded(self, outcome: Outcome) -> Outcome:
        """Tell the service manager how a reload has ended."""
        if self.running:
            why = "" if outcome.done else f"; not reloaded: {next(iter(outcome.problems), '')}"
            self._notifications.reloaded(f"{self._serving()}{why}")
        return outcome

    def plan(self, file: str | None = None) -> Deferred[Plan]:
        """Say what a reload would do, of *file* if it is not the daemon's own.

        Fails with ConfigurationError.
        """
        checked = self._recheck(file)
        return checked.addCallback(lambda new: plan(self.generation.configuration, new))

    def _begin_reload(self, configuration: Configuration) -> Deferred[Outcome]:
        if not self._life.may(DaemonEvent.RELOAD):
            why = REPLACED if self.state in _BEING_REPLACED else STOPPING
            return succeed(Outcome(False, None, (why,)))
        configuration = with_certificates(configuration)
        before = self.generation.configuration.log
        try:
            destination = self._log_place.other(before, configuration.log)
        except OSError as error:
            return succeed(Outcome(False, None, (cannot_log(error),)))
        self._life.on(DaemonEvent.RELOAD)
        self._reload = Reload(self.generation, configuration, self._builder, self._switch)
        ended = self._reload.begin().addCallback(self._reloaded, before, destination)
        return ended.addCallback(self._settled)

    def _settled(self, outcome: Outcome) -> Deferred[Outcome]:
        """Who hears that it is done meets nobody any more who serves as before."""
        return self.draining.settled().addCallback(lambda _: outcome)

    def _reloaded(
        self, outcome: Outcome, before: LogSettings, destination: Destination | None
    ) -> Outcome:
        self._reload = None
        self._life.on(DaemonEvent.RELOADED)
        self._pools_changed()
        now = self.generation.configuration.log
        if outcome.done and now != before:
            self._log_as(now, destination)
        elif destination is not None:
            destination.close()
        return outcome

    def _switch(self, new: Generation, replaced: list[Pool], gone: Listeners) -> None:
        """Let *new* be what runs, and retire what it replaces."""
        old, self.generation = self.generation, new
        _say_listeners(new.listeners.without(old.listeners))
        _say_notes(new.configuration)
        if new.configuration.admin_socket != old.configuration.admin_socket:
            log.warn("admin.socket has changed, which takes effect when netd is started anew")
        for pool in new:
            pool.tell(self._pools_changed)
        # Those too whom an earlier reload has left inside.
        for pool in (*replaced, *self.draining):
            for service in new.configuration.services:
                pool.recheck(service)
        self.draining.drain_pools(replaced, gone, old.configuration.graceful_timeout)

    # Signals.

    def _obey_signals(self) -> None:
        """Take the signals over from the reactor, now that it has set its own handlers.

        A handler only enqueues. With its own, the reactor ends twistd by the signal (status 143).
        """
        for number in SIGNALS:
            signal.signal(number, self._enqueue)

    def _enqueue(self, number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._signalled, number)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            log.info("SIGHUP: reloading")
            self.reload()
        elif number == signal.SIGUSR2:
            self.upgrade()
        elif number == signal.SIGUSR1:
            self._log.reopen()
        elif self._life.may(DaemonEvent.LEAVE):
            log.info("{signal}: stopping", signal=signal.Signals(number).name)
            self.stop()
        else:
            log.info("{signal} again: stopping at once", signal=signal.Signals(number).name)
            self._is_ending = True
            self._stop_now()
            self.draining.end()


def _say_not_upgraded(how: Upgraded) -> None:
    log.error("not upgraded: {problem}", problem=how.problem)


def _say_listeners(listeners: Listeners) -> None:
    for listener in listeners:
        log.info("{service} listens on {bound}", service=listener.service, bound=listener.bound)


def _say_notes(configuration: Configuration) -> None:
    for note in configuration.notes:
        log.warn("{note}", note=str(note))
