"""Which services of a pool are suspended, and which workers have not confirmed it yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netd.daemon.states import ServiceEvent, WorkerState
from netd.daemon.workers.service_states import ServiceStates
from netd.daemon.workers.worker import WorkerHandle
from netd.daemon.workers.worker_set import WorkerSet
from netd.ipc.worker import AllSuspended, Resume, Suspend

log = Logger()

_ACCEPTING: Final = (WorkerState.STARTING, WorkerState.SERVING)
"""The states in which a worker has to be asked. A worker that starts later starts suspended, and a
draining one has stopped accepting or is about to."""


class Suspension:
    """Suspends and resumes services in all workers. In the reactor's thread.

    Services that are *suspended* at first stay so until they are resumed. While the pool is *held*,
    no worker accepts for any service; ``release`` ends that. *changed* is called after a service
    was suspended or resumed, *worker_stopped* whenever a worker stops accepting for a service.
    """

    def __init__(
        self,
        workers: WorkerSet,
        states: ServiceStates,
        suspended: Iterable[str],
        is_held: bool,
        changed: Callable[[], None],
        worker_stopped: Callable[[], None],
    ) -> None:
        self._workers = workers
        self._states = states
        self.is_held = is_held
        self._changed = changed
        self._worker_stopped = worker_stopped
        self._unconfirmed: dict[str, set[int]] = {}
        """The workers that were ordered to stop accepting and have not confirmed it, by service."""
        self._waiting: dict[str, list[Deferred[None]]] = {}
        """Fired when a service is suspended or resumed."""
        for name in suspended:
            states.on(name, ServiceEvent.SUSPEND)
            states.on(name, ServiceEvent.NOT_ACCEPTING)

    @property
    def services(self) -> frozenset[str]:
        """The services that are suspended or about to be."""
        return frozenset(name for name in self._states if not self._states.accepts(name))

    def suspend(self, service: str) -> Deferred[None]:
        """Have all workers stop accepting for *service*.

        Fires when they have, or when the service is resumed before that.
        """
        done: Deferred[None] = Deferred()
        self._waiting.setdefault(service, []).append(done)
        self._states.on(service, ServiceEvent.SUSPEND)
        asked = [worker for worker in self._workers if worker.state in _ACCEPTING]
        # Kept before the first order: a worker may confirm, or die, before the last one is sent.
        self._unconfirmed[service] = {worker.index for worker in asked}
        for worker in asked:
            worker.order(Suspend(service))
        self._changed()
        self._check(service)
        return done

    def resume(self, service: str) -> None:
        """Have all workers accept again for *service*."""
        # A confirmation that is under way belongs to the suspension that ends here.
        self._unconfirmed.pop(service, None)
        self._states.on(service, ServiceEvent.RESUME)
        if not self.is_held:
            self._workers.order_staying(Resume(service))
        self._changed()
        self._fire(service)

    def release(self) -> None:
        """Let the workers of a held pool accept, except for suspended services."""
        self.is_held = False
        for name in self._states:
            if self._states.accepts(name):
                self._workers.order_staying(Resume(name))
        self._changed()

    def worker_left(self, worker: WorkerHandle) -> None:
        """A worker has exited or drains, so its confirmation is not waited for."""
        for service in list(self._unconfirmed):  # a callback may resume it
            self._confirm(worker, service)

    # ServiceControl.

    def is_suspended(self, service: str) -> bool:
        """Whether a worker that starts now must not accept for *service*."""
        return self.is_held or not self._states.accepts(service)

    def shutdown_called(self, service: str) -> None:
        """A handler has called ``server.shutdown()``, which suspends the service."""
        if self._states.accepts(service):
            log.info("service {service}: shutdown() was called", service=service)
            self.suspend(service)
        else:
            # The handler waits for AllSuspended, which may have been sent before its call.
            self._check(service)

    def stopped_accepting(self, worker: WorkerHandle, service: str) -> None:
        """The worker no longer accepts for *service*."""
        self._worker_stopped()
        self._confirm(worker, service)

    def _confirm(self, worker: WorkerHandle, service: str) -> None:
        unconfirmed = self._unconfirmed.get(service)
        if unconfirmed is not None and worker.index in unconfirmed:
            unconfirmed.discard(worker.index)
            self._check(service)

    def _check(self, service: str) -> None:
        """Report that *service* is suspended, if no worker accepts for it."""
        if self._unconfirmed.get(service):
            return
        if self._states.on(service, ServiceEvent.NOT_ACCEPTING):
            log.info("service {service} is suspended", service=service)
        # To all workers, because a handler in any of them may wait in shutdown().
        self._workers.order(AllSuspended(service))
        self._fire(service)

    def _fire(self, service: str) -> None:
        for done in self._waiting.pop(service, []):
            done.callback(None)
