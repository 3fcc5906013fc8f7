"""Pools that were replaced, until they have gone, and the listeners that go with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netd.core.reactor import Timing
from netd.core.timer import Timer
from netd.daemon.workers.pool import Pool
from netd.ipc.scoreboard import Counts
from netd.listening.drain_filter import admit_nobody, has_queued_connections
from netd.listening.listener import Listeners
from netd.model.address import InetAddress

log = Logger()

MOST_GENERATIONS: Final = 2
"""Most generations that drain beside the one that serves. Reloads that are more frequent than
handlers end would otherwise make more and more processes."""

EMPTYING_INTERVAL: Final = 0.005
"""Seconds between two looks at a backlog that is about to be closed."""

HANDSHAKE_TIME: Final = 0.05
"""Seconds that an Internet listener stays open at least, even with an empty backlog: a client that
has sent its SYN is not in the backlog before it has finished the TCP handshake, within a round
trip."""

STOP_ACCEPTING_TIMEOUT: Final = 2.0
"""Seconds that a reload waits for old workers to report that they stopped accepting. A handler that
computes holds up the thread that reports it."""


class _DrainingGeneration:
    """The pools that one reload, or the stop, has replaced, and the listeners that are *gone*.

    A drain has three steps. The listeners get a filter that drops new connections; the pools empty
    their backlogs, as running pools whose workers are replaced if they die; then the pools drain,
    and are ended after *seconds*. A listener of the service manager's is neither filtered nor
    emptied: its backlog is for the service that starts next.
    """

    def __init__(
        self, pools: Sequence[Pool], gone: Listeners, seconds: float, reactor: Timing
    ) -> None:
        self.pools = list(pools)
        self._gone = gone
        self._own = gone.own()
        self._deadline = Timer(reactor)
        self._deadline.set(seconds, self.end)
        self._look = Timer(reactor)
        self._is_open = True

    def begin(self) -> None:
        """Drop new connections, and serve the queued ones."""
        # First the filter, so that a backlog can be emptied under load at all.
        for listener in self._own:
            admit_nobody(listener.socket)
        # Unix sockets have no such filter. Without its path, new clients do not find one.
        self._gone.hide()
        if any(isinstance(listener.address, InetAddress) for listener in self._own):
            self._look.set(HANDSHAKE_TIME, self._empty_backlogs)
        else:
            self._empty_backlogs()

    def end(self) -> None:
        """End the pools now."""
        self._drain()
        for pool in self.pools:
            pool.workers.end()

    def finish(self) -> None:
        """All pools have gone."""
        self._drain()
        self._deadline.clear()

    def _empty_backlogs(self) -> None:
        """Go on when no backlog has a connection that a worker will accept."""
        # By the socket, because a pool may also have listeners that the next generation keeps.
        gone = {id(listener.socket) for listener in self._own}
        awaited = [one for pool in self.pools for one in pool.accepting.awaited if id(one) in gone]
        if has_queued_connections(awaited):
            self._look.set(EMPTYING_INTERVAL, self._empty_backlogs)
            return
        for pool in self.pools:
            pool.accepting.last_call()
        self._empty_dispatchers()

    def _empty_dispatchers(self) -> None:
        """Go on when no dispatcher has a connection for a worker."""
        # After the backlogs: what is accepted from them comes here.
        if any(pool.accepting.is_pending for pool in self.pools):
            self._look.set(EMPTYING_INTERVAL, self._empty_dispatchers)
        else:
            self._drain()

    def _drain(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._look.clear()
        for pool in list(self.pools):
            pool.drain()
        # The workers have copies of the sockets, which are closed when they exit.
        self._gone.close()


class DrainingGenerations:
    """The pools that drain. *changed* is called whenever one may have gone. Reactor's thread only.

    Iterates over the pools.
    """

    def __init__(self, reactor: Timing, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._generations: list[_DrainingGeneration] = []
        self._when_settled: list[Deferred[None]] = []
        self.counts = Counts()
        """What the processes of the pools that have gone did."""

    def __iter__(self) -> Iterator[Pool]:
        return (pool for generation in self._generations for pool in generation.pools)

    @property
    def is_over(self) -> bool:
        """Whether no pool drains."""
        return not self._generations

    def drain_pools(self, pools: Sequence[Pool], gone: Listeners, seconds: float) -> None:
        """Drain *pools* within *seconds*, and close the listeners that are *gone*.

        These accept no new connections; the queued ones are served first.
        """
        generation = _DrainingGeneration(pools, gone, seconds, self._reactor)
        self._generations.append(generation)
        for pool in pools:
            pool.notify(self._check)
        generation.begin()
        # The oldest ones, whose handlers have had the most time.
        for excess in self._generations[:-MOST_GENERATIONS]:
            log.warn("too many generations are draining: the oldest is ended")
            excess.end()
        self._check()

    def settled(self) -> Deferred[None]:
        """Fire when no draining worker accepts, or after ``STOP_ACCEPTING_TIMEOUT``."""
        settled: Deferred[None] = Deferred()
        # What a client of the reload does next must not wait for a handler that computes.
        timeout = Timer(self._reactor)
        timeout.set(STOP_ACCEPTING_TIMEOUT, lambda: settled.callback(None))
        settled.addCallback(lambda _: timeout.clear())
        self._when_settled.append(settled)
        self._check()
        return settled

    def end(self) -> None:
        """End all draining pools now. By an order, so that workers end their programs."""
        for generation in self._generations:
            generation.end()

    def _check(self) -> None:
        """Forget the pools that have gone, and answer those that wait for them."""
        for generation in list(self._generations):
            for pool in [pool for pool in generation.pools if pool.is_closed]:
                generation.pools.remove(pool)
                self.counts += pool.counts
                pool.close()
            # finish() may lead back here, so the generation may have been removed by then.
            if not generation.pools and generation in self._generations:
                generation.finish()
                self._generations.remove(generation)
        if not any(pool.workers.may_accept for pool in self):
            settled, self._when_settled = self._when_settled, []
            for waiting in settled:
                if not waiting.called:
                    waiting.callback(None)
        self._changed()
