"""Lines of the log taken apart again, for logs that take fields: journald, syslog, twistd's own."""

from __future__ import annotations

import json
import syslog
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from netd.log.format import LineForm, escape_controls

SEVERITIES: Final = {
    "debug": syslog.LOG_DEBUG,
    "info": syslog.LOG_INFO,
    "warn": syslog.LOG_WARNING,
    "error": syslog.LOG_ERR,
    "critical": syslog.LOG_CRIT,
}
"""The levels as syslog(3) and journald number them."""

_REQUEST: Final = (
    "client",
    "transport",
    "verdict",
    "reason",
    "seconds",
    "bytes_in",
    "bytes_out",
    "round_trip",
)
"""What a line about a request has beside what all lines have."""


@dataclass(frozen=True)
class Entry:
    """A line of the log, taken apart, with control characters escaped."""

    level: str
    message: str
    service: str | None = None
    """None for netd itself."""
    time: str | None = None
    """As in the line; None where that said none."""
    request: Mapping[str, str] = field(default_factory=dict)
    """Of a request, what is known of it, by the keys and as in the line."""

    @property
    def when(self) -> float | None:
        """The time in seconds, if it is one."""
        try:
            return datetime.fromisoformat(self.time or "").timestamp()
        except (ValueError, OverflowError):
            return None


def entry_of(line: str) -> Entry:
    """Take a line apart that ``JsonLines`` has written. One of another form is all message.

    Lines come from workers, where a user's code runs.
    """
    try:
        # Numbers stay as they are written, and so does their length.
        values = json.loads(line, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("message"), str):
        return Entry("info", escape_controls(line))
    texts = _texts(values)
    level = texts.get("level")
    return Entry(
        level if level in SEVERITIES else "info",
        texts["message"],
        texts.get("service"),
        texts.get("time"),
        {key: texts[key] for key in _REQUEST if key in texts},
    )


def rewritten(text: str, form: LineForm, now: float) -> str:
    """Lines of one form in another: those that are on their way while the form is changed.

    Lines of text, whose parts mean nothing any more, become messages of *now*.
    """
    # A worker escapes vertical tabs, so that here they can stand for newlines inside a record.
    lines = text.replace("\n\t", "\v").split("\n")
    entries = [entry_of(line.replace("\v", "\n")) for line in lines if line]
    return "".join(
        form.said(entry.when or now, entry.service, entry.level, entry.message) for entry in entries
    )


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: escape_controls(value) for key, value in values.items() if isinstance(value, str)}
