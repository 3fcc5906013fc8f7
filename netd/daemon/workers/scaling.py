"""How many processes a pool has: looked at only while clients come and none is idle.

The daemon watches the pool's listeners, each EPOLLONESHOT (epoll(7)). An event says that a client
is waiting, or was a moment ago; five milliseconds later it looks at the scoreboard. If a worker is
idle by then, the next event is waited for, so a pool under load is looked at 200 times a second
and an idle one never. If none is idle, the rule of ``netd.core.pool_size`` decides, at once and
every five milliseconds.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.core.pool_size import LOOK_INTERVAL, Growth, Sample
from netd.core.reactor import DelayedCall

IDLE_TIME: Final = 10.0
"""Seconds without a client after which a worker that is not the last leaves; as threads do."""

PROCESSORS: Final = len(os.sched_getaffinity(0))


def processor_time_of(pid: int) -> float:
    """Seconds of processor time that a process has used. Raises OSError if there is none."""
    # Its clock, as Linux numbers them (clock_getcpuclockid(3)).
    return time.clock_gettime((~pid << 3) | 2)


@dataclass(frozen=True)
class View:
    """A worker, as it is seen from outside."""

    index: int
    pid: int
    slots: int
    busy: int
    """Slots with somebody inside."""
    accepted: int
    """Requests that have come to their end since the worker began."""
    is_up: bool = True
    """Whether it serves; otherwise it is starting, or going to."""

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
        """As many workers."""


class Scaling:
    """Keeps between *least* and *most* workers in *pool*. In the reactor's thread."""

    def __init__(
        self,
        pool: Sized,
        reactor: Any,
        least: int,
        most: int,
        processor_time: Callable[[int], float] = processor_time_of,
    ) -> None:
        self._pool = pool
        self._reactor = reactor
        self._least = least
        self._growth = Growth(most)
        self._arrivals: Arrivals | None = None
        self._looking: DelayedCall | None = None
        self._shrinking: DelayedCall | None = None
        self._seen: dict[int, View] = {}
        """At the last look."""
        self._idle: dict[int, int] = {}
        """How many each worker had taken by the last time that some were let go; by its pid."""
        self._processor_time = processor_time
        self._accepted = Total()
        self._used = Total()

    def watch(self, sockets: Sequence[socket.socket]) -> None:
        """Look at the pool when somebody comes to *sockets*, and to no others.

        They stay the caller's, who closes them after ``stop``.
        """
        self._forget_arrivals()
        if sockets:
            self._arrivals = Arrivals(sockets, self._reactor, self._look_soon)
            self._arrivals.watch()

    def stop(self) -> None:
        """Look no more."""
        self._forget_arrivals()
        if self._shrinking is not None:
            self._shrinking.cancel()
            self._shrinking = None

    def _forget_arrivals(self) -> None:
        if self._arrivals is not None:
            self._arrivals.close()
            self._arrivals = None
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look_soon(self) -> None:
        self._looking = self._reactor.callLater(LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        self._looking = None
        views = self._pool.views()
        if self._somebody_rests(views):
            self._growth.rest()
            if self._arrivals is not None:
                self._arrivals.watch()
        else:
            # First, since what follows may be the reason to look no more.
            self._look_soon()
            self._decide(views)
        self._seen = {view.index: view for view in views}
        if self._pool.size > self._least and self._shrinking is None:
            self._shrinking = self._reactor.callLater(IDLE_TIME, self._shrink)

    def _somebody_rests(self, views: list[View]) -> bool:
        """Whether a worker has been idle ever since the last look, or will be in a moment."""
        return any(not view.is_up or self._has_been_idle(view) for view in views)

    def _has_been_idle(self, view: View) -> bool:
        """Whether it was idle at the last look, too, if it was there by then."""
        before = self._seen.get(view.index, view)
        return view.is_idle and before.is_idle and view.accepted == before.accepted

    def _decide(self, views: list[View]) -> None:
        accepted = self._accepted.of({view.pid: view.accepted + view.busy for view in views})
        used = self._used.of(self._processor_times(views)) / PROCESSORS
        sample = Sample(self._reactor.seconds(), int(accepted), used)
        change = self._growth.look(sample, self._pool.size)
        if change > 0:
            self._pool.grow(change)
        elif change < 0:
            self._pool.shrink(self._least_busy(views, -change))

    def _processor_times(self, views: list[View]) -> dict[int, float]:
        times = {}
        for view in views:
            if view.pid:
                with suppress(OSError):  # it has gone
                    times[view.pid] = self._processor_time(view.pid)
        return times

    def _least_busy(self, views: list[View], count: int) -> list[int]:
        most = max(0, self._pool.size - self._least)
        ordered = sorted(views, key=lambda view: (view.busy, view.accepted))
        return [view.index for view in ordered[: min(count, most)]]

    def _shrink(self) -> None:
        """Let those leave that have taken nobody for a while, and come back while there are any."""
        self._shrinking = None
        views = [view for view in self._pool.views() if view.is_up and view.busy == 0]
        idle = [view.index for view in views if self._idle.get(view.pid) == view.accepted]
        self._idle = {view.pid: view.accepted for view in views}
        surplus = max(0, self._pool.size - self._least)
        self._pool.shrink(sorted(idle, reverse=True)[:surplus])
        if self._pool.size > self._least:
            self._shrinking = self._reactor.callLater(IDLE_TIME, self._shrink)


class Total:
    """What processes have done together, those that have ended included."""

    def __init__(self) -> None:
        self._last: Mapping[int, float] = {}
        self._total = 0.0

    def of(self, readings: Mapping[int, float]) -> float:
        """Add what has come since the last time; *readings* say what each process has by pid."""
        self._total += sum(now - self._last.get(pid, 0.0) for pid, now in readings.items())
        self._last = readings
        return self._total


@implementer(IReadDescriptor)
class Arrivals:
    """Tells once, after each ``watch``, that somebody came to one of *sockets*."""

    def __init__(
        self, sockets: Sequence[socket.socket], reactor: Any, came: Callable[[], None]
    ) -> None:
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
