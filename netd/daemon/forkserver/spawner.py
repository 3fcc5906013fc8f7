"""The spawner that has a fork server fork workers: milliseconds and a few megabytes each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from twisted.logger import Logger

from netd.core.backoff import Backoff
from netd.core.exit_status import ending
from netd.core.prctl import adopt_orphans
from netd.core.reactor import ForkingReactor
from netd.core.timer import Timer
from netd.daemon.forkserver.client import ForkServer
from netd.daemon.forkserver.orphans import Orphans, dead_children
from netd.daemon.forkserver.process import ForkedWorker
from netd.daemon.forkserver.spawn import Process
from netd.ipc.forkserver import ChildEnded, Forked, ForkFailed, Packet, fork_packets

log = Logger()


class ForkSpawner:
    """The ``Spawner`` that has workers forked by a fork server.

    The first ``spawn`` starts the fork server. One that ends is replaced; its workers go on, as
    children of the daemon. In the reactor's thread, after twistd has forked.
    """

    def __init__(self, reactor: ForkingReactor) -> None:
        self._reactor = reactor
        self._server: ForkServer | None = None
        self._since = 0.0
        self._backoff = Backoff()
        self._next_start = Timer(reactor)
        self._number = 0
        """Of the last order. Answers carry it, and may come after the worker was given up."""
        self._workers: dict[int, ForkedWorker] = {}
        self._orphans = Orphans(reactor, dead_children)
        self._is_closed = False

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
        # The fork server has copies; with these open, the pipes would never end.
        for descriptor in outputs.values():
            os.close(descriptor)
        return worker

    def close(self) -> None:
        """See ``Spawner``."""
        self._is_closed = True
        self._next_start.clear()
        if self._server is not None:
            self._server.close()

    def _start(self) -> ForkServer:
        """Start a fork server, unless there is one. Raises OSError."""
        if self._server is None:
            # Before it starts, or the workers of one that dies early would become init's.
            adopt_orphans()
            self._server = ForkServer(self._reactor, self._received, self._ended)
            self._since = self._reactor.seconds()
        return self._server

    def _received(self, packet: Packet, descriptors: list[int]) -> None:
        """Pass a packet on to its worker, if that has not ended for the daemon."""
        worker = self._workers.get(packet.number)
        if worker is not None and isinstance(packet, Forked) and descriptors:
            worker.started(packet.pid, descriptors.pop())
        elif worker is not None and isinstance(packet, ChildEnded):
            worker.finished(ending(packet.code))
        elif worker is not None and isinstance(packet, ForkFailed):
            worker.finished(f"no process: {packet.reason}")
        # Of a worker that was given up meanwhile: unclosed, each would leak a pidfd.
        for descriptor in descriptors:
            os.close(descriptor)

    def _ended(self, how: str) -> None:
        """The fork server has ended: start another one, and fail what it was asked for."""
        self._server = None
        if self._is_closed:
            return
        delay = self._backoff.died(self._reactor.seconds() - self._since)
        log.error(
            "the fork server ended with {how}; its workers go on; the next in {delay:g} s",
            how=how,
            delay=delay,
        )
        self._next_start.set(delay, self._replace)
        self._orphans.start()
        # A copy, because each that fails is forgotten.
        for worker in list(self._workers.values()):
            worker.orphaned()

    def _replace(self) -> None:
        try:
            self._start()
        except OSError as error:
            # The next worker that is started tries again, and its failure is logged.
            log.error("the fork server cannot be started: {error}", error=error)

    def _forget(self, worker: ForkedWorker) -> None:
        del self._workers[worker.number]
