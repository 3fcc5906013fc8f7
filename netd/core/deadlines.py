"""Deadlines that are nearly always met, and then cost two dictionary operations each.

``Deadlines`` may differ in length, and are set in any thread. ``EqualDeadlines`` need no search for
the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from netd.core.reactor import DelayedCall, Reactor

T = TypeVar("T")


class Deadlines:
    """Calls an action in the reactor's thread for each thing that is not done in time.

    ``set`` and ``met`` are safe from any thread and wake the reactor only for a deadline that is
    the earliest, so that a process without deadlines is not woken up at all. *call* makes a call
    in the reactor's thread; where all deadlines are set in that thread, it may call immediately.
    """

    def __init__(
        self, reactor: Reactor, call: Callable[[Callable[[], None]], object] | None = None
    ) -> None:
        self._reactor = reactor
        self._call_in_reactor = reactor.callFromThread if call is None else call
        self._pending: dict[Hashable, tuple[float, Callable[[], None]]] = {}
        self._next: float | None = None
        self._call: DelayedCall | None = None

    # Any thread.

    def set(self, key: Hashable, seconds: float, action: Callable[[], None]) -> None:
        """Call *action* unless ``met(key)`` is called within *seconds*."""
        when = self._reactor.seconds() + seconds
        self._pending[key] = when, action
        if self._next is None or when < self._next:
            self._next = when
            self._call_in_reactor(self._schedule)

    def met(self, key: Hashable) -> None:
        """The thing named *key* is done; its deadline is forgotten."""
        self._pending.pop(key, None)

    # The reactor's thread.

    def _schedule(self) -> None:
        """Be called at the earliest deadline.

        If that has been met meanwhile, its time is still waited for: the deadlines set until then
        are later ones, and need not wake the reactor.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
        asked, self._next = self._next, None
        # A deadline set after this line sees None, and calls again. The copy has all others.
        pending = self._pending.copy()
        self._next = min((when for when, _ in pending.values()), default=asked)
        if self._next is not None:
            delay = max(0.0, self._next - self._reactor.seconds())
            self._call = self._reactor.callLater(delay, self._expire)

    def _expire(self) -> None:
        now = self._reactor.seconds()
        self._next = None
        try:
            for key, (when, action) in self._pending.copy().items():
                if when <= now and self._pending.pop(key, None) is not None:
                    action()
        finally:
            self._schedule()


class EqualDeadlines(Generic[T]):
    """Calls *expire* for each thing that is not done in *seconds*. In the thread of *reactor*.

    Equal lengths make the oldest deadline the next one, so that one timer serves all of them,
    however many there are; while nothing is in progress there is none. (An OrderedDict finds its
    first key immediately; a dict would pass all that were deleted.)
    """

    def __init__(self, seconds: float, reactor: Reactor, expire: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._reactor = reactor
        self._expire = expire
        self._due: OrderedDict[T, float] = OrderedDict()
        self._is_timed = False

    def __len__(self) -> int:
        """How many things are in progress."""
        return len(self._due)

    def begin(self, thing: T) -> None:
        """*thing* is in progress, and has the full time."""
        self._due[thing] = self._reactor.seconds() + self._seconds
        self._due.move_to_end(thing)
        if not self._is_timed:
            self._is_timed = True
            self._reactor.callLater(self._seconds, self._look)

    def end(self, thing: T) -> None:
        """*thing* is done, or of no interest."""
        self._due.pop(thing, None)

    def _look(self) -> None:
        self._is_timed = False
        now = self._reactor.seconds()
        try:
            while self._due:
                thing, when = next(iter(self._due.items()))
                if when > now:
                    break
                del self._due[thing]
                self._expire(thing)
        finally:
            if self._due and not self._is_timed:
                self._is_timed = True
                when = next(iter(self._due.values()))
                self._reactor.callLater(max(0.0, when - now), self._look)
