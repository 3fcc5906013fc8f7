"""How connections reach a pool: dispatchers, the watch to scale by, and what a drain asks.

Workers accept directly from most listeners; a dispatcher accepts from the others for them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

from netd.daemon.workers.runtime import ServiceRuntime
from netd.daemon.workers.scaling import Scaling
from netd.daemon.workers.service_states import ServiceStates
from netd.daemon.workers.suspension import Suspension
from netd.daemon.workers.worker_set import WorkerSet
from netd.log.format import line_form
from netd.log.record import AccessRecord, Traffic


class PoolAccepting:
    """Opens and shuts dispatchers as services are suspended and resumed. In the reactor's thread.

    *scaling*, if there is one, watches the queues of the services that accept.
    """

    def __init__(
        self,
        runtime: Sequence[ServiceRuntime],
        workers: WorkerSet,
        states: ServiceStates,
        suspension: Suspension,
        scaling: Scaling | None,
        write_log: Callable[[str], None],
    ) -> None:
        self._runtime = runtime
        self._workers = workers
        self._states = states
        self._suspension = suspension
        self._scaling = scaling
        self._write_log = write_log
        self._is_started = False
        self._is_last_call = False
        """Whether dispatchers accept nothing new, and only pass on what they have accepted."""
        for one in runtime:
            for address, dispatcher in zip(one.service.listen, one.dispatchers, strict=False):
                if dispatcher is not None:
                    transport = address.transport.value
                    dispatcher.tell(partial(self._log_refusal, one.name, transport))

    def start(self) -> None:
        """Start accepting. The pool's first workers have been started."""
        self._is_started = True
        self.update()

    def update(self) -> None:
        """Follow what has been suspended, resumed or released."""
        accepting = [one for one in self._runtime if not self._suspension.is_suspended(one.name)]
        if self._scaling is not None and self._is_started:
            # A suspended service's backlog must not make the pool grow: nothing would empty it.
            self._scaling.watch([queue for one in accepting for queue in one.queues])
        for one in self._runtime:
            # Not before the workers start: accepted connections would have to wait for them.
            is_open = self._is_started and not self._is_last_call and one in accepting
            for dispatcher in one.active_dispatchers:
                dispatcher.open() if is_open else dispatcher.shut()

    def last_call(self) -> None:
        """Accept no new connections; queued ones still reach workers."""
        # Those that are accepted already get a short time to send their first bytes.
        self._is_last_call = True
        for one in self._runtime:
            for dispatcher in one.active_dispatchers:
                dispatcher.last_call()

    def stop(self) -> None:
        """Accept nothing, and change the number of workers no more: the pool drains."""
        self.last_call()
        if self._scaling is not None:
            self._scaling.stop()
            self._scaling = None

    @property
    def awaited(self) -> list[socket.socket]:
        """The listeners whose backlog workers will empty."""
        return [
            listener for one in self._served if not one.is_inetd_wait for listener in one.listeners
        ]

    @property
    def is_pending(self) -> bool:
        """Whether a dispatcher has a connection that a worker will get."""
        return any(
            dispatcher.is_expecting for one in self._served for dispatcher in one.active_dispatchers
        )

    @property
    def _served(self) -> list[ServiceRuntime]:
        """The services whose connections will reach a worker."""
        # Without hope of a worker, a drain would wait for a backlog that stays as it is.
        if not self._workers.has_hope:
            return []
        return [one for one in self._runtime if self._states.accepts(one.name)]

    def _log_refusal(
        self, service: str, transport: str, client: str, reason: str, since: float, carried: Traffic
    ) -> None:
        """Log a connection that a dispatcher refused, as workers log theirs."""
        worker_log = self._workers.worker_log
        if not worker_log.has_requests:
            return
        form = line_form(worker_log.form)
        now, verdict = time.monotonic(), f"refused: {reason}"
        record = AccessRecord(now, service, transport, client, verdict, now - since, carried)
        self._write_log(form.served(time.time(), record))
