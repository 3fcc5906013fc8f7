"""Records of the log before they are lines: what became of a request, and what was said."""

from __future__ import annotations

from typing import Final, NamedTuple


class Traffic(NamedTuple):
    """Bytes received and sent; None where nobody can tell."""

    received: int | None
    sent: int | None
    round_trip: float | None = None
    """Seconds to the client and back, as TCP has measured them, smoothed."""


NOTHING: Final = Traffic(0, 0)


UNKNOWN: Final = Traffic(None, None)


class AccessRecord(NamedTuple):
    """A request came to its end."""

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
    """Somebody said something: the worker itself, or a handler by print or ``logging``."""

    ended: float
    service: str
    level: str
    """A level's name in twisted.logger: debug, info, warn, error, critical."""
    text: str
