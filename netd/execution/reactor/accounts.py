"""The active connections of a service that the reactor runs, its counters, and its log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from netd.execution.outcome import Outcome, Outcomes
from netd.execution.recycle import Recycle
from netd.execution.request import Request
from netd.execution.tracebacks import user_traceback
from netd.ipc.scoreboard import WorkerBlock
from netd.log.buffer import LogBuffer
from netd.log.record import Traffic

Record = Callable[[str, Outcome, float, Traffic], None]
"""Counts and logs the outcome of a request: client, outcome, when it was accepted, traffic."""


class Accounts:
    """The scoreboard and the log of one service. In the reactor's thread, which has one lane."""

    def __init__(
        self,
        service: str,
        block: WorkerBlock,
        log_buffer: LogBuffer,
        recycle: Recycle | None = None,
    ) -> None:
        self._service = service
        self._log_buffer = log_buffer
        self.recycle = recycle
        """Counts what the lists admit, where that has a bound."""
        self._block = block
        self.lane = block.lanes[0]
        self._active = 0
        self._empty: Callable[[], None] | None = None

    def begin(self, listener: int, request: Request, since: float) -> int:
        """A connection to this listener is active until ``end``; return its ID."""
        self._active += 1
        _, address, client, peer, *_ = request
        return self._block.begin(0, listener, address, client, peer, since)

    def end(self, number: int) -> None:
        """The connection with this ID has ended, and its outcome was recorded."""
        # In this order: a connection that is no longer listed must be counted.
        self.lane.publish()
        self._block.end(number)
        if self.recycle is not None:
            self.recycle.finished()
        self._active -= 1
        if not self._active and self._empty is not None:
            self._tell_empty()

    def publish(self) -> None:
        """Make visible what was counted without a connection being listed."""
        self.lane.publish()
        if self.recycle is not None:
            self.recycle.finished()

    def when_empty(self, call: Callable[[], None]) -> None:
        """Call once when no connection is active, immediately if none is."""
        self._empty = call
        if not self._active:
            self._tell_empty()

    def _tell_empty(self) -> None:
        call, self._empty = self._empty, None
        if call is not None:
            call()

    def recorder(self, transport: str) -> Record:
        """Return what counts and logs the outcomes of one listener's requests."""
        return partial(Outcomes(self._service, transport, self._log_buffer).record, self.lane)

    def say(self, level: str, text: str) -> None:
        """Log a line."""
        self._log_buffer.say(self._service, level, text)

    def say_raised(self, transport: str, client: str, what: str, error: BaseException) -> None:
        """Log what a user's code has raised, with its traceback."""
        self.say("error", f"{client} {transport}: {what} raised\n{user_traceback(error)}")
