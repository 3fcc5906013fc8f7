"""A call that is due later, at most one at a time."""

from __future__ import annotations

from collections.abc import Callable

from netd.core.reactor import DelayedCall, Timing


class Timer:
    """Holds at most one call that is due, so that an owner needs to keep no DelayedCall of it.

    A DelayedCall may be cancelled only while it is active, and one that has run keeps what it
    called alive. The timer sees to both. In the reactor's thread.
    """

    def __init__(self, reactor: Timing) -> None:
        self._reactor = reactor
        self._call: DelayedCall | None = None

    @property
    def is_set(self) -> bool:
        """Whether a call is due."""
        return self._call is not None

    def set(self, seconds: float, call: Callable[[], object]) -> None:
        """Call in *seconds*, instead of what was due before."""
        self.clear()

        def run() -> None:
            # Before the call, which may set the timer again.
            self._call = None
            call()

        self._call = self._reactor.callLater(seconds, run)

    def clear(self) -> None:
        """Do not make the call. Does nothing if none is due."""
        pending, self._call = self._call, None
        if pending is not None and pending.active():
            pending.cancel()
