"""One back-off for all listeners: what happens while descriptors or memory are short."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final, Protocol

from twisted.logger import Logger, LogLevel

from netd.accept.errors import EXHAUSTED

PAUSE: Final = 0.1
"""Seconds that a listener is left alone; OpenSSH and Ranch wait as long. Trying again immediately
would only burn a CPU (``socketserver`` fails 300 000 times a second)."""

Say = Callable[[str, str], None]
"""Given a level and a text for the log."""


class Pausable(Protocol):
    """A listener that can be left alone for a while."""

    def pause(self) -> None:
        """Do not wait for it until ``resume``. Raises nothing."""

    def resume(self) -> None:
        """Wait for it again, unless it has been stopped in the meantime. May raise OSError."""


class Pause:
    """Pauses the listeners of one service rather than spin, and logs that once per outage.

    An outage begins with the first listener that fails, and ends when all that failed have
    accepted again. *call_later* calls in so many seconds. Where several threads accept, *lock*
    is a lock and *call_later* is safe from any of them.
    """

    def __init__(
        self,
        say: Say,
        call_later: Callable[[float, Callable[[], None]], object],
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self._say = say
        self._call_later = call_later
        self._lock = nullcontext() if lock is None else lock
        self._failing: set[Pausable] = set()
        self.is_pausing = False
        """Whether there is an outage. A plain attribute, because it is read for each connection."""

    def pause(self, listener: Pausable, error: BaseException) -> None:
        """Leave *listener* alone for PAUSE seconds, because of *error*."""
        with self._lock:
            is_first = not self._failing
            self._failing.add(listener)
            self.is_pausing = True
        # Before the log: there may be no memory for a line.
        listener.pause()
        self._call_later(PAUSE, partial(self._resume, listener))
        if is_first:
            is_exhausted = isinstance(error, OSError) and error.errno in EXHAUSTED
            why = "out of descriptors or memory" if is_exhausted else "cannot accept"
            self._say("error", f"{why}, connections wait in the backlog: {error}")

    def works(self, listener: Pausable) -> None:
        """Accepting from *listener* has not failed; to be called while ``is_pausing``."""
        with self._lock:
            if not self._failing:
                return
            self._failing.discard(listener)
            self.is_pausing = bool(self._failing)
        if not self.is_pausing:
            self._say("info", "accepting again")

    def _resume(self, listener: Pausable) -> None:
        try:
            listener.resume()
        except OSError:  # no memory to watch it: epoll_ctl(2)
            self._call_later(PAUSE, partial(self._resume, listener))


def by_logger(logger: Logger, subject: str) -> Say:
    """Log by Twisted's *logger*, with what the lines are about before them."""

    def say(level: str, text: str) -> None:
        logger.emit(LogLevel.lookupByName(level), "{subject}: {text}", subject=subject, text=text)

    return say
