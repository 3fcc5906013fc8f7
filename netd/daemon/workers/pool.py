"""The worker processes of the services that share a worker's name, as the daemon sees them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, repeat
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netd.daemon.forkserver.spawn import Spawner
from netd.daemon.lifecycle import Lifecycle
from netd.daemon.states import SERVICE, TAKES_NOBODY, ServiceEvent, ServiceState, WorkerState
from netd.daemon.workers.dispatcher import Dispatcher
from netd.daemon.workers.scaling import Scaling, View
from netd.daemon.workers.worker import ServiceRuntime, WorkerHandle
from netd.ipc.layout import ActiveConnection
from netd.ipc.scoreboard import Counts
from netd.ipc.worker import AllSuspended, Disconnect, Order, Recheck, Resume, Suspend
from netd.log.format import line_form
from netd.log.record import AccessRecord, Traffic
from netd.model.log import WorkerLog, is_enabled
from netd.model.service import Program, Service

log = Logger()

_MAY_TAKE: Final = (WorkerState.STARTING, WorkerState.SERVING)


class Pool:
    """Keeps as many workers as *placed* services want, until it is drained. Reactor's thread only.

    A pool of ``process`` services has one worker, and as many as are needed while clients come;
    any other has a fixed number. *lines* gets the workers' log, as *worker_log* has it; *changed*
    is called after every change of a worker's state.
    """

    def __init__(
        self,
        name: str,
        runtime: Sequence[ServiceRuntime],
        python_path: tuple[str, ...],
        graceful_timeout: float,
        worker_log: WorkerLog,
        reactor: Any,
        spawner: Spawner,
        lines: Callable[[str], None],
        changed: Callable[[], None],
        suspended: Iterable[str] = (),
        is_held: bool = False,
    ) -> None:
        self.name = name
        self.runtime = tuple(runtime)
        self._python_path = python_path
        self._graceful_timeout = graceful_timeout
        self._worker_log = worker_log
        self._reactor = reactor
        self._spawner = spawner
        self._lines = lines
        self._changed = changed
        service = runtime[0].service
        self._most = service.workers
        self._least = 1 if service.is_elastic else self._most
        self._places_at_most = service.places
        self._places: dict[int, WorkerHandle] = {}
        self._counts_of: dict[str, Counts] = {}
        """Of the places that were closed, by service."""
        self._lives = {name: _life_of(name) for name in self._names}
        self._asked: dict[str, set[int]] = {}
        """Services that are to be suspended, and which places have not said so yet."""
        self._when_suspended: dict[str, list[Deferred[None]]] = {}
        self._is_held = is_held
        """Whether the workers are to be ready, but take nobody."""
        self._is_draining = False
        self._takes_no_more = False
        """Whether nobody new is taken by the daemon, for those workers that are handed theirs."""
        self._predecessor: Pool | None = None
        """Whose end is waited for."""
        self._closed: list[Callable[[], None]] = []
        """Called when the last worker has gone."""
        self._successors: dict[WorkerHandle, WorkerHandle] = {}
        """Places that start in order to replace another one, and which."""
        self._is_started = False
        self._worn: list[WorkerHandle] = []
        """Those that are to be replaced as soon as there is room for their successors."""
        self._scaling = (
            Scaling(self, reactor, self._least, self._most) if service.is_elastic else None
        )
        for name in suspended:
            self._lives[name].on(ServiceEvent.SUSPEND)
            self._lives[name].on(ServiceEvent.IDLE)
        for one in runtime:
            for address, entrance in zip(one.service.listen, one.entrances, strict=False):
                if entrance is not None:
                    text = address.transport.value
                    entrance.tell(partial(self._turned_away, one.service.name, text))

    @property
    def _names(self) -> list[str]:
        return [runtime.service.name for runtime in self.runtime]

    def state(self, service: str) -> ServiceState:
        """What one of its services is about."""
        return self._lives[service].state

    def tell(self, changed: Callable[[], None]) -> None:
        """Call *changed*, and nobody else, after every change from now on."""
        self._changed = changed

    def serves(self, service: str) -> bool:
        """Whether a service is among those of this pool."""
        return service in self._lives

    def when_closed(self, call: Callable[[], None]) -> None:
        """Call when the pool is closed, or at once if it is."""
        if self.is_closed:
            call()
        else:
            self._closed.append(call)

    def recheck(self, service: Service) -> None:
        """End the connections that the lists of *service* as it is now do not admit."""
        if service.access.dry_run:
            return
        for runtime in self.runtime:
            if runtime.service.name == service.name and runtime.service.access != service.access:
                self.order(Recheck(service.name, service.access))

    def disconnect(self, service: str, active_connection: ActiveConnection) -> None:
        """Have a worker end a connection that the service's scoreboard lists."""
        for runtime in self.runtime:
            if runtime.service.name == service:
                # The block's index, not what a worker's user code may have written there.
                place = self._places.get(active_connection.worker)
                if place is not None:
                    place.order(Disconnect(service, active_connection.id))

    def relog(self, worker_log: WorkerLog) -> None:
        """Have the workers log otherwise, those too that are started later."""
        self._worker_log = worker_log
        for place in self:
            place.relog(worker_log)

    # Its life.

    def start(self) -> None:
        """Start as many workers as there are at least; nothing, if it is drained already."""
        if self._is_draining:
            return
        self._add(self._least)
        self._is_started = True
        self._watch_arrivals()
        self._see_entrances()

    def start_after(self, predecessor: Pool) -> None:
        """Start when another pool is closed; this one is not closed before that, either."""
        self._predecessor = predecessor
        predecessor.when_closed(self._succeed)

    def _succeed(self) -> None:
        self._predecessor = None
        self.start()
        self._see_closed()

    def release(self) -> None:
        """Let the workers take that were held back."""
        self._is_held = False
        for name in self._names:
            if not self.is_suspended(name):
                self._order_staying(Resume(name))
        self._see_who_serves()
        self._watch_arrivals()
        self._see_entrances()

    def stop_accepting(self) -> None:
        """Wait for nobody else: who is on the way to the workers comes to them."""
        self._takes_no_more = True
        for entrance in self._entrances:
            entrance.last_call()

    def drain(self) -> None:
        """Let all workers finish what they have, and leave."""
        self._is_draining = True
        self.stop_accepting()
        self._all_go_on(ServiceEvent.DRAIN)
        if self._scaling is not None:
            self._scaling.stop()
        for place in list(self):
            place.drain()
        self._see_closed()

    def discard(self) -> None:
        """End what has never served anybody, and give everything back."""
        self.tell(lambda: None)
        self.drain()
        self.end()
        self.when_closed(self.close)

    def end(self) -> None:
        """Have those who are still draining leave at once."""
        for place in list(self):
            place.end()

    @property
    def is_up(self) -> bool:
        """Whether all the workers serve that there are at least."""
        return sum(place.state is WorkerState.SERVING for place in self) >= self._least

    @property
    def failure(self) -> str | None:
        """Why a worker has not come up, if one has not."""
        return next((place.failure for place in self if place.failure is not None), None)

    def _see_who_serves(self) -> None:
        """Let the states of the services be what those of the workers come to."""
        if not self._is_draining:
            self._all_go_on(self._how_it_is)

    @property
    def _how_it_is(self) -> ServiceEvent:
        if self.is_up and not self._is_held:
            return ServiceEvent.UP
        has_died = any(place.state is WorkerState.WAITING for place in self)
        return ServiceEvent.DIED if has_died else ServiceEvent.SHORT

    def _all_go_on(self, event: ServiceEvent) -> None:
        for life in self._lives.values():
            life.on(event)

    def _all_are_gone(self) -> None:
        for life in self._lives.values():
            if life.state is not ServiceState.STOPPED:
                life.on(ServiceEvent.GONE)

    def close(self) -> None:
        """Give back what was kept for the services; when all workers have gone."""
        for entrance in self._entrances:
            entrance.close()
        for runtime in self.runtime:
            runtime.board.close()
            os.close(runtime.page)

    @property
    def is_closed(self) -> bool:
        """Whether it was drained, and nobody is left."""
        return self._is_draining and not self._places and self._predecessor is None

    @property
    def awaited(self) -> list[socket.socket]:
        """The listeners whose queues are taken from, or soon will be."""
        if not any(place.failure is None for place in self):
            return []
        return [
            listener
            for runtime in self.runtime
            if self.state(runtime.service.name) not in TAKES_NOBODY
            and not _takes_for_itself(runtime)
            for listener in runtime.listeners
        ]

    @property
    def may_accept(self) -> bool:
        """Whether a worker may take somebody yet."""
        return any(place.may_accept for place in self)

    @property
    def is_expecting(self) -> bool:
        """Whether somebody is on the way to workers that will take him."""
        if not any(place.failure is None for place in self):
            return False
        return any(
            entrance is not None and entrance.is_expecting
            for runtime in self.runtime
            if self.state(runtime.service.name) not in TAKES_NOBODY
            for entrance in runtime.entrances
        )

    @property
    def counts(self) -> Counts:
        """What the processes that have gone have done."""
        return sum((self.counts_of(runtime) for runtime in self.runtime), Counts())

    def counts_of(self, runtime: ServiceRuntime) -> Counts:
        """What the processes that have gone have done for one service."""
        name = runtime.service.name
        gone = self._counts_of.get(name, Counts())
        gone += Counts(refused=sum(one.refused for one in runtime.entrances if one is not None))
        return sum((place.counts_of.get(name, Counts()) for place in self), gone)

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(self._places.values())

    # Its size.

    @property
    def size(self) -> int:
        """Workers that serve, or are going to, beside the successors of others."""
        return sum(_stays(place) and not self._is_successor(place) for place in self)

    def grow(self, count: int) -> None:
        """Start more workers, as far as there may be more."""
        self._add(min(count, self._most - self.size))

    def shrink(self, indices: Sequence[int]) -> None:
        """Let these workers leave."""
        for index in indices:
            self._places[index].drain()

    def views(self) -> list[View]:
        """What can be seen from outside of as many workers as ``size`` says."""
        return [
            self._view(place) for place in self if _stays(place) and not self._is_successor(place)
        ]

    def _is_successor(self, place: WorkerHandle) -> bool:
        """Whether it is to replace a worker that is still there."""
        worn = self._successors.get(place)
        return worn is not None and _stays(worn)

    def _view(self, place: WorkerHandle) -> View:
        slots = busy = accepted = 0
        for runtime in self.runtime:
            slots += runtime.service.records
            busy += runtime.board.busy(place.index)
            accepted += runtime.board.accepted(place.index)
        is_up = place.state is WorkerState.SERVING
        return View(place.index, place.pid or 0, slots, busy, accepted, is_up)

    def _add(self, number: int) -> None:
        for _ in range(min(number, self._room)):
            self._place(self._free_index()).start()

    @property
    def _room(self) -> int:
        """Places that there may be beside those that there are; the scoreboards have no more."""
        return self._places_at_most - len(self._places)

    def _free_index(self) -> int:
        return next(index for index in count() if index not in self._places)

    def _place(self, index: int) -> WorkerHandle:
        place = WorkerHandle(
            self.name,
            index,
            self.runtime,
            self._python_path,
            self._graceful_timeout,
            self._worker_log,
            self._reactor,
            self._spawner,
            self._lines,
            self,
        )
        self._places[index] = place
        return place

    def order(self, order: Order) -> None:
        """Tell all workers."""
        for place in self:
            place.order(order)

    def _order_staying(self, order: Order) -> None:
        """Tell the workers that have not been told to leave."""
        for place in self:
            if _stays(place):
                place.order(order)

    def _watch_arrivals(self) -> None:
        """Look at the size of the pool while clients come that it takes."""
        if self._scaling is None or not self._is_started or self._is_draining:
            return
        accepting = [
            runtime for runtime in self.runtime if not self.is_suspended(runtime.service.name)
        ]
        self._scaling.watch([one for runtime in accepting for one in _queues(runtime)])

    # What the daemon takes for the workers.

    @property
    def _entrances(self) -> Iterator[Dispatcher]:
        for runtime in self.runtime:
            yield from (one for one in runtime.entrances if one is not None)

    def _see_entrances(self) -> None:
        """Take for those who would take now."""
        takes = self._is_started and not (self._is_held or self._takes_no_more)
        for runtime in self.runtime:
            for entrance in runtime.entrances:
                if entrance is not None:
                    is_open = takes and not self.is_suspended(runtime.service.name)
                    entrance.open() if is_open else entrance.shut()

    def _turned_away(
        self,
        service: str,
        transport: str,
        client: str,
        reason: str,
        since: float,
        carried: Traffic,
    ) -> None:
        """Log a client that was not handed on, as workers do."""
        if self._worker_log.connections and is_enabled("info", self._worker_log.level):
            form, now = line_form(self._worker_log.form), time.monotonic()
            verdict = f"refused: {reason}"
            record = AccessRecord(now, service, transport, client, verdict, now - since, carried)
            self._lines(form.served(time.time(), record))

    # Suspension.

    @property
    def suspended_services(self) -> frozenset[str]:
        """The services that take nothing."""
        return frozenset(name for name in self._names if self.state(name) in TAKES_NOBODY)

    def suspend(self, service: str) -> Deferred[None]:
        """Have all workers take nothing more for *service*.

        Fires when that is so, or when it has been resumed before that.
        """
        done: Deferred[None] = Deferred()
        self._when_suspended.setdefault(service, []).append(done)
        self._lives[service].on(ServiceEvent.SUSPEND)
        asked = {place.index for place in self if place.state in _MAY_TAKE}
        self._asked[service] = asked
        for index in asked:
            self._places[index].order(Suspend(service))
        self._watch_arrivals()
        self._see_entrances()
        self._see_suspended(service)
        return done

    def resume(self, service: str) -> None:
        """Have all workers take again."""
        self._asked.pop(service, None)
        self._lives[service].on(ServiceEvent.RESUME)
        self._see_who_serves()
        if not self._is_held:
            self._order_staying(Resume(service))
        self._watch_arrivals()
        self._see_entrances()
        self._tell_suspended(service)

    def _see_suspended(self, service: str) -> None:
        """Tell those who wait for it when nobody takes for *service* any more."""
        if not self._asked.get(service):
            before = self.state(service)
            self._lives[service].on(ServiceEvent.IDLE)
            if self.state(service) is not before:
                log.info("service {service} is suspended", service=service)
            self.order(AllSuspended(service))
            self._tell_suspended(service)

    def _tell_suspended(self, service: str) -> None:
        """Those who wait for a suspension wait no longer."""
        for done in self._when_suspended.pop(service, []):
            done.callback(None)

    # What its places say (place.Owner).

    def changed(self, place: WorkerHandle) -> None:
        """A place has another state."""
        if place.state is WorkerState.SERVING:
            self._take_over(place)
        if place.state is WorkerState.CLOSED:
            self._forget(place)
        if place.state is not WorkerState.SERVING:  # and its next process starts suspended
            for service in list(self._asked):  # who is told may resume it
                self.suspended(place, service)
        self._see_who_serves()
        self._see_closed()
        self._changed()

    def _see_closed(self) -> None:
        """Tell those who wait for the end, if this is it."""
        if self.is_closed:
            self._all_are_gone()
            called, self._closed = self._closed, []
            for call in called:
                call()

    def worn(self, place: WorkerHandle) -> None:
        """A worker has done enough: let another start, and this one leave when that is ready."""
        if place in self._successors.values() or place.state is not WorkerState.SERVING:
            return
        if self._room:
            self._replace(place)
        elif self._stops_by_itself:
            place.drain()
        elif place not in self._worn:
            self._worn.append(place)

    @property
    def _stops_by_itself(self) -> bool:
        """Whether a worker takes nothing more after its last request; then it can leave, too."""
        return all(runtime.service.threads == 1 for runtime in self.runtime)

    def _replace(self, place: WorkerHandle) -> None:
        """Start the successor of a worker."""
        successor = self._place(self._free_index())
        self._successors[successor] = place
        successor.start()

    def _take_over(self, successor: WorkerHandle) -> None:
        """A worker is ready; the one that it replaces, if it does, may leave."""
        worn = self._successors.pop(successor, None)
        if worn is not None:
            worn.drain()

    def _forget(self, place: WorkerHandle) -> None:
        """A place is closed."""
        for name, counts in place.counts_of.items():
            self._counts_of[name] = self._counts_of.get(name, Counts()) + counts
        self._places.pop(place.index, None)
        # Nobody is to be replaced by it any more; who would have replaced it stays for itself.
        self._successors = {
            successor: worn
            for successor, worn in self._successors.items()
            if place not in (successor, worn)
        }
        if not self._is_draining:
            self._add(max(0, self._least - self.size))
            while self._worn and self._room:
                self.worn(self._worn.pop(0))

    def is_suspended(self, service: str) -> bool:
        """Whether a new worker is to take nothing for *service*."""
        return self._is_held or self.state(service) in TAKES_NOBODY

    def shutdown(self, service: str) -> None:
        """A handler wants *service* suspended."""
        if self.state(service) in TAKES_NOBODY:
            self._see_suspended(service)
        else:
            log.info("service {service}: shutdown() was called", service=service)
            self.suspend(service)

    def suspended(self, place: WorkerHandle, service: str) -> None:
        """A worker takes nothing more for *service*, or has gone."""
        if self._is_draining:
            self._changed()
        waiting = self._asked.get(service)
        if waiting is not None and place.index in waiting:
            waiting.discard(place.index)
            self._see_suspended(service)


def _life_of(service: str) -> Lifecycle[ServiceState, ServiceEvent]:
    return Lifecycle(f"service {service}", SERVICE, ServiceState.STARTING)


def _stays(place: WorkerHandle) -> bool:
    return place.state not in (WorkerState.DRAINING, WorkerState.CLOSED)


def _queues(runtime: ServiceRuntime) -> Iterator[socket.socket]:
    """Where the workers take from: the listeners, or what the daemon has taken from them."""
    entrances = runtime.entrances or repeat(None, len(runtime.listeners))
    for listener, entrance in zip(runtime.listeners, entrances, strict=True):
        yield listener if entrance is None else entrance.queue


def _takes_for_itself(runtime: ServiceRuntime) -> bool:
    """Whether a program has the queue, which may leave it as it is for as long as it likes."""
    runs = runtime.service.runs
    return isinstance(runs, Program) and runs.wait
