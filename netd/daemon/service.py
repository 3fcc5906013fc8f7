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
from netd.daemon.place import Placed, WorkerPlace
from netd.daemon.spawning import Spawner
from netd.daemon.states import State
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
        self._places: list[WorkerPlace] = []
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
        self._places = [
            self._place(name, list(services))
            for name, services in groupby(
                sorted(self._configuration.services, key=_worker), key=_worker
            )
        ]
        for place in self._places:
            place.start()

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
        for place in self._places:
            place.drain()
        self._places_changed()
        return stopped

    def _place(self, name: str, services: Sequence[Service]) -> WorkerPlace:
        return WorkerPlace(
            name,
            [self._placed(service) for service in services],
            self._configuration.python_path,
            self._configuration.graceful_timeout,
            self._reactor,
            self._spawner,
            self._log.write,
            self._places_changed,
        )

    def _placed(self, service: Service) -> Placed:
        page = Scoreboard.make(service.name, service.threads)
        sockets = tuple(listener.socket for listener in self._listeners.of(service.name))
        return Placed(service, sockets, page, Scoreboard(page, service.threads))

    def _places_changed(self) -> None:
        """See whether everything has come up, or has come to its end."""
        states = {place.state for place in self._places}
        if self._stopped is not None:
            if states <= {State.CLOSED}:
                self._finish()
        elif states <= {State.SERVING} and not self._said_ready:
            self._said_ready = True
            log.info(
                "ready: {count} service(s) in {seconds:.2f} s",
                count=len(self._configuration.services),
                seconds=time.monotonic() - self._started,
            )

    def _end(self) -> None:
        """The time that handlers had is over."""
        for place in self._places:
            place.end()

    def _finish(self) -> None:
        """All workers have gone: give everything back, and let the reactor stop."""
        stopped, self._stopped = self._stopped, None
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._listeners.close()
        total = sum((place.counts for place in self._places), Counts())
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
            for place in self._places:
                place.kill()


def _worker(service: Service) -> str:
    return service.worker
