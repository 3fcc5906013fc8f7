"""Waiting for a client, in the reactor's thread, by awaiting a Deferred."""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netd.core.reactor import Reactor


class Waits:
    """Those who wait for a client in one direction, at most ``timeout`` seconds at a time.

    All that is done for every client is done here with as few calls as there can be.
    """

    timeout: float | None = None
    """None: for ever."""

    def __init__(self, reactor: Reactor | None) -> None:
        """*reactor* may be None for what never waits."""
        self._reactor = reactor
        self._waiting: list[Deferred[None]] = []
        self._lost: Failure | None = None

    def end(self, reason: Failure) -> None:
        """The client has gone: fail whoever waits, now and from now on."""
        self._lost = reason
        for waiting in self._take_waiting():
            waiting.errback(self._gone())

    def _gone(self) -> ConnectionResetError:
        """What those get who want something from a client that has gone."""
        why = "" if self._lost is None else self._lost.getErrorMessage()
        return ConnectionResetError(f"the connection is lost: {why}")

    def _wake(self) -> None:
        for waiting in self._take_waiting():
            waiting.callback(None)

    def _take_waiting(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _wait(self) -> Awaitable[None]:
        """Wait for ``_wake``. Raises TimeoutError, or ConnectionResetError if the client goes."""
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
        """Whoever waited has been cancelled."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _expire(self, waiting: Deferred[None]) -> None:
        self._forget(waiting)
        waiting.errback(TimeoutError("timed out"))
