"""Pools that were replaced, on their way out, and listeners that nobody has any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.logger import Logger

from netd.daemon.estate import queues
from netd.daemon.pool import Pool
from netd.listening.binding import Listeners
from netd.listening.closing import admit_nobody
from netd.values.reactor import DelayedCall
from netd.values.scoreboard import Counts

log = Logger()

MOST_GENERATIONS: Final = 2
"""Generations on their way out, at most, beside the one that serves: who reloads more often than
handlers end does not get more and more processes."""


@dataclass
class _Generation:
    """The pools that one reload, or the stop, has retired."""

    pools: list[Pool]
    deadline: DelayedCall

    def end(self) -> None:
        """The time that handlers had is over."""
        if self.deadline.active():
            self.deadline.cancel()
        for pool in self.pools:
            pool.end()


class Retirement:
    """Sees pools out: they empty their last queues, finish what they have, and are ended in time.

    *over* is called whenever one has gone. In the reactor's thread.
    """

    def __init__(self, reactor: Any, over: Callable[[], None]) -> None:
        self._reactor = reactor
        self._over = over
        self._generations: list[_Generation] = []
        self.counts = Counts()
        """What all processes of the pools that have gone have done."""

    def __iter__(self) -> Iterator[Pool]:
        """The pools that are on their way out."""
        return (pool for generation in self._generations for pool in generation.pools)

    @property
    def is_over(self) -> bool:
        """Whether nobody is on the way out."""
        return not self._generations

    def retire(self, pools: Sequence[Pool], gone: Listeners, seconds: float) -> None:
        """Let *pools* leave within *seconds*, and close the listeners that are *gone*.

        Nobody new gets into these, and who is in their queues is served first.
        """
        for listener in gone:
            admit_nobody(listener.socket)
        last = {id(pool): queues(pool, gone) for pool in pools}
        # The workers have their own copies of the sockets.
        gone.close()
        if pools:
            generation = _Generation(list(pools), self._reactor.callLater(seconds, lambda: None))
            generation.deadline.cancel()
            generation.deadline = self._reactor.callLater(seconds, generation.end)
            self._generations.append(generation)
            for pool in pools:
                pool.tell(self._look)
                pool.drain(last[id(pool)])
        for generation in self._generations[:-MOST_GENERATIONS]:
            log.warn("too many generations are draining: the oldest is ended")
            generation.end()
        self._look()

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
            if not generation.pools:
                if generation.deadline.active():
                    generation.deadline.cancel()
                self._generations.remove(generation)
        self._over()
