"""What became of a request: one value for every execution, counted once and logged once."""

from __future__ import annotations

import time
from enum import Enum, auto
from typing import Final, NamedTuple

from netd.accept.refusal import Refusal
from netd.ipc.scoreboard import Lane
from netd.log.buffer import LogBuffer
from netd.log.record import NOTHING, AccessRecord, Traffic

TRUNCATED: Final = "truncated"
"""The reason in the log for a TLS stream that ended without ``close_notify``."""


class Verdict(Enum):
    """What became of a request, as far as it is counted."""

    SERVED = auto()
    FAILED = auto()
    """Its handler raised, or its program ended with another status than 0."""
    UNSERVED = auto()
    """``process_request`` raised, before a handler ran."""
    KEPT = auto()
    """``process_request`` has passed it on to nothing: the server serves it by its own means."""
    REFUSED = auto()
    WOULD_BE_REFUSED = auto()
    """The request goes on, and ends with another outcome."""
    DROPPED = auto()
    """A datagram was too long."""


class Outcome(NamedTuple):
    """What became of a request. Frozen; most requests share SERVED."""

    verdict: Verdict
    text: str
    """The words of the log; a reason follows a colon."""
    is_truncated: bool = False

    def truncated(self) -> Outcome:
        """Return the same outcome of a request whose TLS stream was cut off."""
        return Outcome(self.verdict, f"{self.text}: {TRUNCATED}", True)

    def add_to(self, lane: Lane) -> None:
        """Raise the counters; ``publish`` of the lane makes them visible."""
        verdict = self.verdict
        if verdict is Verdict.WOULD_BE_REFUSED:
            lane.refused += 1
            return
        lane.accepted += 1
        if verdict is Verdict.SERVED:
            lane.served += 1
        elif verdict is Verdict.FAILED:
            lane.served += 1
            lane.failed += 1
        elif verdict is Verdict.REFUSED:
            lane.refused += 1
        elif verdict is Verdict.UNSERVED:
            lane.failed += 1
        elif verdict is Verdict.DROPPED:
            lane.dropped += 1
        if self.is_truncated:
            lane.truncated += 1


SERVED: Final = Outcome(Verdict.SERVED, "served")
FAILED: Final = Outcome(Verdict.FAILED, "failed")
LOST: Final = Outcome(Verdict.SERVED, "lost")
"""The client has closed the connection before its handler returned."""
UNSERVED: Final = Outcome(Verdict.UNSERVED, "failed")
KEPT: Final = Outcome(Verdict.KEPT, "kept by process_request")
DROPPED: Final = Outcome(Verdict.DROPPED, "dropped")


def refused(refusal: Refusal | str) -> Outcome:
    """Return the outcome of a request that was refused; a text is a reason word."""
    return Outcome(Verdict.REFUSED, f"refused: {refusal}")


def would_be_refused(reason: str) -> Outcome:
    """Return the outcome of the rules in a dry run."""
    return Outcome(Verdict.WOULD_BE_REFUSED, f"would be refused: {reason}")


class Outcomes:
    """Counts and logs what became of the requests of one listener. Any thread."""

    def __init__(self, service: str, transport: str, log_buffer: LogBuffer) -> None:
        self._service = service
        self._transport = transport
        self._add = log_buffer.add

    def record(
        self, lane: Lane, client: str, outcome: Outcome, since: float, carried: Traffic = NOTHING
    ) -> None:
        """Count and log it. *since* is when the request was accepted (CLOCK_MONOTONIC)."""
        # Counted first: there may be no memory for the log.
        if outcome is SERVED:  # most are, and a call would cost each of them something
            lane.accepted += 1
            lane.served += 1
        else:
            outcome.add_to(lane)
        now = time.monotonic()
        text, seconds = outcome[1], now - since
        self._add(AccessRecord(now, self._service, self._transport, client, text, seconds, carried))
