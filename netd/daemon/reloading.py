"""One reload: a new generation beside the old one, and the change when it is ready.

Everything that can fail is done before anything is given up: reading, importing, binding, and
starting. Until the new generation has said that it is ready, the old one serves as if nothing were
going on; if it never does, whatever was new is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from netd.config.plan import Fate, Plan, plan
from netd.daemon.estate import Builder, Estate, binds_itself, by_worker
from netd.daemon.pool import Pool
from netd.listening.binding import CannotBind, Listeners, bind_all
from netd.values.service import Configuration


@dataclass(frozen=True)
class Outcome:
    """How a reload has ended."""

    done: bool
    plan: Plan | None = None
    problems: tuple[str, ...] = ()
    """Why it was not done: lines for people."""


class Switch(Protocol):
    """What a reload does when the new generation is ready."""

    def __call__(self, new: Estate, replaced: list[Pool], gone: Listeners) -> None:
        """Let *new* be what runs; retire the *replaced* pools, and close the *gone* listeners."""


class Reload:
    """The change from *old* to the checked *configuration*. In the reactor's thread."""

    def __init__(
        self,
        old: Estate,
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
        except CannotBind as error:
            self._end(Outcome(False, self._plan, (str(error),)))
            return self._ended
        self._make_pools()
        for pool in self._fresh.values():
            pool.start()
        self._changed()
        return self._ended

    def give_up(self, why: str) -> None:
        """Take back what is new, because of *why*."""
        self._take_back(why)

    def _make_pools(self) -> None:
        suspended = frozenset[str]().union(*(pool.suspended_services for pool in self._old))
        moving = self._plan.fates(Fate.ADD, Fate.CHANGE)
        for worker, services in by_worker(self._configuration.services).items():
            if moving.isdisjoint(service.name for service in services):
                continue
            pool = self._builder.pool(
                worker,
                services,
                self._configuration,
                self._listeners,
                self._changed,
                suspended & {service.name for service in services},
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
        self._end(Outcome(False, self._plan, (why,)))
        for pool in self._fresh.values():
            pool.drain()
            pool.end()
        self._listeners.without(self._old.listeners).close()

    def _change(self) -> None:
        pools = {}
        for worker in by_worker(self._configuration.services):
            fresh = self._fresh.get(worker) or self._late.get(worker)
            pools[worker] = fresh if fresh is not None else self._old.pools[worker]
        old = self._old.pools.items()
        replaced = [pool for worker, pool in old if pools.get(worker) is not pool]
        new = Estate(self._configuration, self._listeners, pools)
        self._switch(new, replaced, self._old.listeners.without(self._listeners))
        self._start_late()
        self._end(Outcome(True, self._plan))

    def _start_late(self) -> None:
        for worker, pool in self._late.items():
            self._old.pools[worker].when_closed(pool.start)

    def _end(self, outcome: Outcome) -> None:
        if not self._ended.called:
            self._ended.callback(outcome)
