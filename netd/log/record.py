"""Records of the log before they become lines: a request's outcome, or a text."""

from __future__ import annotations

from typing import Final, NamedTuple


class Traffic(NamedTuple):
    """Bytes received and sent; None where netd cannot know them."""

    received: int | None
    sent: int | None
    round_trip: float | None = None
    """Seconds to the client and back: TCP's smoothed measurement."""


NOTHING: Final = Traffic(0, 0)


UNKNOWN: Final = Traffic(None, None)


class AccessRecord(NamedTuple):
    """A request has ended."""

    ended: float
    """Seconds of the monotonic clock, as are all times of records."""
    service: str
    transport: str
    client: str
    verdict: str
    """``served``, ``failed``, ``refused: REASON`` or ``would be refused: REASON``."""
    seconds: float
    traffic: Traffic


class LogRecord(NamedTuple):
    """A text: the worker's own, or what user code printed or passed to ``logging``."""

    ended: float
    service: str
    level: str
    """A level's name in twisted.logger: debug, info, warn, error, critical."""
    text: str
