"""The workers of the services that share a worker's name: how many there are, from start to drain.

What concerns one part of their life is beside it: ``suspension``, ``replacement``, ``accepting``,
``service_states`` and ``scaling``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from netd.daemon.states import ServiceEvent, ServiceState, WorkerState
from netd.daemon.workers.accepting import PoolAccepting
from netd.daemon.workers.replacement import Replacement
from netd.daemon.workers.runtime import ServiceRuntime, WorkerSpec, WorkerTools
from netd.daemon.workers.scaling import Scaling, View
from netd.daemon.workers.service_states import ServiceStates
from netd.daemon.workers.suspension import Suspension
from netd.daemon.workers.worker import WorkerHandle
from netd.daemon.workers.worker_set import WorkerSet
from netd.ipc.scoreboard import Counts
from netd.model.log import WorkerLog


class Pool:
    """Keeps as many workers as the services of *spec* want, until it is drained.

    A pool of ``process`` services starts with one worker and scales with its load; any other has a
    fixed number. *changed* is called after every change of a worker's state. Reactor's thread only.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        worker_log: WorkerLog,
        tools: WorkerTools,
        changed: Callable[[], None],
        suspended: Iterable[str] = (),
        is_held: bool = False,
    ) -> None:
        self.runtime = spec.runtime
        self._notify = changed
        first = self.runtime[0].service  # the probe made sure that all want the same
        self._most = first.workers
        self._least = 1 if first.is_elastic else self._most
        self.states = ServiceStates(one.name for one in self.runtime)
        self.workers = WorkerSet(
            self.runtime,
            worker_log,
            lambda index: WorkerHandle(
                spec, index, self.workers.worker_log, tools, self, self.suspension
            ),
        )
        # The order is that of their needs: all but the first two act on the workers.
        self._replacement = Replacement(
            self.workers, max(one.service.threads for one in self.runtime)
        )
        self.suspension = Suspension(
            self.workers,
            self.states,
            suspended,
            is_held,
            changed=self._suspension_changed,
            worker_stopped=self._worker_stopped,
        )
        scaling = (
            Scaling(self, tools.reactor, self._least, self._most) if first.is_elastic else None
        )
        self.accepting = PoolAccepting(
            self.runtime, self.workers, self.states, self.suspension, scaling, tools.write_log
        )
        self._is_draining = False
        self._predecessor: Pool | None = None
        """The pool that has to close before this one starts."""
        self._when_closed: list[Callable[[], None]] = []

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(self.workers)

    def notify(self, changed: Callable[[], None]) -> None:
        """Call *changed* after every change, and no longer what was called before."""
        self._notify = changed

    # From start to end.

    def start(self) -> None:
        """Start the least number of workers. Does nothing if the pool was drained before."""
        if self._is_draining:
            return
        self.workers.start(self._least)
        self.accepting.start()

    def start_after(self, predecessor: Pool) -> None:
        """Start when *predecessor* is closed; until then this pool is not closed, either."""
        self._predecessor = predecessor
        predecessor.when_closed(self._predecessor_closed)

    def _predecessor_closed(self) -> None:
        self._predecessor = None
        self.start()
        self._check_closed()

    def drain(self) -> None:
        """Let all workers finish their requests and exit."""
        self._is_draining = True
        self.accepting.stop()
        self.states.on_all(ServiceEvent.DRAIN)
        for worker in list(self.workers):  # one without a process is closed immediately
            worker.drain()
        self._check_closed()

    def discard(self) -> None:
        """End a pool that has never accepted, and give everything back."""
        # Its generation will never be, so the daemon must not hear of its end.
        self.notify(lambda: None)
        self.drain()
        self.workers.end()
        self.when_closed(self.close)

    def close(self) -> None:
        """Give back what was kept for the services; when the pool is closed."""
        for runtime in self.runtime:
            runtime.close()

    @property
    def is_closed(self) -> bool:
        """Whether it was drained and has no worker left."""
        return self._is_draining and not len(self.workers) and self._predecessor is None

    def when_closed(self, call: Callable[[], None]) -> None:
        """Call when the pool is closed, or immediately if it is."""
        if self.is_closed:
            call()
        else:
            self._when_closed.append(call)

    def _check_closed(self) -> None:
        if self.is_closed:
            self.states.all_stopped()
            calls, self._when_closed = self._when_closed, []
            for call in calls:
                call()

    # What it is like now.

    @property
    def is_up(self) -> bool:
        """Whether at least the least number of workers serve."""
        return self.workers.serving >= self._least

    def state(self, service: str) -> ServiceState:
        """The state of one of its services."""
        return self.states[service]

    @property
    def counts(self) -> Counts:
        """What the processes that have ended did."""
        return sum((self.counts_of(runtime) for runtime in self.runtime), Counts())

    def counts_of(self, runtime: ServiceRuntime) -> Counts:
        """What the processes that have ended, and the dispatchers, did for one service."""
        refused = sum(dispatcher.refused for dispatcher in runtime.active_dispatchers)
        return self.workers.past_counts(runtime.name) + Counts(refused=refused)

    def _update_states(self) -> None:
        """Derive the states of the services from those of the workers."""
        if self._is_draining:
            return
        if self.is_up and not self.suspension.is_held:
            event = ServiceEvent.UP
        else:
            event = ServiceEvent.WORKER_DIED if self.workers.has_died else ServiceEvent.TOO_FEW
        self.states.on_all(event)

    # Its size (scaling.Sized).

    @property
    def size(self) -> int:
        """Workers that serve or are going to; successors of such workers do not count."""
        return len(self._replacement.counted)

    def grow(self, count: int) -> None:
        """Start up to *count* more workers."""
        self.workers.start(min(count, self._most - self.size))

    def shrink(self, indices: Sequence[int]) -> None:
        """Drain these workers."""
        for index in indices:
            self.workers[index].drain()

    def views(self) -> list[View]:
        """A view of each worker that ``size`` counts."""
        return [self.workers.view(worker) for worker in self._replacement.counted]

    # What its parts report.

    def changed(self, worker: WorkerHandle) -> None:
        """See ``WorkerOwner``."""
        # The parts first, then the states that follow from them. The daemon last: it may finish a
        # reload or a stop because of this change, and has to see all of it.
        if worker.state is WorkerState.SERVING:
            self._replacement.serves(worker)
        else:
            if worker.state is WorkerState.CLOSED:
                self.workers.remove(worker)
                self._replacement.closed(worker)
                if not self._is_draining:
                    # The least number of workers first: there may not be room for successors, too.
                    self.workers.start(max(0, self._least - self.size))
                    self._replacement.retry()
            # Its next process starts suspended.
            self.suspension.worker_left(worker)
        self._update_states()
        self._check_closed()
        self._notify()

    def recycle(self, worker: WorkerHandle) -> None:
        """See ``WorkerOwner``."""
        self._replacement.recycle(worker)

    def _suspension_changed(self) -> None:
        self._update_states()
        self.accepting.update()

    def _worker_stopped(self) -> None:
        if self._is_draining:  # a reload waits for the last worker to stop accepting
            self._notify()
