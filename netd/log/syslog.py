"""Records as a local syslog takes them: the way of syslog(3), which is that of RFC 3164."""

from __future__ import annotations

import os
import syslog
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from netd.log.entry import SEVERITIES, Entry

SOCKET: Final = "/dev/log"
"""Where the local syslog listens (syslog(3))."""

LONGEST: Final = 8000
"""Bytes of a message: rsyslog takes 8 KiB unless it is told otherwise, and cuts the rest."""

_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
"""In English, whatever the locale."""

_CUT: Final = " …".encode()


class SyslogMessages:
    """Makes messages of the process that *pid* returns the number of: twistd may yet fork."""

    def __init__(self, pid: Callable[[], int] = os.getpid) -> None:
        self._pid = pid

    def __call__(self, entry: Entry) -> list[bytes]:
        """A message for each line of the text; further ones are indented, so that none of them
        passes for a record."""
        priority = syslog.LOG_DAEMON | SEVERITIES[entry.level]
        who = "" if entry.service is None else f"{entry.service}: "
        head = f"<{priority}>{_stamp(entry.time)}netd[{self._pid()}]: {who}"
        return [_cut(head + line) for line in _lines(entry.message)]


def _lines(message: str) -> Iterator[str]:
    first, *further = message.split("\n")
    yield first
    for line in further:
        yield f"  {line}"


def _stamp(time: str | None) -> str:
    """The local time as RFC 3164 has it; nothing where none is known, and syslog's own counts."""
    try:
        when = datetime.fromisoformat(time or "").astimezone()
    except (ValueError, OverflowError):
        return ""
    return f"{_MONTHS[when.month - 1]} {when.day:2} {when:%H:%M:%S} "


def _cut(message: str) -> bytes:
    data = message.encode(errors="backslashreplace")
    if len(data) <= LONGEST:
        return data
    return data[: LONGEST - len(_CUT)].decode(errors="ignore").encode() + _CUT
