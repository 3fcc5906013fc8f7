"""Deadlines that nearly always are met, and then cost two dictionary operations each."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from netd.core.reactor import DelayedCall, Reactor


class Deadlines:
    """Calls an action in the reactor's thread for each thing that is not done in time.

    ``set`` and ``met`` are safe from any thread and wake the reactor only when nothing is being
    watched for yet, so that a process without deadlines is not woken up at all.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
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
            self._reactor.callFromThread(self._schedule)

    def met(self, key: Hashable) -> None:
        """The thing named *key* is done; its deadline is forgotten."""
        self._pending.pop(key, None)

    # The reactor's thread.

    def _schedule(self) -> None:
        """Be called at the earliest deadline.

        Where that has been met in the meantime it is watched for all the same: the deadlines set
        until then are later ones, and wake nobody.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
        asked, self._next = self._next, None
        # A deadline set from now on sees None and calls again; the copy has all earlier ones.
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
