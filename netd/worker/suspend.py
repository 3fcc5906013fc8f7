"""``shutdown()`` of a server object: handlers that wait until their service takes nothing more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 10.0
"""Seconds that a handler waits for the other processes of its service, at most: one that cannot
obey is about to be replaced, and its successor starts suspended."""


class Suspensions:
    """Those who wait, by service. Safe from any thread.

    *ask* tells the daemon that somebody wants a service suspended.
    """

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._waiting: dict[str, threading.Event] = {}
        self._is_over = False
        """Whether nobody answers any more."""
        self._reactor_thread = threading.get_ident()

    def ask(self, service: str) -> None:
        """Have a service suspended, and return when it is, in all its processes.

        In the reactor's thread, by which the answer would come, return at once.
        """
        with self._lock:
            if self._is_over:
                return
            asked = self._waiting.setdefault(service, threading.Event())
        self._ask(service)
        if threading.get_ident() != self._reactor_thread:
            asked.wait(PATIENCE)

    def done(self, service: str) -> None:
        """Nobody takes anything for *service* any more, or it has been resumed before that."""
        with self._lock:
            asked = self._waiting.pop(service, None)
        if asked is not None:
            asked.set()

    def all_done(self) -> None:
        """There is nobody left to answer, whoever asks."""
        with self._lock:
            self._is_over = True
            waiting = list(self._waiting)
        for service in waiting:
            self.done(service)
