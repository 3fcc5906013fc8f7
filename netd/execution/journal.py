"""What happened, as lines of text, queued by many threads and taken in batches by one.

One logging call a connection would cost more than the connection. A thread appends a small
record; a tenth of a second later all records become lines at once. The queue is bounded: when
nobody takes from it, records are dropped and counted, and no thread ever waits for a log.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from netd.execution.traffic import Traffic

CAPACITY: Final = 20_000
"""Records kept while the log is slow: about a second at the highest rate measured, 4 MiB."""

MOST_TEXT: Final = 8 << 20
"""Characters of what has been said that are kept while the log is slow."""

LONGEST_TEXT: Final = 32 << 10
"""Characters kept of what somebody says at once: a deep traceback is 10 KiB."""

_HARMLESS: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (
        *range(9), *range(11, 32), *range(127, 160),
        0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),
    )
}  # fmt: skip
"""Control characters but tab and newline, which a client could steer a terminal with, and those
that turn the direction of what is read."""


class Served(NamedTuple):
    """A request came to its end."""

    ended: float
    """Seconds of the monotonic clock, as are all times of records."""
    service: str
    transport: str
    client: str
    verdict: str
    """``served``, ``failed``, or ``refused: REASON``."""
    seconds: float
    traffic: Traffic


class Said(NamedTuple):
    """Somebody said something: the worker itself, or a handler by print or ``logging``."""

    ended: float
    service: str
    level: str
    """A level's name in twisted.logger: debug, info, warn, error, critical."""
    text: str


class Journal:
    """The queue between the threads that serve and the one that writes the log.

    *wake* is called from any thread when the queue is no longer empty, and once only until the
    queue is taken from. *monotonic* and *wall* are clocks, in seconds.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        capacity: int = CAPACITY,
    ) -> None:
        self._records: deque[Served | Said] = deque()
        self._wake = wake
        self._monotonic = monotonic
        self._wall = wall
        self._capacity = capacity
        self._awake = False
        self._dropped = 0
        self._lock = threading.Lock()
        self._said = 0
        self._stamp_second = -1
        self._stamp = ""

    # Any thread.

    def add(self, record: Served | Said) -> bool:
        """Queue a record, or drop it when the log is too far behind; whether it is kept."""
        if len(self._records) >= self._capacity:
            # Not exact when two threads drop at once; the lock that made it so would cost every
            # connection something, for a figure that says "many".
            self._dropped += 1
            return False
        self._records.append(record)
        if not self._awake:
            self._awake = True
            self._wake()
        return True

    def say(self, service: str, level: str, text: str) -> None:
        """Queue a line of text, or drop it when too much of it is waiting already."""
        if len(text) > LONGEST_TEXT:
            text = f"{text[:LONGEST_TEXT]} … ({len(text)} characters)"
        length = len(text)
        # Nothing is called under the lock: the collector could run there, and with it a
        # destructor that has something to say, too.
        with self._lock:
            fits = self._said + length <= MOST_TEXT
            if fits:
                self._said += length
        if not fits:
            self._dropped += 1
        elif not self.add(Said(self._monotonic(), service, level, text)):
            with self._lock:
                self._said -= length

    def begin_anew(self, wake: Callable[[], None]) -> None:
        """Forget all that is queued, and call *wake* from now on; in a fork of the process."""
        self._records.clear()
        self._said = self._dropped = 0
        self._awake = False
        self._wake = wake

    def lose(self, lines: int) -> None:
        """Count *lines* that somebody else had no room for."""
        self._dropped += lines

    # The thread that writes.

    def take(self, most: int) -> str:
        """Return the oldest records as lines that each end in a newline, about *most* characters.

        The empty string says that there was nothing, and that *wake* will be called again.
        """
        if not self._records:
            self._awake = False
            # A record that was added just before that has not called wake.
            if not self._records:
                return self._confession()
            self._awake = True
        records = self._records
        offset = self._wall() - self._monotonic()
        lines = [self._confession()]
        room = most
        while records and room > 0:
            lines.append(self._line(records.popleft(), offset))
            room -= len(lines[-1])
        return "".join(lines)

    def _confession(self) -> str:
        dropped, self._dropped = self._dropped, 0
        if not dropped:
            return ""
        return (
            f"{self._time(self._wall())} [netd#warn] {dropped} log records dropped: log too slow\n"
        )

    def _line(self, record: Served | Said, offset: float) -> str:
        stamp = self._time(record.ended + offset)
        if isinstance(record, Said):
            length = len(record.text)
            with self._lock:
                self._said -= length
            text = record.text.translate(_HARMLESS).replace("\n", "\n\t")
            return f"{stamp} [{record.service}#{record.level}] {text}\n"
        _, service, transport, client, verdict, seconds, traffic = record
        received, sent = traffic
        return (
            f"{stamp} [{service}#info] {client} {transport} {verdict} {seconds * 1000:.1f}ms"
            f" in={'-' if received is None else received} out={'-' if sent is None else sent}\n"
        )

    def _time(self, when: float) -> str:
        """ISO 8601 with the zone, as twisted.logger's formatTime has it, once a second."""
        second = int(when)
        if second != self._stamp_second:
            self._stamp_second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
        return self._stamp
