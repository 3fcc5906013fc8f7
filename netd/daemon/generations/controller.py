"""The generation that serves, and every change to it: reload, log level, upgrade, drain.

A daemon that is upgraded to another one is a predecessor for that one; both sides are here, because
the same listeners are shared in both cases until one of the two daemons serves alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from netd.config.plan import Plan, plan
from netd.daemon.check.self_signed import with_certificates
from netd.daemon.generations.drain import DrainingGenerations
from netd.daemon.generations.generation import (
    Builder,
    Generation,
    PoolStart,
    binds_itself,
    by_worker,
)
from netd.daemon.generations.predecessor import Predecessor
from netd.daemon.generations.reload import Outcome, Reload
from netd.daemon.generations.reload_queue import Reloads
from netd.daemon.generations.tools import DaemonTools
from netd.daemon.generations.upgrade import Upgrade, Upgraded
from netd.daemon.lifecycle import Lifecycle
from netd.daemon.states import DaemonEvent, DaemonState
from netd.daemon.workers.pool import Pool
from netd.listening.listener import Listener, Listeners
from netd.log.file import Destination, cannot_log
from netd.model.log import Level
from netd.model.log import Log as LogSettings
from netd.model.service import Configuration

log = Logger()

STOPPING: Final = "the daemon is stopping"
"""Why a reload or an upgrade is refused or abandoned."""

REPLACED: Final = "another daemon is replacing this one, and reads the configuration itself"
"""Why a reload is refused during an upgrade."""

_BEING_REPLACED: Final = frozenset({DaemonState.UPGRADING, DaemonState.REPLACED})

ANSWER_TIME: Final = 0.1
"""Seconds between the success of an upgrade and the stop of the old daemon: the client that asked
for the upgrade gets its answer from this one."""


@dataclass(frozen=True)
class ControllerEvents:
    """What a daemon does when something happens to its generations."""

    changed: Callable[[], None]
    """A worker of the generation that serves, or of a draining one, has another state."""
    unwanted: Callable[[], None]
    """The predecessor goes on by itself, so this daemon has to end."""
    replaced: Callable[[], None]
    """A new daemon serves, so this one has to stop."""


class GenerationController:
    """Keeps the generation that serves. *life* is the daemon's. In the reactor's thread.

    *predecessor* is the daemon that this one replaces, if there is one. It serves until this one
    is ready, so that this one's workers are held until then.
    """

    def __init__(
        self,
        first: Generation,
        life: Lifecycle[DaemonState, DaemonEvent],
        tools: DaemonTools,
        events: ControllerEvents,
        predecessor: Predecessor | None = None,
    ) -> None:
        self.current = first
        self.draining = DrainingGenerations(tools.reactor, events.changed)
        self.shared = predecessor.listeners if predecessor is not None else Listeners()
        """The listeners that another daemon serves on: this one leaves them as they are."""
        self.passed_on: list[Listener] = []
        """Listeners beside those of the services that a new daemon gets, too."""
        self._life = life
        self._tools = tools
        self._events = events
        self._predecessor = predecessor
        self._builder = Builder(
            tools.reactor, tools.spawner, tools.log.write, tools.log_location.form
        )
        self._reloads = Reloads(partial(tools.recheck, None), self._begin_reload)
        self._reload: Reload | None = None
        self._upgrade: Upgrade | None = None
        self._when_replaced: list[Callable[[], None]] = []

    def when_replaced(self, call: Callable[[], None]) -> None:
        """Call when a new daemon serves instead of this one."""
        self._when_replaced.append(call)

    @property
    def status(self) -> str:
        """What the daemon does, in a line."""
        return f"serving {len(self.current.configuration.services)} service(s)"

    # Start and stop.

    def start(self) -> None:
        """Make and start the pools of the first generation. Raises OSError."""
        configuration, listeners = self.current.configuration, self.current.listeners
        _log_listeners(listeners)
        _log_notes(configuration)
        before = self._predecessor
        start = PoolStart() if before is None else PoolStart(before.suspended, is_held=True)
        pools = {
            worker: self._builder.pool(
                services, configuration, listeners, self._events.changed, start
            )
            for worker, services in by_worker(configuration.services).items()
        }
        self.current = Generation(configuration, listeners, pools)
        # Before the workers start: the predecessor may have ended already.
        if before is not None:
            before.watch(partial(self._is_unwanted, before), self._predecessor_gone)
        for pool in self.current:
            pool.start()

    @property
    def late(self) -> list[Pool]:
        """The pools that are not up."""
        return [pool for pool in self.current if not pool.is_up]

    @property
    def is_ready(self) -> bool:
        """Whether all pools are up that can be while a predecessor serves.

        A pool whose workers bind ports themselves cannot be before the predecessor has stopped,
        which waits for this daemon.
        """
        return all(binds_itself(one.service for one in pool.runtime) for pool in self.late)

    def abandon(self, why: str) -> None:
        """Abandon the reload and the upgrade that are under way, because of *why*."""
        if self._reload is not None:
            self._reload.give_up(why)
        if self._upgrade is not None:
            self._upgrade.give_up(why)

    def drain(self, seconds: float) -> None:
        """Drain the generation that serves within *seconds*, and close its listeners."""
        gone = self.current.listeners.without(self.shared)
        self.draining.drain_pools(list(self.current), gone, seconds)

    # Replacing a predecessor.

    def take_over(self) -> None:
        """Serve instead of the predecessor. Does nothing if there is none."""
        predecessor, self._predecessor = self._predecessor, None
        if predecessor is None:
            return
        for pool in self.current:
            pool.suspension.release()
        self.shared = Listeners()
        # After the release, because the predecessor stops accepting when it reads this.
        predecessor.tell(self._all_listeners)

    def _is_unwanted(self, predecessor: Predecessor) -> None:
        log.error("the previous daemon goes on by itself: this one stops")
        self.shared = predecessor.listeners
        # The predecessor's pid file has its old name again, and twistd would remove it.
        self._tools.command.twistd["pidfile"] = ""
        self._events.unwanted()

    def _predecessor_gone(self) -> None:
        if self._predecessor is not None:
            log.warn("the previous daemon has ended")
            self.shared = Listeners()

    # Upgrade.

    @property
    def _all_listeners(self) -> Listeners:
        return Listeners([*self.current.listeners, *self.passed_on])

    def upgrade(self) -> Deferred[Upgraded]:
        """Start a new daemon, and stop when it is ready. Fires with the result; never fails."""
        if not self._life.may(DaemonEvent.UPGRADE):
            refused = Upgraded(None, f"the daemon is {self._life.state}: try again later")
            _log_not_upgraded(refused)
            return succeed(refused)
        self._life.on(DaemonEvent.UPGRADE)
        command = self._tools.command
        log.info("upgrading: starting {command}", command=" ".join(command.arguments))
        self._upgrade = Upgrade(
            command, self._all_listeners, self.current.suspended, self._tools.reactor
        )
        return self._upgrade.begin().addCallback(self._upgraded)

    def _upgraded(self, result: Upgraded) -> Upgraded:
        if result.pid is None:
            self._upgrade = None
            _log_not_upgraded(result)
            self._life.on(DaemonEvent.NOT_UPGRADED)
            self._events.changed()
            return result
        log.info("upgraded: pid {pid} serves now", pid=result.pid)
        self._life.on(DaemonEvent.UPGRADED)
        self.shared = self._all_listeners.without(result.unused)
        for call in self._when_replaced:
            call()
        self._tools.notifications.replaced(result.pid)
        self._tools.reactor.callLater(ANSWER_TIME, self._events.replaced)
        return result

    # The log.

    def log_from(self, level: Level) -> None:
        """Log from *level* on in all processes, until a reload follows the file again."""
        old = self.current.configuration
        if level == old.log.level:
            return
        log.info("the log level is {least} now", least=level)
        # In the configuration, so that a reload compares the file with what runs.
        changed = replace(old, log=replace(old.log, level=level))
        self.current = replace(self.current, configuration=changed)
        self._relog(changed.log, None)

    def _relog(self, now: LogSettings, destination: Destination | None) -> None:
        self._tools.log.change(destination, self._tools.log_location.form(now), now.level)
        for pool in (*self.current, *self.draining):
            pool.workers.relog(self._builder.worker_log(now))

    # Reload.

    def plan(self, file: str | None = None) -> Deferred[Plan]:
        """Plan a reload of the daemon's file, or of *file* instead. Changes nothing.

        Fails with ConfigurationError.
        """
        checked = self._tools.recheck(file)
        return checked.addCallback(lambda new: plan(self.current.configuration, new))

    def reload(self) -> Deferred[Outcome]:
        """Read the configuration again and run it. Fires with the outcome; never fails."""
        if self._is_stopping:
            return succeed(Outcome(False, None, (STOPPING,)))
        self._tools.notifications.reloading()
        return self._reloads.ask().addCallback(self._notify_reloaded)

    def _notify_reloaded(self, outcome: Outcome) -> Outcome:
        """Tell the service manager how a reload has ended."""
        # A service manager that has been told of the stop must not be told READY=1 after it.
        if not self._is_stopping:
            why = "" if outcome.done else f"; not reloaded: {next(iter(outcome.problems), '')}"
            self._tools.notifications.reloaded(f"{self.status}{why}")
        return outcome

    @property
    def _is_stopping(self) -> bool:
        return self._life.state in (DaemonState.STOPPING, DaemonState.STOPPED)

    def _begin_reload(self, configuration: Configuration) -> Deferred[Outcome]:
        if not self._life.may(DaemonEvent.RELOAD):
            why = REPLACED if self._life.state in _BEING_REPLACED else STOPPING
            return succeed(Outcome(False, None, (why,)))
        # Here rather than in the check, which runs in a thread and must change nothing.
        configuration = with_certificates(configuration)
        before = self.current.configuration.log
        try:
            # Opened before anything is replaced: a log that cannot be opened refuses the reload.
            destination = self._tools.log_location.other(before, configuration.log)
        except OSError as error:
            return succeed(Outcome(False, None, (cannot_log(error),)))
        self._life.on(DaemonEvent.RELOAD)
        self._reload = Reload(self.current, configuration, self._builder, self._switch)
        ended = self._reload.begin().addCallback(self._reloaded, before, destination)
        # When the reload reports success, no old worker accepts.
        return ended.addCallback(
            lambda outcome: self.draining.settled().addCallback(lambda _: outcome)
        )

    def _reloaded(
        self, outcome: Outcome, before: LogSettings, destination: Destination | None
    ) -> Outcome:
        self._reload = None
        self._life.on(DaemonEvent.RELOADED)
        # Its workers may have become ready during the reload, which was no event then.
        self._events.changed()
        # After the switch: the old log gets what happens until the new generation serves.
        now = self.current.configuration.log
        if outcome.done and now != before:
            self._relog(now, destination)
        elif destination is not None:
            destination.close()
        return outcome

    def _switch(self, new: Generation, replaced: list[Pool], gone: Listeners) -> None:
        """Let *new* serve, and drain what it replaces."""
        old, self.current = self.current, new
        _log_listeners(new.listeners.without(old.listeners))
        _log_notes(new.configuration)
        if new.configuration.admin_socket != old.configuration.admin_socket:
            log.warn("admin.socket has changed, which takes effect when netd is restarted")
        for pool in new:
            pool.notify(self._events.changed)
        # New lists hold for all connections, those that earlier reloads left to finish included.
        for pool in (*replaced, *self.draining):
            for service in new.configuration.services:
                pool.workers.recheck(service)
        self.draining.drain_pools(replaced, gone, old.configuration.graceful_timeout)


def _log_not_upgraded(result: Upgraded) -> None:
    log.error("not upgraded: {problem}", problem=result.problem)


def _log_listeners(listeners: Listeners) -> None:
    for listener in listeners:
        log.info("{service} listens on {bound}", service=listener.service, bound=listener.bound)


def _log_notes(configuration: Configuration) -> None:
    for note in configuration.notes:
        log.warn("{note}", note=str(note))
