"""What a server class wants to do between requests: ``service_actions()``, ``handle_timeout()``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from socketserver import BaseServer
from typing import Final

ACTIONS_INTERVAL: Final = 0.5
"""Seconds between two calls of ``service_actions``: ``poll_interval`` of ``serve_forever()``."""


class Ticks:
    """Calls the overrides of one server object by a thread of its own, while nobody else does.

    *actions* calls ``service_actions`` under the server's lock, *timed_out* ``handle_timeout``;
    None where there is no override. Both raise nothing. *last_request* says when a request was
    taken last, in seconds of the monotonic clock.
    """

    def __init__(
        self,
        server: BaseServer,
        actions: Callable[[], None] | None,
        timed_out: Callable[[], None] | None,
        last_request: Callable[[], float],
        thread_factory: Callable[..., threading.Thread],
    ) -> None:
        self._server = server
        self._actions = actions
        self._timed_out = timed_out
        self._last_request = last_request
        self._ended = threading.Event()
        self._thread = thread_factory(target=self._run, name="netd ticks")

    def start(self) -> None:
        """Begin to call."""
        self._thread.start()

    def stop(self) -> None:
        """Call no more; one that is under way goes on."""
        self._ended.set()

    def _run(self) -> None:
        since = time.monotonic()
        while True:
            now = time.monotonic()
            since, wait = self._next(max(since, self._last_request()), now)
            if self._ended.wait(wait):
                return
            if self._actions is not None:
                self._actions()

    def _next(self, since: float, now: float) -> tuple[float, float]:
        """Call ``handle_timeout`` if it is due; since when nothing came, and how long to wait."""
        timeout = self._server.timeout if self._timed_out is not None else None
        if timeout is None or self._timed_out is None:
            return since, ACTIONS_INTERVAL
        if now - since >= timeout:
            self._timed_out()
            since = time.monotonic()
        left = max(0.001, since + timeout - time.monotonic())
        return since, left if self._actions is None else min(left, ACTIONS_INTERVAL)
