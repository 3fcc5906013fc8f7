"""How long to wait before a worker that died is replaced."""

from __future__ import annotations

from typing import Final

FIRST_DELAY: Final = 0.1
"""Seconds before the second replacement in a row; the first one is immediate."""

LONGEST_DELAY: Final = 10.0
"""Seconds. A worker that dies at every start costs little, and a repaired one is back soon."""

STABLE: Final = 10.0
"""Seconds of serving after which a death counts as the first one."""


class Backoff:
    """Counts deaths in a row; each doubles the delay before the next start.

    A worker that has served a request could start, so its death was caused by a client. Then there
    is no delay: the next client must not wait for it. (Under ForkingMixIn a handler's process ends
    with every client.)
    """

    def __init__(self) -> None:
        self._next = 0.0

    def died(self, served: float, requests: int = 0) -> float:
        """Return the delay in seconds after the death of a worker.

        It had been ready for *served* seconds, and had served so many *requests*.
        """
        if requests:
            self._next = 0.0
            return 0.0
        # The first death after a stable time is replaced immediately; only a row of them waits.
        delay = 0.0 if served >= STABLE else self._next
        self._next = min(2 * delay, LONGEST_DELAY) or FIRST_DELAY
        return delay
