"""Recycled workers, and the successors that start before they leave."""

from __future__ import annotations

from netd.daemon.states import WorkerState
from netd.daemon.workers.worker import WorkerHandle
from netd.daemon.workers.worker_set import WorkerSet


class Replacement:
    """Replaces workers one for one, each by a successor that is ready before it drains.

    A successor needs blocks of its own in the scoreboards. If there are none, a worker with one
    thread leaves first, because it accepts nothing after its last request; another one serves until
    there is room. In the reactor's thread.
    """

    def __init__(self, workers: WorkerSet, threads: int) -> None:
        self._workers = workers
        self._stops_by_itself = threads == 1
        self._replaces: dict[WorkerHandle, WorkerHandle] = {}
        """The worker that each successor replaces."""
        self._waiting: list[WorkerHandle] = []
        """Workers that are replaced as soon as there is room for their successors."""

    @property
    def counted(self) -> list[WorkerHandle]:
        """The workers that make up the pool's size: all but leaving ones and successors.

        A successor of a worker that has not been told to drain would count the same work twice.
        """
        return [
            worker
            for worker in self._workers
            if not worker.is_leaving and not self._is_successor(worker)
        ]

    def _is_successor(self, worker: WorkerHandle) -> bool:
        replaced = self._replaces.get(worker)
        return replaced is not None and not replaced.is_leaving

    def recycle(self, worker: WorkerHandle) -> None:
        """Start a successor of *worker*. Does nothing if there is one, or if it does not serve."""
        # A worker reports each limit that it reaches, and may reach several.
        if worker in self._replaces.values() or worker.state is not WorkerState.SERVING:
            return
        if self._workers.room:
            successor = self._workers.add()
            # Kept before it starts: it must not count towards the pool's size even for a moment.
            self._replaces[successor] = worker
            successor.start()
        elif self._stops_by_itself:
            # It accepts nothing more by itself, so waiting for room would leave it idle.
            worker.drain()
        elif worker not in self._waiting:
            self._waiting.append(worker)

    def serves(self, successor: WorkerHandle) -> None:
        """*successor* is ready, so the worker that it replaces may leave, if there is one."""
        replaced = self._replaces.pop(successor, None)
        if replaced is not None:
            replaced.drain()

    def closed(self, worker: WorkerHandle) -> None:
        """Forget a closed worker. A successor of it stays, as an ordinary worker."""
        # Both ways: a successor may die for good, and a replaced worker may be drained by a shrink.
        self._replaces = {
            successor: replaced
            for successor, replaced in self._replaces.items()
            if worker not in (successor, replaced)
        }

    def retry(self) -> None:
        """Replace workers that waited for room."""
        while self._waiting and self._workers.room:
            self.recycle(self._waiting.pop(0))
