"""One reload: a new generation beside the old one, and the change when it is ready.

Everything that can fail is done before anything is given up: reading, importing, binding, and
starting. Until the new generation has said that it is ready, the old one serves as if nothing were
going on, and the new one takes nobody, so that nobody is lost if it is not to be: then whatever was
new is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netd.config.plan import Action, Plan, plan
from netd.daemon.generations.generation import Builder, Generation, binds_itself, by_worker
from netd.daemon.workers.pool import Pool
from netd.listening.binding import CannotBind, Listeners, bind_all
from netd.model.service import Configuration

log = Logger()


@dataclass(frozen=True)
class Outcome:
    """How a reload has ended."""

    done: bool
    plan: Plan | None = None
    problems: tuple[str, ...] = ()
    """Why it was not done: lines for people."""


class Switch(Protocol):
    """What a reload does when the new generation is ready."""

    def __call__(self, new: Generation, replaced: list[Pool], gone: Listeners) -> None:
        """Let *new* be what runs; retire the *replaced* pools, and close the *gone* listeners."""


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
        self._late: dict[str, Pool] = {}
        """Those that bind for themselves: started when their predecessors have gone."""

    def begin(self) -> Deferred[Outcome]:
        """Bind and start what is new. Fires when all is changed, or taken back; never fails."""
        try:
            services = self._configuration.services
            self._listeners = bind_all(services, held=self._old.listeners)
            self._make_pools()
        except CannotBind as error:
            self._take_back(str(error))
        except OSError as error:
            self._take_back(f"cannot be prepared: {error}")
        # A bug of ours costs the reload, and nothing else; the daemon runs no user code.
        except Exception as error:
            log.failure("the reload failed")
            self._take_back(f"{type(error).__name__}: {error}")
        else:
            for pool in list(self._fresh.values()):
                pool.start()
            self._changed()
        return self._ended

    def give_up(self, why: str) -> None:
        """Take back what is new, because of *why*."""
        self._take_back(why)

    def _make_pools(self) -> None:
        moving = self._plan.services(Action.ADD, Action.CHANGE)
        for worker, services in by_worker(self._configuration.services).items():
            if moving.isdisjoint(service.name for service in services):
                continue
            pool = self._builder.pool(
                worker,
                services,
                self._configuration,
                self._listeners,
                self._changed,
                self._old.suspended & {service.name for service in services},
                is_held=True,
            )
            is_late = binds_itself(services) and worker in self._old.pools
            (self._late if is_late else self._fresh)[worker] = pool

    def _changed(self) -> None:
        """See whether all that is new has come up, or something has not."""
        if self._ended.called:
            return
        failure = next((pool.failure for pool in self._fresh.values() if pool.failure), None)
        if failure is not None:
            self._take_back(failure)
        elif all(pool.is_up for pool in self._fresh.values()):
            self._change()

    def _take_back(self, why: str) -> None:
        """Nothing has happened."""
        if self._ended.called:
            return
        for pool in (*self._fresh.values(), *self._late.values()):
            pool.discard()
        self._listeners.give_back(self._old.listeners)
        self._ended.callback(Outcome(False, self._plan, (why,)))

    def _change(self) -> None:
        pools = {}
        for worker in by_worker(self._configuration.services):
            fresh = self._fresh.get(worker) or self._late.get(worker)
            pools[worker] = fresh if fresh is not None else self._old.pools[worker]
        old = self._old.pools.items()
        replaced = [pool for worker, pool in old if pools.get(worker) is not pool]
        new = Generation(self._configuration, self._listeners, pools)
        self._suspend_as_before()
        for worker, pool in self._late.items():
            pool.start_after(self._old.pools[worker])
        for pool in (*self._fresh.values(), *self._late.values()):
            pool.release()
        self._switch(new, replaced, self._old.listeners.without(self._listeners))
        self._ended.callback(Outcome(True, self._plan))

    def _suspend_as_before(self) -> None:
        """What was suspended, or resumed, while the new generation started, is so in it too."""
        suspended = self._old.suspended
        for pool in (*self._fresh.values(), *self._late.values()):
            for name in {runtime.service.name for runtime in pool.runtime}:
                if name in suspended and name not in pool.suspended_services:
                    pool.suspend(name)
                elif name not in suspended and name in pool.suspended_services:
                    pool.resume(name)
