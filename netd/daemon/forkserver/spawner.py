"""Starting workers by a fork server: milliseconds and a few megabytes each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from netd.core.backoff import Backoff
from netd.core.exit_status import ending
from netd.core.prctl import adopt_orphans
from netd.core.reactor import DelayedCall
from netd.daemon.forkserver.client import ForkServer
from netd.daemon.forkserver.orphans import StrayChildren, dead_children
from netd.daemon.forkserver.process import ForkedWorker
from netd.daemon.forkserver.spawn import Process
from netd.ipc.forkserver import ChildEnded, Forked, ForkFailed, Packet, fork_packets

log = Logger()


class ForkSpawner:
    """The ``Spawner`` that has workers forked by a process of its own.

    The first ``spawn`` starts that process, and one that ends is replaced; its workers live on, as
    children of this process. In the reactor's thread, after twistd has forked.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._server: ForkServer | None = None
        self._since = 0.0
        self._backoff = Backoff()
        self._next_start: DelayedCall | None = None
        self._number = 0
        self._workers: dict[int, ForkedWorker] = {}
        self._strays = StrayChildren(reactor, dead_children)
        self._closed = False

    def spawn(
        self,
        name: str,
        descriptors: Mapping[int, int],
        wrote: Callable[[str], None],
        ended: Callable[[str], None],
    ) -> Process:
        """See ``Spawner``."""
        server = self._start()
        self._number += 1
        worker = ForkedWorker(self._reactor, self._number, wrote, ended, self._forget)
        outputs = worker.open_outputs()
        self._workers[worker.number] = worker
        server.ask(fork_packets(worker.number, name, {**outputs, **descriptors}))
        for descriptor in outputs.values():
            os.close(descriptor)
        return worker

    def close(self) -> None:
        """See ``Spawner``."""
        self._closed = True
        if self._next_start is not None and self._next_start.active():
            self._next_start.cancel()
        if self._server is not None:
            self._server.close()

    def _start(self) -> ForkServer:
        """Start a fork server, unless there is one. Raises OSError."""
        if self._server is None:
            adopt_orphans()
            self._server = ForkServer(self._reactor, self._heard, self._lost)
            self._since = self._reactor.seconds()
        return self._server

    def _heard(self, packet: Packet, descriptors: list[int]) -> None:
        """The fork server said something, of a worker that may have been given up."""
        worker = self._workers.get(packet.number)
        if worker is not None and isinstance(packet, Forked) and descriptors:
            worker.started(packet.pid, descriptors.pop())
        elif worker is not None and isinstance(packet, ChildEnded):
            worker.finished(ending(packet.code))
        elif worker is not None and isinstance(packet, ForkFailed):
            worker.finished(f"no process: {packet.reason}")
        for descriptor in descriptors:
            os.close(descriptor)

    def _lost(self, how: str) -> None:
        """The fork server has ended: start another, and tell those who wait for this one."""
        self._server = None
        if self._closed:
            return
        delay = self._backoff.died(self._reactor.seconds() - self._since)
        log.error(
            "the fork server ended with {how}; its workers go on; the next in {delay:g} s",
            how=how,
            delay=delay,
        )
        self._next_start = self._reactor.callLater(delay, self._replace)
        self._strays.look_from_now_on()
        for worker in list(self._workers.values()):
            worker.orphaned()

    def _replace(self) -> None:
        try:
            self._start()
        except OSError as error:
            # The next worker that is needed tries again, and says so if it cannot.
            log.error("the fork server cannot be started: {error}", error=error)

    def _forget(self, worker: ForkedWorker) -> None:
        del self._workers[worker.number]
