"""When a worker process has done enough: so many requests, or so much memory."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

EARLY: Final = 0.1
"""Share of the last requests that are left when a successor is asked for, so that it is ready by
then; and the share by which workers differ, so that not all of a pool are replaced at a time."""

LOOK_INTERVAL: Final = 0.1
"""Seconds between two looks at the memory: each costs as much as half a connection."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Recycle:
    """Counts the requests of one service in its process. Safe from any thread.

    *worn* is told once, and why, when it is time for a successor. *max_requests* of 0 and
    *max_memory* (bytes) of None are no bound.
    """

    def __init__(
        self,
        max_requests: int,
        max_memory: int | None,
        worn: Callable[[str], None],
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[], int] | None = None,
    ) -> None:
        self._last = max_requests - int(max_requests * EARLY * chance())
        self._asks_at = max(1, self._last - int(max_requests * EARLY))
        self._max_memory = max_memory
        self._worn = worn
        self._told = threading.Lock()
        self._clock = clock
        self._memory = memory or resident_memory
        self._looked = clock()
        self._counter = count(1)

    def took(self) -> bool:
        """A request was admitted by the lists. Whether it was the last one that this process may
        take. A client whose handshake fails, or that the lists refuse, is no request: no user code
        sees it."""
        request = next(self._counter)
        if not self._last:
            return False
        if request >= self._asks_at:
            self._tell(f"has taken {request} request{'s' if request > 1 else ''}")
        return request >= self._last

    def finished(self) -> None:
        """A request has come to its end: look at the memory, if it is time."""
        if self._max_memory is None:
            return
        now = self._clock()
        if now - self._looked < LOOK_INTERVAL:
            return
        self._looked = now
        resident = self._memory()
        if resident > self._max_memory:
            self._tell(f"uses {resident >> 10} KiB of memory")

    def _tell(self, why: str) -> None:
        # The first thread keeps the lock, so only one thread tells.
        if self._told.acquire(blocking=False):
            self._worn(why)


def resident_memory() -> int:
    """Bytes of memory that this process has in use (``statm`` of proc(5))."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
