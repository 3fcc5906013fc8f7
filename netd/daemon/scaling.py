"""How many processes a pool has: looked at only while clients come and none is idle.

The daemon watches the pool's listeners, each EPOLLONESHOT (epoll(7)). An event says that a client
is waiting, or was a moment ago; five milliseconds later it looks at the scoreboard. If a worker is
idle by then, the next event is waited for, so a pool under load is looked at 200 times a second
and an idle one never. If none is idle, the rule of ``netd.values.growth`` decides, at once and
every five milliseconds.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.values.growth import LOOK_INTERVAL, Growth, Sample
from netd.values.reactor import DelayedCall

IDLE_TIME: Final = 10.0
"""Seconds without a client after which a worker that is not the last leaves; as threads do."""

PROCESSORS: Final = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class View:
    """A worker, as it is seen from outside."""

    index: int
    pid: int
    slots: int
    busy: int
    """Slots with somebody inside."""
    taken: int
    """Requests that have come to their end since the worker began."""

    @property
    def is_idle(self) -> bool:
        """Whether it could take somebody."""
        return self.busy < self.slots


class Sized(Protocol):
    """A pool that can be made larger and smaller."""

    @property
    def size(self) -> int:
        """Workers that serve, or are going to."""

    def grow(self, count: int) -> None:
        """Start more workers."""

    def shrink(self, indices: Sequence[int]) -> None:
        """Let these workers leave."""

    def views(self) -> list[View]:
        """The workers."""


class Scaling:
    """Keeps between *least* and *most* workers in *pool*. In the reactor's thread."""

    def __init__(self, pool: Sized, reactor: Any, least: int, most: int) -> None:
        self._pool = pool
        self._reactor = reactor
        self._least = least
        self._growth = Growth(most)
        self._arrivals: Arrivals | None = None
        self._looking: DelayedCall | None = None
        self._shrinking: DelayedCall | None = None
        self._seen: dict[int, View] = {}
        """At the last look."""
        self._idle_since: dict[int, tuple[int, float]] = {}
        """For each worker that is idle, how many it had taken, and since when that is so."""
        self._processors = ProcessorTime()

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Watch *sockets*, which stay the caller's."""
        self._arrivals = Arrivals(sockets, self._reactor, self._somebody_came)
        self._arrivals.watch()

    def stop(self) -> None:
        """Watch no more."""
        if self._arrivals is not None:
            self._arrivals.close()
            self._arrivals = None
        for call in (self._looking, self._shrinking):
            if call is not None and call.active():
                call.cancel()

    def _somebody_came(self) -> None:
        self._look_soon()

    def _look_soon(self) -> None:
        self._looking = self._reactor.callLater(LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        views = self._pool.views()
        if self._somebody_rests(views):
            self._growth.rest()
            if self._arrivals is not None:
                self._arrivals.watch()
        else:
            self._decide(views)
            self._look_soon()
        self._seen = {view.index: view for view in views}
        if self._pool.size > self._least and self._shrinking is None:
            self._shrinking = self._reactor.callLater(IDLE_TIME, self._shrink)

    def _somebody_rests(self, views: list[View]) -> bool:
        """Whether a worker has been idle ever since the last look."""
        return any(
            view.is_idle and before.is_idle and view.taken == before.taken
            for view in views
            if (before := self._seen.get(view.index)) is not None
        )

    def _decide(self, views: list[View]) -> None:
        now = time.monotonic()
        taken = sum(view.taken + view.busy for view in views)
        cpu = self._processors.used([view.pid for view in views]) / PROCESSORS
        change = self._growth.look(Sample(now, taken, cpu), self._pool.size)
        if change > 0:
            self._pool.grow(change)
        elif change < 0:
            self._pool.shrink(self._least_busy(views, -change))

    def _least_busy(self, views: list[View], count: int) -> list[int]:
        most = max(0, self._pool.size - self._least)
        ordered = sorted(views, key=lambda view: (view.busy, view.taken))
        return [view.index for view in ordered[: min(count, most)]]

    def _shrink(self) -> None:
        """Let those leave that have taken nobody for a while, and come back while there are any."""
        self._shrinking = None
        now = time.monotonic()
        views = self._pool.views()
        known, self._idle_since = self._idle_since, {}
        for view in views:
            if view.busy == 0:
                taken, since = known.get(view.index, (view.taken, now))
                self._idle_since[view.index] = view.taken, since if taken == view.taken else now
        idle = [
            index for index, (_, since) in self._idle_since.items() if now - since >= IDLE_TIME / 2
        ]
        surplus = max(0, self._pool.size - self._least)
        self._pool.shrink(sorted(idle, reverse=True)[:surplus])
        if self._pool.size > self._least:
            self._shrinking = self._reactor.callLater(IDLE_TIME, self._shrink)


class ProcessorTime:
    """Adds up what processes use, those that have ended included. Pure but for the clocks."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._total = 0.0

    def used(self, pids: Sequence[int]) -> float:
        """Seconds of processor time that all processes ever named have used, as far as seen."""
        seen = {}
        for pid in pids:
            # Gone, or not there yet.
            with suppress(OSError):
                seen[pid] = time.clock_gettime(_clock_of(pid)) if pid else 0.0
        self._total += sum(used - self._last.get(pid, 0.0) for pid, used in seen.items())
        self._last = seen
        return self._total


def _clock_of(pid: int) -> int:
    """The processor-time clock of a process (clock_getcpuclockid(3), as Linux numbers them)."""
    return (~pid << 3) | 2


@implementer(IReadDescriptor)
class Arrivals:
    """Tells once, after each ``watch``, that somebody came to one of *sockets*."""

    def __init__(self, sockets: Sequence[socket.socket], reactor: Any, came: Any) -> None:
        self._reactor = reactor
        self._came = came
        self._epoll = select.epoll()
        self._descriptors = [one.fileno() for one in sockets]
        for descriptor in self._descriptors:
            self._epoll.register(descriptor, 0)

    def watch(self) -> None:
        """Tell of the next."""
        for descriptor in self._descriptors:
            self._epoll.modify(descriptor, select.EPOLLIN | select.EPOLLONESHOT)
        self._reactor.addReader(self)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def doRead(self) -> None:
        # Of several listeners each may report: they are all told of at once.
        self._epoll.poll(0)
        self._reactor.removeReader(self)
        self._came()

    def connectionLost(self, reason: Failure) -> None:
        """Nothing to do: the reactor is ending."""

    def logPrefix(self) -> str:
        return "netd"

    def close(self) -> None:
        """Give the descriptor back."""
        self._reactor.removeReader(self)
        self._epoll.close()
