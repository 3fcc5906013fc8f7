"""Connections of a service that have not begun to be served: how many there may be, how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol

from netd.accept.early_drop import drops_early
from netd.core.reactor import Reactor
from netd.listening.equal_deadlines import EqualDeadlines


class Beginner(Protocol):
    """A connection that has not begun."""

    def give_up(self, why: str) -> None:
        """End it, because of *why*; it is not counted any more. Raises nothing."""


class Reception:
    """Counts the connections of one service that have not begun. In the thread of *reactor*.

    There may be *bound* of them, each for *seconds*. From half of that on, a new one may take the
    place of the one that has been here longest, by *chance*, which draws a number from [0, 1).
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

    def make_room(self) -> None:
        """See that there is room for a new client, at the cost of the one that is here longest."""
        if drops_early(len(self._beginners), self._bound, self._chance()):
            longest = self._beginners.oldest()
            if longest is not None:
                self._beginners.end(longest)
                longest.give_up(CROWDED)

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
        one.give_up(TIMED_OUT)
        self._look()

    def _look(self) -> None:
        if self._empty is not None and not len(self._beginners):
            call, self._empty = self._empty, None
            call()


TIMED_OUT: Final = "handshake_timeout"
"""Why a client is not served that had not begun in time."""


CROWDED: Final = "handshakes"
"""Why one is not while too many others have not begun."""


LAST_CALL: Final = 3.0
"""Seconds that those who have not begun get when nobody new is taken any more: a client whose first
packet was lost sends it again after one second and once more after two (RFC 6298)."""
