"""``shutdown()`` of a server object: handlers wait until their service has stopped accepting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 10.0
"""Seconds that a handler waits for the other processes of its service, at most. A process that does
not answer is about to be replaced, and its successor starts suspended."""


class Suspensions:
    """The handlers that wait for a suspension, by service. Safe from any thread.

    *ask_daemon* requests the suspension of a service. Construct this in the reactor's thread.
    """

    def __init__(self, ask_daemon: Callable[[str], None]) -> None:
        self._ask_daemon = ask_daemon
        self._lock = threading.Lock()
        self._waiting: dict[str, threading.Event] = {}
        self._is_abandoned = False
        """Whether the daemon, which would answer, has gone."""
        self._reactor_thread = threading.get_ident()

    def request(self, service: str) -> None:
        """Suspend *service*. Returns once all its processes have stopped accepting.

        In the reactor's thread it returns immediately: the answer arrives by that thread.
        """
        with self._lock:
            if self._is_abandoned:
                return
            suspended = self._waiting.setdefault(service, threading.Event())
        # Every caller asks, even if another one waits already: suspending twice changes nothing,
        # and the daemon answers each request.
        self._ask_daemon(service)
        if threading.get_ident() != self._reactor_thread:
            suspended.wait(PATIENCE)

    def complete(self, service: str) -> None:
        """*service* is suspended, or was resumed before that: its handlers go on."""
        with self._lock:
            suspended = self._waiting.pop(service, None)
        if suspended is not None:
            suspended.set()

    def abandon(self) -> None:
        """The daemon has gone: all handlers go on, and later requests return immediately."""
        with self._lock:
            self._is_abandoned = True
            waiting = list(self._waiting)
        for service in waiting:
            self.complete(service)
