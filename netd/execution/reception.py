"""Connections of a service that have not begun to be served: how many there may be, how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol

from netd.execution.equal_deadlines import EqualDeadlines
from netd.listening.early_drop import drops_early
from netd.values.reactor import Reactor

LAST_CALL: Final = 3.0
"""Seconds that those who have not begun get when the service stops: a client whose first packet
was lost sends it again after one second and once more after two (RFC 6298)."""


class Beginner(Protocol):
    """A connection that has not begun."""

    def overdue(self) -> None:
        """Its time is over; it is not counted any more. Raises nothing."""


class Reception:
    """Counts the connections of one service that have not begun. In the thread of *reactor*.

    There may be *bound* of them, each for *seconds*. *chance* draws a number from [0, 1).
    """

    def __init__(
        self,
        bound: int,
        seconds: float,
        reactor: Reactor,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._bound = bound
        self._reactor = reactor
        self._chance = chance
        self._beginners = EqualDeadlines[Beginner](seconds, reactor, self._overdue)
        self._empty: Callable[[], None] | None = None

    def is_crowded(self) -> bool:
        """Whether a new client is to be turned away, which chance has a part in."""
        return drops_early(len(self._beginners), self._bound, self._chance())

    def enter(self, one: Beginner) -> None:
        """Count *one*, which is told if it has not left in time."""
        self._beginners.begin(one)

    def leave(self, one: Beginner) -> None:
        """It has begun, or has gone."""
        self._beginners.end(one)
        self._look()

    def when_empty(self, call: Callable[[], None]) -> None:
        """Call once when nobody is here any more, which is seen to; at once if nobody is."""
        self._empty = call
        self._look()
        if self._empty is not None:
            self._reactor.callLater(LAST_CALL, self._beginners.expire_all)

    def _overdue(self, one: Beginner) -> None:
        one.overdue()
        self._look()

    def _look(self) -> None:
        if self._empty is not None and not len(self._beginners):
            call, self._empty = self._empty, None
            call()
