"""Records as messages to a local syslog, in the format of syslog(3), which is that of RFC 3164."""

from __future__ import annotations

import os
import syslog
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from netd.log.entry import SEVERITIES, Entry

SOCKET: Final = "/dev/log"
"""The local syslog's socket (syslog(3))."""

LONGEST: Final = 8000
"""Bytes of a message. rsyslog cuts what exceeds 8 KiB, its default."""

_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
"""In English, which strftime(3) would translate to the locale."""

_CUT: Final = " …".encode()
"""The end of a message that was cut."""


class SyslogMessages:
    """Makes messages under the pid that *pid* returns: a number would be wrong after the fork of
    twistd."""

    def __init__(self, pid: Callable[[], int] = os.getpid) -> None:
        self._pid = pid

    def __call__(self, entry: Entry) -> list[bytes]:
        """Return a message for each line of the text.

        Further lines are indented, so that user code cannot make one look like a record.
        """
        priority = syslog.LOG_DAEMON | SEVERITIES[entry.level]
        service = "" if entry.service is None else f"{entry.service}: "
        head = f"<{priority}>{_stamp(entry.time)}netd[{self._pid()}]: {service}"
        return [_cut(head + line) for line in _lines(entry.message)]


def _lines(message: str) -> Iterator[str]:
    first, *further = message.split("\n")
    yield first
    for line in further:
        yield f"  {line}"


def _stamp(time: str | None) -> str:
    """The local time in the format of RFC 3164; empty if unknown, and syslog then takes its own."""
    try:
        when = datetime.fromisoformat(time or "").astimezone()
    except (ValueError, OverflowError):
        return ""
    return f"{_MONTHS[when.month - 1]} {when.day:2} {when:%H:%M:%S} "


def _cut(message: str) -> bytes:
    data = message.encode(errors="backslashreplace")
    # In bytes, as syslog counts; "ignore" drops a letter that the cut has halved.
    if len(data) <= LONGEST:
        return data
    return data[: LONGEST - len(_CUT)].decode(errors="ignore").encode() + _CUT
