"""Who is inside a service that the reactor runs, and what has become of those who were."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from netd.execution.recycle import Recycle
from netd.execution.tracebacks import user_traceback
from netd.ipc.scoreboard import Slot
from netd.log.buffer import LogBuffer
from netd.log.record import NOTHING, AccessRecord, Traffic


class Accounts:
    """The scoreboard and the log of one service. In the reactor's thread.

    All of *slots* but the last list a client each; the last one counts those beyond them, and
    what is not listed because it takes no time. There is at least one.
    """

    def __init__(
        self,
        service: str,
        slots: Sequence[Slot],
        log_buffer: LogBuffer,
        recycle: Recycle | None = None,
    ) -> None:
        self._service = service
        self._log_buffer = log_buffer
        self.recycle = recycle
        """Counts what the lists admit, where that has a bound."""
        *listed, self.shared = slots
        self._free = list(reversed(listed))
        self._inside = 0
        self._empty: Callable[[], None] | None = None

    def enter(self, client: str, since: float) -> Slot:
        """A client is inside until ``leave``; its slot counts what becomes of it."""
        self._inside += 1
        if not self._free:
            return self.shared
        slot = self._free.pop()
        slot.enter(client, since)
        return slot

    def leave(self, slot: Slot) -> None:
        """The client has gone."""
        slot.leave()
        if slot is not self.shared:
            self._free.append(slot)
        if self.recycle is not None:
            self.recycle.finished()
        self._inside -= 1
        if not self._inside and self._empty is not None:
            self._tell_empty()

    def show(self) -> None:
        """Make visible what the shared slot has counted."""
        self.shared.leave()
        if self.recycle is not None:
            self.recycle.finished()

    def when_empty(self, call: Callable[[], None]) -> None:
        """Call once when nobody is inside, at once if nobody is."""
        self._empty = call
        if not self._inside:
            self._tell_empty()

    def _tell_empty(self) -> None:
        call, self._empty = self._empty, None
        if call is not None:
            call()

    def log(
        self, transport: str, client: str, verdict: str, since: float, carried: Traffic = NOTHING
    ) -> None:
        """Log the end of a request."""
        now = time.monotonic()
        self._log_buffer.add(
            AccessRecord(now, self._service, transport, client, verdict, now - since, carried)
        )

    def say(self, level: str, text: str) -> None:
        """Log a line."""
        self._log_buffer.say(self._service, level, text)

    def say_raised(self, transport: str, client: str, what: str, error: BaseException) -> None:
        """Log what a user's code has raised, with its traceback."""
        self.say("error", f"{client} {transport}: {what} raised\n{user_traceback(error)}")
