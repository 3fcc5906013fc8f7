"""Lines of the log: text for people, or JSON for programs.

A worker makes the lines of its own records, and the daemon those of its own events.
"""

from __future__ import annotations

import time

# json.dumps writes strings by this function. Called through json.dumps it takes four times as long,
# and a line has six strings.
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
"""Control characters except tab and newline, by which a client could steer a terminal, and those
that change the direction of a text. None of them is printable, which the fast path below needs."""


def escape_controls(text: str) -> str:
    """Return *text* with its control characters escaped. Tabs and newlines stay."""
    # translate() raises and catches an error for each letter that stays: 2 µs for a short text.
    return text if text.isprintable() else text.translate(_ESCAPES)


class LineForm(Protocol):
    """Makes lines, each with its newline. Times are of the wall clock. Safe from any thread."""

    def said(self, when: float, service: str | None, level: str, text: str) -> str:
        """The line of a text; *service* is None for netd's own."""

    def served(self, when: float, record: AccessRecord) -> str:
        """The line of a request that ended at *when*."""


class TextLines:
    """Lines for people. Further lines of a text are indented; control characters are escaped."""

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
        """ISO 8601 with the zone, in the format of twisted.logger; computed once a second."""
        second = int(when)
        known, stamp = self._known
        if second != known:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
            self._known = second, stamp
        return stamp


class JsonLines:
    """Lines for programs: one object each, in ASCII, with the same four keys first.

    ``time`` (RFC 3339, milliseconds), ``level``, ``service`` (null for netd itself), ``message``;
    for requests also ``client``, ``transport``, ``verdict``, ``reason``, ``seconds``, ``bytes_in``,
    ``bytes_out`` and ``round_trip`` (seconds); null if there is none or it is unknown.
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
        """RFC 3339 with the zone; all but the milliseconds is computed once a second."""
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
    """Return what makes lines in *form*."""
    return JsonLines() if form == "json" else TextLines()
