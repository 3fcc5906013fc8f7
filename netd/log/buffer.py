"""A worker's queue of log records: many threads add to it, one takes lines from it in batches.

One logging call a connection would cost more than the connection. So a thread appends a small
record, and a tenth of a second later all records become lines together. The queue is bounded: if
the daemon does not keep up, records are dropped and counted, and no thread ever waits for the log.
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
"""Characters of printed and logged texts that are kept while the log is slow."""

LONGEST_TEXT: Final = 32 << 10
"""Characters kept of one text; a deep traceback has 10 KiB."""


class LogBuffer:
    """The queue between the threads that serve and the one that sends the log.

    *wake* is called in any thread when the queue becomes non-empty, and not again before the queue
    was found empty by ``take``. *monotonic* and *wall* are clocks, in seconds. *log* says which
    records are queued at all, and the form of their lines.
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
        """Set which records are queued. In the thread that takes; queued records stay."""
        self.level = log.level
        """Texts below this level are not queued."""
        self._with_requests = log.has_requests
        self._form = line_form(log.form)

    # Any thread.

    def add(self, request: AccessRecord) -> bool:
        """Queue a request's record, if requests are logged. Returns whether it was queued."""
        return self._with_requests and self._keep(request)

    def say(self, service: str, level: str, text: str) -> None:
        """Queue a line of text, or drop it when too much of it is waiting already."""
        if not is_enabled(level, self.level):
            return
        if len(text) > LONGEST_TEXT:
            text = f"{text[:LONGEST_TEXT]} … ({len(text)} characters)"
        length = len(text)
        # Nothing is called under the lock: the garbage collector could run there, and
        # with it a destructor that logs, which would wait for this very lock.
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
        """Queue a record, or drop it if the log is too far behind. Returns whether it is queued."""
        if len(self._records) >= self._capacity:
            # Not exact if two threads drop concurrently. A lock would make it exact, and cost every
            # connection something, for a figure that means "many".
            self._dropped += 1
            return False
        self._records.append(record)
        if not self._awake:
            self._awake = True
            self._wake()
        return True

    def after_fork(self, wake: Callable[[], None]) -> None:
        """In a fork of the process: drop what is queued, which the parent sends; call *wake*."""
        self._records.clear()
        self._said = self._dropped = 0
        self._awake = False
        self._wake = wake

    def lose(self, lines: int) -> None:
        """Count *lines* that were dropped elsewhere, for the next dropped notice."""
        self._dropped += lines

    # The thread that takes.

    def take(self, most: int) -> str:
        """Return the oldest records as lines that each end in a newline, about *most* characters.

        An empty string means that the queue is empty, and that *wake* will be called again.
        """
        if not self._records:
            self._awake = False
            # Look again: a record that another thread added before the line above woke nothing.
            if not self._records:
                return self._dropped_notice()
            self._awake = True
        records = self._records
        # Records have monotonic times, so that a step of the wall clock changes no duration; their
        # difference now is exact enough for records of the last tenth of a second.
        offset = self._wall() - self._monotonic()
        lines = [self._dropped_notice()]
        room = most
        while records and room > 0:
            lines.append(self._line(records.popleft(), offset))
            room -= len(lines[-1])
        return "".join(lines)

    def _dropped_notice(self) -> str:
        """The line that says how many records are missing. At every level: theirs is unknown."""
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
