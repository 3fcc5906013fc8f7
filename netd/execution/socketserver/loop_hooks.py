"""What a server class wants to do between requests: ``service_actions()``, ``handle_timeout()``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from socketserver import BaseServer
from time import monotonic
from typing import Final

from netd.core.reactor import DelayedCall, Reactor

ACTIONS_INTERVAL: Final = 0.5
"""Seconds between two calls of ``service_actions``: ``poll_interval`` of ``serve_forever()``."""

_SOON: Final = 0.001
"""Seconds between two calls of ``handle_timeout``, at least, however short a ``timeout`` is."""


class LoopHooks:
    """Calls the overrides of one server object, one at a time.

    *actions* calls ``service_actions`` under the server's lock, *timed_out* ``handle_timeout``;
    None where there is no override. Both raise nothing. *last_request* returns when the last
    request was accepted; it and *clock* are in seconds of the monotonic clock.
    """

    def __init__(
        self,
        server: BaseServer,
        actions: Callable[[], None] | None,
        timed_out: Callable[[], None] | None,
        last_request: Callable[[], float],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._server = server
        self._actions = actions
        self._timed_out = timed_out
        self._last_request = last_request
        self._clock = clock
        self._since = clock()
        """When the last request or time-out was."""

    def start(self) -> None:
        """Start to call the overrides."""
        raise NotImplementedError

    def stop(self) -> None:
        """Make no more calls; a call that is running goes on."""
        raise NotImplementedError

    def time_out(self) -> float:
        """Call ``handle_timeout`` if it is due; return how long to wait before ``act``."""
        timeout = self._server.timeout if self._timed_out is not None else None
        if timeout is None or self._timed_out is None:
            return ACTIONS_INTERVAL
        self._since = max(self._since, self._last_request())
        if self._clock() - self._since >= timeout:
            self._timed_out()
            self._since = self._clock()
        left = max(_SOON, self._since + timeout - self._clock())
        return left if self._actions is None else min(left, ACTIONS_INTERVAL)

    def act(self) -> None:
        """Call ``service_actions``, if there is an override."""
        if self._actions is not None:
            self._actions()


class ThreadLoopHooks(LoopHooks):
    """The same by a thread of its own, since what it calls may wait."""

    def __init__(
        self,
        server: BaseServer,
        actions: Callable[[], None] | None,
        timed_out: Callable[[], None] | None,
        last_request: Callable[[], float],
        thread_factory: Callable[..., threading.Thread],
    ) -> None:
        super().__init__(server, actions, timed_out, last_request)
        self._ended = threading.Event()
        self._thread = thread_factory(target=self._run, name="netd ticks")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self.time_out()):
            self.act()


class ReactorLoopHooks(LoopHooks):
    """The same in the reactor's thread, where the process must have no other.

    What waits there holds up the taking of requests, as it does in ``serve_forever()``.
    """

    def __init__(
        self,
        server: BaseServer,
        actions: Callable[[], None] | None,
        timed_out: Callable[[], None] | None,
        last_request: Callable[[], float],
        reactor: Reactor,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(server, actions, timed_out, last_request, clock)
        self._reactor = reactor
        self._call: DelayedCall | None = None

    def start(self) -> None:
        self._call = self._reactor.callLater(self.time_out(), self._tick)

    def stop(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _tick(self) -> None:
        self.act()
        self.start()
