"""Records of the log as lines: text for people, or JSON for programs.

A worker writes so what happens in it, and the daemon what it has to say itself.
"""

from __future__ import annotations

import time

# The function by which json.dumps writes a string; by way of json.dumps it takes four times as
# long, and a line has six strings.
from json.encoder import encode_basestring_ascii as _string
from typing import Final, Protocol

from netd.log.record import AccessRecord
from netd.model.log import Form

_ESCAPES: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (
        *range(9), *range(11, 32), *range(127, 160),
        0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),
    )
}  # fmt: skip
"""Control characters but tab and newline, which a client could steer a terminal with, and those
that turn the direction of what is read. None of them is printable."""


def escape_controls(text: str) -> str:
    """*text* with its control characters escaped; tabs and newlines stay."""
    # Translating raises and catches an error for each letter that stays: 2 µs for a short text.
    return text if text.isprintable() else text.translate(_ESCAPES)


class LineForm(Protocol):
    """Writes records, complete with newline. Times are of the wall clock. Safe from any thread."""

    def said(self, when: float, service: str | None, level: str, text: str) -> str:
        """Somebody said *text*; where *service* is None, netd itself."""

    def served(self, when: float, record: AccessRecord) -> str:
        """Write what became of a request, which ended at *when*."""


class TextLines:
    """Lines for people: further lines of a text are indented, control characters are escaped."""

    def __init__(self) -> None:
        self._known = (-1, "")

    def said(self, when: float, service: str | None, level: str, text: str) -> str:
        """See ``LineForm``."""
        text = escape_controls(text).replace("\n", "\n\t")
        return f"{self._time(when)} [{service or 'netd'}#{level}] {text}\n"

    def served(self, when: float, record: AccessRecord) -> str:
        """See ``LineForm``."""
        return f"{self._time(when)} [{record[1]}#info] {_outcome(record)}\n"

    def _time(self, when: float) -> str:
        """ISO 8601 with the zone, as twisted.logger's formatTime has it, once a second."""
        second = int(when)
        known, stamp = self._known
        if second != known:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
            self._known = second, stamp
        return stamp


class JsonLines:
    """Lines for programs: an object each, in ASCII, with the same four keys first.

    ``time`` (RFC 3339, milliseconds), ``level``, ``service`` (null for netd itself), ``message``;
    for requests also ``client``, ``transport``, ``verdict``, ``reason``, ``seconds``, ``bytes_in``,
    ``bytes_out`` and ``round_trip`` (seconds), null where there is none or nobody knows.
    """

    def __init__(self) -> None:
        self._known = (-1, "", "")

    def said(self, when: float, service: str | None, level: str, text: str) -> str:
        """See ``LineForm``."""
        return (
            f'{{"time":"{self._time(when)}","level":"{level}",'
            f'"service":{"null" if service is None else _string(service)},'
            f'"message":{_string(text)}}}\n'
        )

    def served(self, when: float, record: AccessRecord) -> str:
        """See ``LineForm``."""
        _, service, transport, client, verdict, seconds, (received, sent, round_trip) = record
        message = _outcome(record)
        what, _, reason = verdict.partition(": ")
        return (
            f'{{"time":"{self._time(when)}","level":"info","service":{_string(service)},'
            f'"message":{_string(message)},"client":{_string(client)},'
            f'"transport":{_string(transport)},"verdict":{_string(what)},'
            f'"reason":{_string(reason) if reason else "null"},"seconds":{seconds:.6f},'
            f'"bytes_in":{"null" if received is None else received},'
            f'"bytes_out":{"null" if sent is None else sent},'
            f'"round_trip":{"null" if round_trip is None else f"{round_trip:.6f}"}}}\n'
        )

    def _time(self, when: float) -> str:
        """RFC 3339 with the zone, but for the milliseconds worked out once a second."""
        second = int(when)
        known, stamp, zone = self._known
        if second != known:
            local = time.localtime(second)
            stamp, zone = time.strftime("%Y-%m-%dT%H:%M:%S", local), time.strftime("%z", local)
            zone = f"{zone[:3]}:{zone[3:]}"
            self._known = second, stamp, zone
        return f"{stamp}.{int(when % 1 * 1000):03}{zone}"


def _outcome(record: AccessRecord) -> str:
    # Unpacked at once: attributes of a named tuple would cost a lookup each.
    _, _, transport, client, verdict, seconds, (received, sent, round_trip) = record
    measured = "" if round_trip is None else f" rtt={round_trip * 1000:.2f}ms"
    return (
        f"{client} {transport} {verdict} {seconds * 1000:.1f}ms"
        f" in={'-' if received is None else received} out={'-' if sent is None else sent}{measured}"
    )


def line_form(form: Form) -> LineForm:
    """Make the writer of lines in *form*."""
    return JsonLines() if form == "json" else TextLines()
