"""The daemon itself, as a Twisted service: workers in their places, signals, the way out."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from itertools import groupby
from types import FrameType
from typing import Any, Final

from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from netd.daemon.log import DaemonLog, Log
from netd.daemon.place import Placed
from netd.daemon.pool import Pool
from netd.daemon.spawning import Spawner
from netd.listening.binding import Listeners
from netd.values.reactor import DelayedCall
from netd.values.scoreboard import Counts, Scoreboard
from netd.values.service import Configuration, Service

log = Logger()

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Daemon(TwistedService):
    """Runs *configuration* on *listeners*, which it closes at the end.

    Everything but the constructor runs in the reactor's thread, after twistd has forked.
    """

    def __init__(
        self,
        configuration: Configuration,
        listeners: Listeners,
        reactor: Any,
        spawner: Spawner,
        daemon_log: Log,
    ) -> None:
        self.setName("netd")
        self._configuration = configuration
        self._listeners = listeners
        self._reactor = reactor
        self._spawner = spawner
        self._log = daemon_log
        self._pools: list[Pool] = []
        self._started = 0.0
        self._said_ready = False
        self._stopped: Deferred[None] | None = None
        self._deadline: DelayedCall | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, and be its log unless twistd was told to log elsewhere."""
        if isinstance(parent, Componentized) and isinstance(self._log, DaemonLog):
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start the workers. The listeners have been bound before."""
        super().startService()
        self._started = time.monotonic()
        self._log.start()
        self._reactor.callWhenRunning(self._obey_signals)
        for listener in self._listeners:
            log.info("{service} listens on {bound}", service=listener.service, bound=listener.bound)
        for note in self._configuration.notes:
            log.warn("{note}", note=str(note))
        self._pools = [
            self._pool(name, list(services))
            for name, services in groupby(
                sorted(self._configuration.services, key=_worker), key=_worker
            )
        ]
        for pool in self._pools:
            pool.start()

    def stopService(self) -> Deferred[None]:
        """Take nothing more, and fire when the last handler is done or its time is over."""
        super().stopService()
        self._stopped = Deferred()
        log.info(
            "stopping: handlers have {seconds:g} s to finish",
            seconds=self._configuration.graceful_timeout,
        )
        self._deadline = self._reactor.callLater(self._configuration.graceful_timeout, self._end)
        stopped = self._stopped
        for pool in self._pools:
            pool.drain()
        self._pools_changed()
        return stopped

    def _pool(self, name: str, services: Sequence[Service]) -> Pool:
        return Pool(
            name,
            [self._placed(service) for service in services],
            self._configuration.python_path,
            self._configuration.graceful_timeout,
            self._reactor,
            self._spawner,
            self._log.write,
            self._pools_changed,
        )

    def _placed(self, service: Service) -> Placed:
        page = Scoreboard.make(service.name, service.slots)
        sockets = tuple(listener.socket for listener in self._listeners.of(service.name))
        return Placed(service, sockets, page, Scoreboard(page, service.slots))

    def _pools_changed(self) -> None:
        """See whether everything has come up, or has come to its end."""
        if self._stopped is not None:
            if all(pool.is_closed for pool in self._pools):
                self._finish()
        elif not self._said_ready and all(pool.is_up for pool in self._pools):
            self._said_ready = True
            log.info(
                "ready: {count} service(s) in {seconds:.2f} s",
                count=len(self._configuration.services),
                seconds=time.monotonic() - self._started,
            )

    def _end(self) -> None:
        """The time that handlers had is over."""
        for pool in self._pools:
            pool.end()

    def _finish(self) -> None:
        """All workers have gone: give everything back, and let the reactor stop."""
        stopped, self._stopped = self._stopped, None
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._listeners.close()
        self._spawner.close()
        total = sum((pool.counts for pool in self._pools), Counts())
        log.info(
            "stopped: {served} served, {refused} refused, {failed} failed, {dropped} dropped",
            **vars(total),
        )
        if stopped is not None:
            stopped.callback(None)

    # Signals.

    def _obey_signals(self) -> None:
        """Take the signals over from the reactor, now that it has set its own handlers.

        A handler only enqueues. With its own, the reactor ends twistd by the signal (status 143).
        """
        for number in SIGNALS:
            signal.signal(number, self._enqueue)

    def _enqueue(self, number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._signalled, number)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            log.info("SIGHUP ignored: this version of netd cannot reload")
        elif number == signal.SIGUSR1:
            self._log.reopen()
        elif self.running:
            log.info("{signal}: stopping", signal=signal.Signals(number).name)
            self._reactor.stop()
        else:
            log.info("{signal} again: stopping at once", signal=signal.Signals(number).name)
            for pool in self._pools:
                pool.kill()


def _worker(service: Service) -> str:
    return service.worker
