"""Deadlines that are equally long, so that the oldest one is always the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from netd.core.reactor import Reactor

T = TypeVar("T")


class EqualDeadlines(Generic[T]):
    """Calls *expire* for each thing that is not done in *seconds*. In the thread of *reactor*.

    One timer does for all, however many there are; while nothing is under way there is none.
    (An OrderedDict finds its first key at once; a dict would pass all that have been deleted.)
    """

    def __init__(self, seconds: float, reactor: Reactor, expire: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._reactor = reactor
        self._expire = expire
        self._due: OrderedDict[T, float] = OrderedDict()
        self._is_timed = False

    def __len__(self) -> int:
        """How many things are under way."""
        return len(self._due)

    def begin(self, thing: T) -> None:
        """*thing* is under way, and has the full time."""
        self._due[thing] = self._reactor.seconds() + self._seconds
        self._due.move_to_end(thing)
        if not self._is_timed:
            self._is_timed = True
            self._reactor.callLater(self._seconds, self._look)

    def end(self, thing: T) -> None:
        """*thing* is done, or of no interest any more."""
        self._due.pop(thing, None)

    def oldest(self) -> T | None:
        """What has been under way for longest; None if nothing is."""
        return next(iter(self._due), None)

    def expire_all(self) -> None:
        """The time of everything is over."""
        for thing in list(self._due):
            self._expire_one(thing)

    def _look(self) -> None:
        self._is_timed = False
        now = self._reactor.seconds()
        try:
            while self._due:
                thing, when = next(iter(self._due.items()))
                if when > now:
                    break
                self._expire_one(thing)
        finally:
            if self._due and not self._is_timed:
                self._is_timed = True
                when = next(iter(self._due.values()))
                self._reactor.callLater(max(0.0, when - now), self._look)

    def _expire_one(self, thing: T) -> None:
        if self._due.pop(thing, None) is not None:
            self._expire(thing)
