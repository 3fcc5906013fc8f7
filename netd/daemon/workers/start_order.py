"""The first order of a worker: its services, and the numbers of its descriptors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from netd.daemon.workers.runtime import WorkerSpec
from netd.ipc.worker import ServiceStart, StartWorker
from netd.model.log import WorkerLog

_CHANNEL: Final = 3
"""The descriptor of the channel in the worker; 0, 1 and 2 are the standard ones."""


def start_order(
    spec: WorkerSpec,
    index: int,
    worker_log: WorkerLog,
    channel: int,
    is_suspended: Callable[[str], bool],
) -> tuple[dict[int, int], StartWorker]:
    """Return the worker's descriptors, each with the daemon's that it is a copy of, and the order.

    *index* is the worker's in each scoreboard, *channel* its end of its channel. *is_suspended*
    says of a service whether the worker starts without accepting for it.
    """
    descriptors = {_CHANNEL: channel}

    def number(ours: int) -> int:
        # The worker's numbers have no gap, so the next one follows from how many there are.
        descriptors[theirs := len(descriptors) + _CHANNEL] = ours
        return theirs

    services = []
    for runtime in spec.runtime:
        page = number(runtime.page)
        listeners = tuple(number(listener.fileno()) for listener in runtime.listeners)
        queues = tuple(
            None if dispatcher is None else number(dispatcher.queue.fileno())
            for dispatcher in runtime.dispatchers
        )
        services.append(
            ServiceStart(
                runtime.service,
                listeners,
                page,
                index,
                is_suspended(runtime.name),
                queues,
            )
        )
    return descriptors, StartWorker(
        spec.name, tuple(services), spec.python_path, spec.graceful_timeout, worker_log
    )
