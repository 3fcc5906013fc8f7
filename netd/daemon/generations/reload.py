"""One reload: a new generation starts beside the old one and replaces it when it is ready.

Everything that can fail is done before anything is given up: reading, importing, binding and
starting. Until the new generation is ready, the old one serves and the new one accepts nothing, so
no connection is lost if the reload fails. What was new is given back then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netd.config.plan import Action, Plan, plan
from netd.daemon.generations.generation import (
    Builder,
    Generation,
    PoolStart,
    binds_itself,
    by_worker,
)
from netd.daemon.workers.pool import Pool
from netd.listening.binding import bind_all
from netd.listening.listener import CannotBind, Listeners
from netd.model.service import Configuration

log = Logger()


@dataclass(frozen=True)
class Outcome:
    """How a reload has ended."""

    done: bool
    plan: Plan | None = None
    problems: tuple[str, ...] = ()
    """Why it was not done, a line each."""


class Switch(Protocol):
    """What happens when the new generation is ready."""

    def __call__(self, new: Generation, replaced: list[Pool], gone: Listeners) -> None:
        """Let *new* serve; drain the *replaced* pools, and close the listeners that are *gone*."""


class Reload:
    """The change from *old* to the checked *configuration*. In the reactor's thread."""

    def __init__(
        self,
        old: Generation,
        configuration: Configuration,
        builder: Builder,
        switch: Switch,
    ) -> None:
        self._old = old
        self._configuration = configuration
        self._builder = builder
        self._switch = switch
        self._plan = plan(old.configuration, configuration)
        self._ended: Deferred[Outcome] = Deferred()
        self._listeners = Listeners()
        self._fresh: dict[str, Pool] = {}
        """New pools that start now, by worker."""
        self._late: dict[str, Pool] = {}
        """New pools whose workers bind ports themselves, by worker: each starts when the pool that
        it replaces has gone, because both cannot have the ports."""

    def begin(self) -> Deferred[Outcome]:
        """Bind and start what is new. Fires when it serves or has been given back; never fails."""
        try:
            services = self._configuration.services
            self._listeners = bind_all(services, held=self._old.listeners)
            self._make_pools()
        except CannotBind as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"cannot be prepared: {error}")
        # A bug of netd's fails the reload, and the old generation goes on. No user code runs here,
        # so nothing but Exception is expected.
        except Exception as error:
            log.failure("the reload failed")
            self._fail(f"{type(error).__name__}: {error}")
        else:
            # A copy, because a worker that fails immediately leads to _fail().
            for pool in list(self._fresh.values()):
                pool.start()
            self._check()
        return self._ended

    def give_up(self, why: str) -> None:
        """Abandon the reload, because of *why*. Does nothing if it has ended."""
        self._fail(why)

    def _make_pools(self) -> None:
        start = PoolStart(self._old.suspended, is_held=True)
        moving = self._plan.services(Action.ADD, Action.CHANGE)
        for worker, services in by_worker(self._configuration.services).items():
            if moving.isdisjoint(service.name for service in services):
                continue
            pool = self._builder.pool(
                services, self._configuration, self._listeners, self._check, start
            )
            # A plugin's first pool has nothing to wait for.
            is_late = binds_itself(services) and worker in self._old.pools
            (self._late if is_late else self._fresh)[worker] = pool

    def _check(self) -> None:
        """Look whether all new pools are up, or one has failed."""
        if self._ended.called:
            return
        failure = next(filter(None, (pool.workers.failure for pool in self._fresh.values())), None)
        if failure is not None:
            self._fail(failure)
        elif all(pool.is_up for pool in self._fresh.values()):
            self._succeed()

    def _fail(self, why: str) -> None:
        """Give back what is new. The old generation has not noticed it."""
        if self._ended.called:
            return
        for pool in (*self._fresh.values(), *self._late.values()):
            pool.discard()
        self._listeners.give_back(self._old.listeners)
        self._ended.callback(Outcome(False, self._plan, (why,)))

    def _succeed(self) -> None:
        """Replace the old generation."""
        pools = {}
        for worker in by_worker(self._configuration.services):
            fresh = self._fresh.get(worker) or self._late.get(worker)
            pools[worker] = fresh if fresh is not None else self._old.pools[worker]
        old = self._old.pools.items()
        replaced = [pool for worker, pool in old if pools.get(worker) is not pool]
        new = Generation(self._configuration, self._listeners, pools)
        self._copy_suspensions()
        for worker, pool in self._late.items():
            pool.start_after(self._old.pools[worker])
        for pool in (*self._fresh.values(), *self._late.values()):
            pool.suspension.release()
        # After the release: the old pools stop accepting only when the new ones accept.
        self._switch(new, replaced, self._old.listeners.without(self._listeners))
        self._ended.callback(Outcome(True, self._plan))

    def _copy_suspensions(self) -> None:
        """Suspend and resume in the new generation what was so in the old one while it started."""
        suspended = self._old.suspended
        for pool in (*self._fresh.values(), *self._late.values()):
            for name in pool.states:
                if name in suspended and pool.states.accepts(name):
                    pool.suspension.suspend(name)
                elif name not in suspended and not pool.states.accepts(name):
                    pool.suspension.resume(name)
