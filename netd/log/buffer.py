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
from typing import Final

from netd.log.format import line_form
from netd.log.record import AccessRecord, LogRecord
from netd.model.log import AS_USUAL, WorkerLog, is_enabled

CAPACITY: Final = 20_000
"""Records kept while the log is slow: about a second at the highest rate measured, 4 MiB."""

MOST_TEXT: Final = 8 << 20
"""Characters of what has been said that are kept while the log is slow."""

LONGEST_TEXT: Final = 32 << 10
"""Characters kept of what somebody says at once: a deep traceback is 10 KiB."""


class LogBuffer:
    """The queue between the threads that serve and the one that writes the log.

    *wake* is called from any thread when the queue is no longer empty, and once only until the
    queue is taken from. *monotonic* and *wall* are clocks, in seconds. What *log* does not ask for
    is not even queued.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        capacity: int = CAPACITY,
        log: WorkerLog = AS_USUAL,
    ) -> None:
        self._records: deque[AccessRecord | LogRecord] = deque()
        self._wake = wake
        self._monotonic = monotonic
        self._wall = wall
        self._capacity = capacity
        self.change(log)
        self._awake = False
        self._dropped = 0
        self._lock = threading.Lock()
        self._said = 0

    def change(self, log: WorkerLog) -> None:
        """Have queued what *log* asks for. In the thread that writes; what is queued stays."""
        self.level = log.level
        """The least that is queued of what is said."""
        self._with_requests = log.connections and is_enabled("info", log.level)
        self._form = line_form(log.form)

    # Any thread.

    def add(self, request: AccessRecord) -> bool:
        """Queue what became of a request, if that is logged at all; whether it is kept."""
        return self._with_requests and self._keep(request)

    def say(self, service: str, level: str, text: str) -> None:
        """Queue a line of text, or drop it when too much of it is waiting already."""
        if not is_enabled(level, self.level):
            return
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
        elif not self._keep(LogRecord(self._monotonic(), service, level, text)):
            with self._lock:
                self._said -= length

    def _keep(self, record: AccessRecord | LogRecord) -> bool:
        """Queue a record, or drop it when the log is too far behind."""
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

    def after_fork(self, wake: Callable[[], None]) -> None:
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
                return self._dropped_notice()
            self._awake = True
        records = self._records
        offset = self._wall() - self._monotonic()
        lines = [self._dropped_notice()]
        room = most
        while records and room > 0:
            lines.append(self._line(records.popleft(), offset))
            room -= len(lines[-1])
        return "".join(lines)

    def _dropped_notice(self) -> str:
        """That records are missing: at every level, for nobody knows what they said."""
        dropped, self._dropped = self._dropped, 0
        if not dropped:
            return ""
        text = f"{dropped} log records dropped: log too slow"
        return self._form.said(self._wall(), None, "warn", text)

    def _line(self, record: AccessRecord | LogRecord, offset: float) -> str:
        if isinstance(record, LogRecord):
            ended, service, level, text = record
            length = len(text)
            with self._lock:
                self._said -= length
            return self._form.said(ended + offset, service, level, text)
        return self._form.served(record[0] + offset, record)
