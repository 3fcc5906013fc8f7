"""How long to wait before a worker that died is replaced."""

from __future__ import annotations

from typing import Final

FIRST_DELAY: Final = 0.1
"""Seconds before the second replacement in a row; the first comes at once."""

LONGEST_DELAY: Final = 10.0
"""Seconds: a worker that dies at every start costs little; one that is repaired is back soon."""

STABLE: Final = 10.0
"""Seconds of serving after which a death is the first one again."""


class Backoff:
    """Remembers deaths in a row; each doubles the delay before the next start.

    A worker that has served somebody was fit to serve, and died of a client: that is no reason to
    let the next one wait. (Under ForkingMixIn a handler's process dies with every client.)
    """

    def __init__(self) -> None:
        self._next = 0.0

    def died(self, served: float, requests: int = 0) -> float:
        """Return the delay in seconds after a death.

        The worker had served for *served* seconds, and as many *requests*.
        """
        if requests:
            self._next = 0.0
            return 0.0
        delay = 0.0 if served >= STABLE else self._next
        self._next = min(2 * delay, LONGEST_DELAY) or FIRST_DELAY
        return delay
