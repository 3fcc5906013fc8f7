"""How many processes a pool has. It costs nothing while no client connects.

The daemon watches the pool's listeners, each EPOLLONESHOT (epoll(7)). An event means that a
connection is queued, or was a moment ago; five milliseconds later the daemon looks at the
scoreboard. If a worker is idle by then, it waits for the next event: so it looks at a loaded pool
200 times a second, and never at an idle one. If no worker is idle, the rule of
``netd.core.pool_size`` decides, then and every five milliseconds.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.core.pool_size import LOOK_INTERVAL, Growth, Sample
from netd.core.reactor import Reading, ReadingReactor
from netd.core.timer import Timer

IDLE_TIME: Final = 10.0
"""Seconds without a connection after which a worker exits, unless it is one of the least number.
The threads of a pool have as many."""

PROCESSORS: Final = len(os.sched_getaffinity(0))
"""Processors that netd may use, which may be fewer than there are."""


def processor_time_of(pid: int) -> float:
    """Seconds of processor time that a process has used. Raises OSError if it has ended."""
    # The number of its clock, as clock_getcpuclockid(3) computes it, for which Python has no name.
    return time.clock_gettime((~pid << 3) | 2)


@dataclass(frozen=True)
class View:
    """What the scoreboards say of a worker."""

    index: int
    pid: int
    slots: int
    busy: int
    """Slots with an active connection."""
    accepted: int
    """Requests that have ended since the process started."""
    is_up: bool = True
    """Whether it serves; otherwise it starts, or waits to."""

    @property
    def is_idle(self) -> bool:
        """Whether it has a free slot."""
        return self.busy < self.slots


class Sized(Protocol):
    """A pool whose size can be changed."""

    @property
    def size(self) -> int:
        """Workers that serve or are going to."""

    def grow(self, count: int) -> None:
        """Start more workers."""

    def shrink(self, indices: Sequence[int]) -> None:
        """Drain these workers."""

    def views(self) -> list[View]:
        """A view of each worker that ``size`` counts."""


class Scaling:
    """Keeps between *least* and *most* workers in *pool*. In the reactor's thread."""

    def __init__(
        self,
        pool: Sized,
        reactor: ReadingReactor,
        least: int,
        most: int,
        processor_time: Callable[[int], float] = processor_time_of,
    ) -> None:
        self._pool = pool
        self._reactor = reactor
        self._least = least
        self._growth = Growth(most)
        self._backlogs: BacklogWatch | None = None
        self._next_look = Timer(reactor)
        self._next_shrink = Timer(reactor)
        self._last_views: dict[int, View] = {}
        """The views at the last look, by index."""
        self._accepted_then: dict[int, int] = {}
        """How many requests each process had accepted at the last shrink, by pid."""
        self._processor_time = processor_time
        # Totals, because the rule compares rates, and a process that ends takes its counts along.
        self._accepted = Total()
        self._used = Total()

    def watch(self, sockets: Sequence[socket.socket]) -> None:
        """Look at the pool when a connection comes to *sockets*, and to no others.

        The caller owns them, and closes them after ``stop``.
        """
        self._unwatch()
        if sockets:
            self._backlogs = BacklogWatch(sockets, self._reactor, self._look_soon)
            self._backlogs.watch()

    def stop(self) -> None:
        """Leave the pool's size as it is."""
        self._unwatch()
        self._next_shrink.clear()

    def _unwatch(self) -> None:
        if self._backlogs is not None:
            self._backlogs.close()
            self._backlogs = None
        self._next_look.clear()

    def _look_soon(self) -> None:
        self._next_look.set(LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        views = self._pool.views()
        if self._has_idle(views):
            self._growth.rest()
            if self._backlogs is not None:
                self._backlogs.watch()
        else:
            # Before the decision, which may start a worker whose failure leads to stop().
            self._look_soon()
            self._decide(views)
        self._last_views = {view.index: view for view in views}
        if self._pool.size > self._least and not self._next_shrink.is_set:
            self._next_shrink.set(IDLE_TIME, self._shrink)

    def _has_idle(self, views: list[View]) -> bool:
        """Whether a worker has been idle since the last look, or starts and will be idle then."""
        return any(not view.is_up or self._has_been_idle(view) for view in views)

    def _has_been_idle(self, view: View) -> bool:
        # Idle at both looks is not enough: it may have served a connection in between.
        before = self._last_views.get(view.index, view)
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
                with suppress(OSError):  # it has ended
                    times[view.pid] = self._processor_time(view.pid)
        return times

    def _least_busy(self, views: list[View], count: int) -> list[int]:
        most = max(0, self._pool.size - self._least)
        ordered = sorted(views, key=lambda view: (view.busy, view.accepted))
        return [view.index for view in ordered[: min(count, most)]]

    def _shrink(self) -> None:
        """Drain the workers that have accepted nothing since the last shrink; repeat while the pool
        is larger than it has to be.
        """
        views = [view for view in self._pool.views() if view.is_up and view.busy == 0]
        idle = [view.index for view in views if self._accepted_then.get(view.pid) == view.accepted]
        self._accepted_then = {view.pid: view.accepted for view in views}
        surplus = max(0, self._pool.size - self._least)
        # The highest first, so that the pool keeps the first blocks of its scoreboards.
        self._pool.shrink(sorted(idle, reverse=True)[:surplus])
        if self._pool.size > self._least:
            self._next_shrink.set(IDLE_TIME, self._shrink)


class Total:
    """A sum over processes that never falls: what ended processes have contributed stays in it."""

    def __init__(self) -> None:
        self._last: Mapping[int, float] = {}
        self._total = 0.0

    def of(self, readings: Mapping[int, float]) -> float:
        """Add the increase since the last call; *readings* are the present values by pid."""
        self._total += sum(now - self._last.get(pid, 0.0) for pid, now in readings.items())
        self._last = readings
        return self._total


@implementer(IReadDescriptor)
class BacklogWatch:
    """Calls *came* once, after each ``watch``, when a connection comes to one of *sockets*.

    Only the daemon's view of the sockets is in its epoll: workers accept from them as before.
    """

    def __init__(
        self, sockets: Sequence[socket.socket], reactor: Reading, came: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._came = came
        self._epoll = select.epoll()
        self._descriptors = [one.fileno() for one in sockets]
        for descriptor in self._descriptors:
            self._epoll.register(descriptor, 0)

    def watch(self) -> None:
        """Report the next connection."""
        for descriptor in self._descriptors:
            self._epoll.modify(descriptor, select.EPOLLIN | select.EPOLLONESHOT)
        self._reactor.addReader(self)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def doRead(self) -> None:
        # Several listeners may have an event; they are one report, so all are taken.
        self._epoll.poll(0)
        self._reactor.removeReader(self)
        self._came()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is stopping."""

    def logPrefix(self) -> str:
        return "netd"

    def close(self) -> None:
        """Close the epoll."""
        self._reactor.removeReader(self)
        self._epoll.close()
