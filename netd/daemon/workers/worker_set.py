"""The workers of a pool by index, and what concerns all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

from netd.daemon.states import WorkerState
from netd.daemon.workers.runtime import ServiceRuntime
from netd.daemon.workers.scaling import View
from netd.daemon.workers.worker import WorkerHandle
from netd.ipc.layout import ActiveConnection
from netd.ipc.scoreboard import Counts
from netd.ipc.worker import Disconnect, Order, Recheck
from netd.model.log import WorkerLog
from netd.model.service import Service


class WorkerSet:
    """At most as many workers as the scoreboards of *runtime* have blocks for.

    *make* makes the worker of an index, which logs by ``worker_log``.
    """

    def __init__(
        self,
        runtime: Sequence[ServiceRuntime],
        worker_log: WorkerLog,
        make: Callable[[int], WorkerHandle],
    ) -> None:
        self.worker_log = worker_log
        self._runtime = tuple(runtime)
        self._make = make
        self._capacity = runtime[0].service.places
        self._workers: dict[int, WorkerHandle] = {}
        self._closed_counts: dict[str, Counts] = {}
        """Counts of closed workers, by service."""

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(self._workers.values())

    def __len__(self) -> int:
        return len(self._workers)

    def __getitem__(self, index: int) -> WorkerHandle:
        return self._workers[index]

    @property
    def room(self) -> int:
        """How many more workers the scoreboards have blocks for."""
        return self._capacity - len(self._workers)

    def add(self) -> WorkerHandle:
        """Make a worker, not started, with the lowest index that is free."""
        # The lowest, so that a pool that has shrunk uses the first blocks of its pages again.
        index = next(index for index in count() if index not in self._workers)
        self._workers[index] = worker = self._make(index)
        return worker

    def start(self, number: int) -> None:
        """Start *number* more workers, or as many as there is room for."""
        for _ in range(min(number, self.room)):
            self.add().start()

    def remove(self, worker: WorkerHandle) -> None:
        """Forget a closed worker, but keep its counts."""
        for service, counts in worker.blocks.past_counts.items():
            self._closed_counts[service] = self._closed_counts.get(service, Counts()) + counts
        self._workers.pop(worker.index, None)

    # What they are, together.

    @property
    def serving(self) -> int:
        """How many serve."""
        return sum(worker.state is WorkerState.SERVING for worker in self)

    @property
    def has_died(self) -> bool:
        """Whether one has died, and waits for its next start."""
        return any(worker.state is WorkerState.BACKOFF for worker in self)

    @property
    def failure(self) -> str | None:
        """Why a worker has not come up, if one has not."""
        return next((worker.failure for worker in self if worker.failure is not None), None)

    @property
    def has_hope(self) -> bool:
        """Whether one serves, or may come up: its last start has not failed."""
        return any(worker.failure is None for worker in self)

    @property
    def may_accept(self) -> bool:
        """Whether one may still accept."""
        return any(worker.may_accept for worker in self)

    def past_counts(self, service: str) -> Counts:
        """What the processes that have ended did for *service*."""
        closed = self._closed_counts.get(service, Counts())
        return sum((one.blocks.past_counts.get(service, Counts()) for one in self), closed)

    def view(self, worker: WorkerHandle) -> View:
        """What the scoreboards say of a worker, over all services."""
        slots = busy = accepted = 0
        for runtime in self._runtime:
            slots += runtime.service.records
            busy += runtime.board.busy(worker.index)
            accepted += runtime.board.accepted(worker.index)
        is_up = worker.state is WorkerState.SERVING
        return View(worker.index, worker.pid or 0, slots, busy, accepted, is_up)

    # Orders.

    def order(self, order: Order) -> None:
        """Send an order to all workers."""
        for worker in self:
            worker.order(order)

    def order_staying(self, order: Order) -> None:
        """Send an order to the workers that have not been told to drain."""
        for worker in self:
            if not worker.is_leaving:
                worker.order(order)

    def recheck(self, service: Service) -> None:
        """End the connections that the lists of *service*, as it is now, do not admit."""
        # A dry run refuses no connection, so it ends none, either.
        if service.access.dry_run:
            return
        for runtime in self._runtime:
            # The same lists admit what they have admitted.
            if runtime.name == service.name and runtime.service.access != service.access:
                self.order(Recheck(service.name, service.access))

    def disconnect(self, service: str, connection: ActiveConnection) -> None:
        """Have the worker that holds *connection* of *service* end it."""
        for runtime in self._runtime:
            # The block's index, not what a worker's user code may have written there. The worker
            # may have exited since the scoreboard was read.
            if runtime.name == service and connection.worker in self._workers:
                order = Disconnect(service, connection.id)
                self._workers[connection.worker].order(order)

    def end(self) -> None:
        """End the workers that are still draining."""
        for worker in list(self):
            worker.end()

    def relog(self, worker_log: WorkerLog) -> None:
        """Log by *worker_log*, in all workers and in those that are started later."""
        self.worker_log = worker_log
        for worker in self:
            worker.relog(worker_log)
