"""Records as systemd's journal takes them.

Its native protocol is documented with systemd (``JOURNAL_NATIVE_PROTOCOL.md``), the names of the
fields in systemd.journal-fields(7).
"""

from __future__ import annotations

import syslog
from typing import Final

from netd.log.entry import SEVERITIES, Entry

SOCKET: Final = "/run/systemd/journal/socket"
"""Where the journal listens."""

_LENGTH: Final = 8
"""Bytes of a value's length, little-endian."""

_FACILITY: Final = syslog.LOG_DAEMON >> 3


def datagrams(entry: Entry) -> list[bytes]:
    """One datagram: the journal's own fields, and ``NETD_…`` for what only netd knows."""
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
    if b"\n" not in data:
        return b"%b=%b\n" % (name.encode(), data)
    return b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(_LENGTH, "little"), data)
