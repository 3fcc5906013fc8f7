"""Pools that were replaced, on their way out, and listeners that nobody has any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netd.core.reactor import DelayedCall
from netd.daemon.workers.pool import Pool
from netd.ipc.scoreboard import Counts
from netd.listening.binding import Listeners
from netd.listening.drain_filter import admit_nobody, has_queued_connections
from netd.model.address import InetAddress

log = Logger()

MOST_GENERATIONS: Final = 2
"""Generations on their way out, at most, beside the one that serves: who reloads more often than
handlers end does not get more and more processes."""

EMPTYING_INTERVAL: Final = 0.005
"""Seconds between two looks whether a queue is empty that is about to be closed."""

SETTLING: Final = 0.05
"""Seconds that an Internet listener stays open at least, though its queue is empty: who had begun
to connect comes to its end of the handshake within a round trip."""


TAKING_ENDS: Final = 2.0
"""Seconds that workers have to say that they take nobody any more; a handler that computes holds up
the thread that says it."""


class _Generation:
    """The pools that one reload, or the stop, has retired, and the listeners that go with them.

    The pools go on as they are until the queues of what is *gone* are empty: so workers that end
    meanwhile are replaced. Then they drain; after *seconds* they are ended. Who waits at a socket
    of the service manager's goes on waiting there, for whom that starts next.
    """

    def __init__(
        self, pools: Sequence[Pool], gone: Listeners, seconds: float, reactor: Any
    ) -> None:
        self.pools = list(pools)
        self._gone = gone
        self._own = gone.own()
        self._reactor = reactor
        self._deadline: DelayedCall = reactor.callLater(seconds, self.end)
        self._look: DelayedCall | None = None
        self._is_open = True

    def begin(self) -> None:
        """Let nobody new in, and serve those who are there."""
        for listener in self._own:
            admit_nobody(listener.socket)
        self._gone.hide()
        if any(isinstance(listener.address, InetAddress) for listener in self._own):
            self._look = self._reactor.callLater(SETTLING, self._empty)
        else:
            self._empty()

    def end(self) -> None:
        """The time that handlers had is over."""
        self._drain()
        for pool in self.pools:
            pool.end()

    def forget(self) -> None:
        """All pools have gone."""
        self._drain()
        if self._deadline.active():
            self._deadline.cancel()

    def _empty(self) -> None:
        """Drain, unless somebody waits who will be taken."""
        gone = {id(listener.socket) for listener in self._own}
        awaited = [one for pool in self.pools for one in pool.awaited if id(one) in gone]
        if has_queued_connections(awaited):
            self._look_again(self._empty)
        else:
            for pool in self.pools:
                pool.stop_accepting()
            self._see_through()

    def _see_through(self) -> None:
        """Drain, unless somebody is on the way to a worker."""
        if any(pool.is_expecting for pool in self.pools):
            self._look_again(self._see_through)
        else:
            self._drain()

    def _look_again(self, look: Callable[[], None]) -> None:
        self._look = self._reactor.callLater(EMPTYING_INTERVAL, look)

    def _drain(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if self._look is not None and self._look.active():
            self._look.cancel()
        for pool in list(self.pools):
            pool.drain()
        # The workers have their own copies of the sockets, which end with them.
        self._gone.close()


class DrainingGenerations:
    """Sees pools out: they empty their last queues, finish what they have, and are ended in time.

    *over* is called whenever one has gone. In the reactor's thread.
    """

    def __init__(self, reactor: Any, over: Callable[[], None]) -> None:
        self._reactor = reactor
        self._over = over
        self._generations: list[_Generation] = []
        self._settled: list[Deferred[None]] = []
        self.counts = Counts()
        """What all processes of the pools that have gone have done."""

    def __iter__(self) -> Iterator[Pool]:
        """The pools that are on their way out."""
        return (pool for generation in self._generations for pool in generation.pools)

    @property
    def is_over(self) -> bool:
        """Whether nobody is on the way out."""
        return not self._generations

    def drain_pools(self, pools: Sequence[Pool], gone: Listeners, seconds: float) -> None:
        """Let *pools* leave within *seconds*, and close the listeners that are *gone*.

        Nobody new gets into these, and who is in their queues is served first.
        """
        generation = _Generation(pools, gone, seconds, self._reactor)
        self._generations.append(generation)
        for pool in pools:
            pool.tell(self._look)
        generation.begin()
        for crowded in self._generations[:-MOST_GENERATIONS]:
            log.warn("too many generations are draining: the oldest is ended")
            crowded.end()
        self._look()

    def settled(self) -> Deferred[None]:
        """Fire when those on their way out take nobody any more, or after a while."""
        settled: Deferred[None] = Deferred()
        settled.addTimeout(TAKING_ENDS, self._reactor, lambda *_: None)
        self._settled.append(settled)
        self._look()
        return settled

    def end(self) -> None:
        """End everybody now. Not by a signal: a worker ends the programs that it has started."""
        for generation in self._generations:
            generation.end()

    def _look(self) -> None:
        """Forget those who have gone."""
        for generation in list(self._generations):
            for pool in [pool for pool in generation.pools if pool.is_closed]:
                generation.pools.remove(pool)
                self.counts += pool.counts
                pool.close()
            if not generation.pools and generation in self._generations:
                generation.forget()
                self._generations.remove(generation)
        if not any(pool.may_accept for pool in self):
            settled, self._settled = self._settled, []
            for waiting in settled:
                if not waiting.called:
                    waiting.callback(None)
        self._over()
