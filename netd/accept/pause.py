"""Listeners that cannot be taken from for a while, such as when no descriptors are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from netd.accept.errors import EXHAUSTED, PAUSE
from netd.core.reactor import Reactor


class Reading(Protocol):
    """A listener that the reactor watches."""

    def stopReading(self) -> None:
        """Do not watch it."""

    def startReading(self) -> None:
        """Watch it, unless it has been stopped for good."""


class Pause:
    """Leaves the listeners of one service alone instead of spinning; says so once.

    They rest for PAUSE seconds at a time, and the log says when all of them work again. In the
    reactor's thread.
    """

    def __init__(self, reactor: Reactor, say: Callable[[str, str], None]) -> None:
        self._reactor = reactor
        self._say = say
        self._failing: set[Reading] = set()

    def rest(self, listener: Reading, error: BaseException) -> None:
        """Nothing can be taken from *listener*, because of *error*."""
        if not self._failing:
            exhausted = isinstance(error, OSError) and error.errno in EXHAUSTED
            why = "out of descriptors or memory" if exhausted else "cannot take clients"
            self._say("error", f"{why}, they wait in the backlog: {error}")
        self._failing.add(listener)
        listener.stopReading()
        self._reactor.callLater(PAUSE, self._resume, listener)

    def _resume(self, listener: Reading) -> None:
        try:
            listener.startReading()
        except OSError:  # there is no memory to watch it either (epoll_ctl(2))
            self._reactor.callLater(PAUSE, self._resume, listener)

    def works(self, listener: Reading) -> None:
        """*listener* has been taken from, perhaps again."""
        if self._failing:
            self._failing.discard(listener)
            if not self._failing:
                self._say("info", "taking clients again")
