"""Deadlines of equal length, so that the oldest one always expires next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from netd.core.reactor import Reactor

T = TypeVar("T")


class EqualDeadlines(Generic[T]):
    """Calls *expire* for each item that does not end within *seconds*. In the thread of *reactor*.

    One timer serves all items; without items there is none. (An OrderedDict, because finding the
    first key of a dict takes longer with each key that was deleted before it.)
    """

    def __init__(self, seconds: float, reactor: Reactor, expire: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._reactor = reactor
        self._expire = expire
        self._due: OrderedDict[T, float] = OrderedDict()
        self._is_timed = False

    def __len__(self) -> int:
        """How many items have begun and not ended."""
        return len(self._due)

    def begin(self, item: T) -> None:
        """Start, or restart, the time of *item*."""
        self._due[item] = self._reactor.seconds() + self._seconds
        self._due.move_to_end(item)
        if not self._is_timed:
            self._is_timed = True
            self._reactor.callLater(self._seconds, self._check)

    def end(self, item: T) -> None:
        """Forget *item*, if it is known."""
        self._due.pop(item, None)

    def oldest(self) -> T | None:
        """The item that began first; None if there is none."""
        return next(iter(self._due), None)

    def expire_all(self) -> None:
        """Expire every item now."""
        for item in list(self._due):
            self._expire_one(item)

    def _check(self) -> None:
        # The timer is not cancelled when an item ends: it checks too early, and starts again.
        self._is_timed = False
        now = self._reactor.seconds()
        try:
            while self._due:
                item, when = next(iter(self._due.items()))
                if when > now:
                    break
                self._expire_one(item)
        finally:  # *expire* may raise, and the other items still need the timer
            if self._due and not self._is_timed:
                self._is_timed = True
                when = next(iter(self._due.values()))
                self._reactor.callLater(max(0.0, when - now), self._check)

    def _expire_one(self, item: T) -> None:
        if self._due.pop(item, None) is not None:
            self._expire(item)
