"""Waiting for a client in one direction: what ``Reader`` and ``Writer`` share."""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netd.core.reactor import Reactor


class Waits:
    """Awaitables that end when the client has sent, or has made room. In the reactor's thread.

    Everything here runs for every client several times, so it makes as few calls as it can.
    """

    timeout: float | None = None
    """Seconds that one wait may take; None is no limit."""

    def __init__(self, reactor: Reactor | None) -> None:
        """*reactor* is None for an object that never waits."""
        self._reactor = reactor
        self._waiting: list[Deferred[None]] = []
        self._lost: Failure | None = None

    def end(self, reason: Failure) -> None:
        """The connection is lost: what waits now, and every later wait, raises."""
        self._lost = reason
        for waiting in self._take_waiting():
            waiting.errback(self._gone())

    def _gone(self) -> ConnectionResetError:
        """The error for anything that needs the lost connection."""
        why = "" if self._lost is None else self._lost.getErrorMessage()
        return ConnectionResetError(f"the connection is lost: {why}")

    def _wake(self) -> None:
        for waiting in self._take_waiting():
            waiting.callback(None)

    def _take_waiting(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _wait(self) -> Awaitable[None]:
        """Wait for ``_wake``. Raises TimeoutError, or ConnectionResetError at a loss."""
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiting)
        return waiting if self.timeout is None else self._in_time(waiting, self.timeout)

    async def _in_time(self, waiting: Deferred[None], timeout: float) -> None:
        assert self._reactor is not None
        deadline = self._reactor.callLater(timeout, self._expire, waiting)
        try:
            await waiting
        finally:
            if deadline.active():
                deadline.cancel()

    def _forget(self, waiting: Deferred[None]) -> None:
        """Drop a wait that was cancelled or is late, so that ``_wake`` does not end it again."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _expire(self, waiting: Deferred[None]) -> None:
        self._forget(waiting)
        waiting.errback(TimeoutError("timed out"))
