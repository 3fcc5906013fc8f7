"""Lines of the log as fields, for the logs that take fields: journald, syslog, twistd's own."""

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
"""The levels with their numbers in syslog(3) and journald."""

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
"""Further keys of a line about a request. Others are dropped: a worker may send any."""

# Made once: with these arguments json.loads makes one for each line, which costs more than reading
# the line. Numbers stay texts, exactly as written, so none is too long for Python's int().
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)


@dataclass(frozen=True)
class Entry:
    """The fields of one line, with control characters escaped."""

    level: str
    message: str
    service: str | None = None
    """None for netd itself."""
    time: str | None = None
    """As written in the line; None if that has none."""
    request: Mapping[str, str] = field(default_factory=dict)
    """The further keys of a request's line, as written there. A key that is null is absent."""

    @property
    def when(self) -> float | None:
        """The time in seconds of the wall clock; None if the text is no time."""
        try:
            return datetime.fromisoformat(self.time or "").timestamp()
        except (ValueError, OverflowError):
            return None


def entry_of(line: str) -> Entry:
    """Read a line of ``JsonLines``. A line of another form becomes a message, whole.

    Raises nothing: lines come from workers, where user code runs.
    """
    try:
        values = _DECODER.decode(line)
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
    """Convert lines to *form*: those that workers sent before they heard of a new form.

    A line of text becomes a message of the time *now* (seconds of the wall clock), whole.
    """
    # Workers escape vertical tabs, so one can stand here for each newline inside a record.
    lines = text.replace("\n\t", "\v").split("\n")
    entries = [entry_of(line.replace("\v", "\n")) for line in lines if line]
    return "".join(
        form.said(entry.when or now, entry.service, entry.level, entry.message) for entry in entries
    )


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: escape_controls(value) for key, value in values.items() if isinstance(value, str)}
