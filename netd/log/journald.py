"""Records in the native protocol of systemd's journal.

systemd documents the protocol in ``JOURNAL_NATIVE_PROTOCOL.md``, and the names of the fields in
systemd.journal-fields(7).
"""

from __future__ import annotations

import syslog
from typing import Final

from netd.log.entry import SEVERITIES, Entry

SOCKET: Final = "/run/systemd/journal/socket"
"""The journal's socket."""

_LENGTH: Final = 8
"""Bytes of a value's length, little-endian."""

_FACILITY: Final = syslog.LOG_DAEMON >> 3
"""The facility's number: syslog(3) has it above the three bits of the severity."""


def datagrams(entry: Entry) -> list[bytes]:
    """Return one datagram: the journal's own fields, and ``NETD_…`` for those of netd.

    Names are netd's, never a worker's, so user code cannot set a field of the journal.
    """
    own = {"time": entry.time, "service": entry.service, **entry.request}
    fields = {
        "MESSAGE": entry.message,
        "PRIORITY": str(SEVERITIES[entry.level]),
        "SYSLOG_IDENTIFIER": "netd",
        "SYSLOG_FACILITY": str(_FACILITY),
        **{f"NETD_{name.upper()}": value for name, value in own.items() if value is not None},
    }
    return [b"".join(_field(name, value) for name, value in fields.items())]


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="backslashreplace")
    # A newline ends a plain field, so a value that has one is preceded by its length.
    if b"\n" not in data:
        return b"%b=%b\n" % (name.encode(), data)
    return b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(_LENGTH, "little"), data)
