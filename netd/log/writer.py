"""The daemon's log: twisted.logger's events and the workers' lines, written by one thread.

The daemon's reactor never waits for a disk or a terminal. Text is queued and written by a
thread, all that there is at once; when the queue is full, lines are dropped and counted.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from typing import Final

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    eventAsText,
    formatEventAsClassicLogText,
)
from zope.interface import implementer

from netd.log.entry import entry_of, rewritten
from netd.log.file import Destination, NotWritten
from netd.log.format import escape_controls, line_form
from netd.model.log import Form, Level, is_enabled

CAPACITY: Final = 8 << 20
"""Characters kept while the log is slow: some seconds of it at the highest rate."""

LAST_WORDS: Final = 1.0
"""Seconds that a slow log has to take the rest at the end."""


@implementer(ILogObserver)
class DaemonLog:
    """Writes events and lines to *destination*: at once until ``start``, then by a thread.

    Events become lines in *form* where they reach *level*; lines are written as they are. Safe
    from any thread. ``start`` is for after the fork of a daemon, which a thread would not survive.
    The destination is closed with the log.
    """

    def __init__(
        self,
        destination: Destination,
        form: Form = "text",
        level: Level = "info",
        capacity: int = CAPACITY,
    ) -> None:
        self._destination = destination
        self._form = form
        self._level = level
        self._capacity = capacity
        self._lines = line_form(form)
        self._queue: deque[str | Destination] = deque()
        """Text, and what is to be written to after the text before it."""
        self._queued = 0
        self._dropped = 0
        self._why = ""
        """Of the lines that were dropped, the last."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._reopening = False

    def __call__(self, event: LogEvent) -> None:
        """Write an event, as ILogObserver has it."""
        level = event.get("log_level", LogLevel.info)
        if not is_enabled(level.name, self._level):
            return
        line = _text(event) if self._form == "text" else self._json(event, level)
        if line:
            self.write(line)

    def _json(self, event: LogEvent, level: LogLevel) -> str | None:
        """An event as a line; None if it says nothing."""
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if not text:
            return None
        service = event.get("service")
        if not isinstance(service, str):
            service = None
        return self._lines.said(event["log_time"], service, level.name, text)

    def write(self, text: str) -> None:
        """Queue *text*, lines that are complete."""
        with self._changed:
            if text.startswith("{") is (self._form == "text"):
                text = rewritten(text, self._lines, time.time())
            if self._thread is None:
                self._put(text)
            elif self._queued + len(text) > self._capacity:
                self._drop(text.count("\n"), "log too slow")
            else:
                self._queue.append(text)
                self._queued += len(text)
                self._changed.notify()

    def start(self) -> None:
        """Write by a thread from now on."""
        self._thread = threading.Thread(target=self._run, name="netd log", daemon=True)
        self._thread.start()
        # twistd's own last line comes after every service has stopped.
        atexit.register(self.close)

    def change(self, destination: Destination | None, form: Form, level: Level) -> None:
        """From now on log in *form* from *level* on, to *destination* if there is one.

        For after the start. Lines that still come in the other form are rewritten.
        """
        with self._changed:
            self._form, self._level, self._lines = form, level, line_form(form)
            if destination is not None:
                self._queue.append(destination)
                self._changed.notify()

    def reopen(self) -> None:
        """Go on in a new file, after all that has been queued until now."""
        with self._changed:
            self._reopening = True
            self._changed.notify()

    def close(self) -> None:
        """Write what is queued, if that takes no longer than LAST_WORDS."""
        thread = self._thread
        if thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        thread.join(LAST_WORDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing or self._reopening)
                queued = list(self._queue)
                self._queue.clear()
                self._queued = 0
                dropped, self._dropped = self._dropped, 0
                closing, reopening = self._closing, self._reopening
                self._reopening = False
            self._write(queued, dropped)
            if reopening:
                self._reopen()
            if closing:
                self._destination.close()
                return

    def _write(self, queued: list[str | Destination], dropped: int) -> None:
        """Write all texts, each to the destination that came before it."""
        texts: list[str] = []
        for item in queued:
            if isinstance(item, str):
                texts.append(item)
                continue
            self._put("".join(texts))
            texts.clear()
            self._destination.close()
            self._destination = item
        self._put("".join(texts), dropped)

    def _put(self, text: str, dropped: int = 0) -> None:
        """Write that lines were *dropped* before, and *text*; count what cannot be written."""
        if dropped:
            text = self._own("warn", f"{dropped} log lines dropped: {self._why}") + text
        try:
            self._destination.write(text)
        except NotWritten as error:  # a full disk, a closed pipe
            missing = error.lines
            if dropped and missing >= text.count("\n"):
                # So is the line about them, which is none of those that anybody misses.
                missing += dropped - 1
            self._drop(missing, error.why)

    def _drop(self, lines: int, why: str) -> None:
        with self._changed:
            self._dropped += lines
            self._why = why

    def _reopen(self) -> None:
        try:
            self._destination.reopen()
        except OSError as error:
            self._put(self._own("error", f"the log cannot be reopened: {error}"))

    def _own(self, level: str, text: str) -> str:
        """A line of the log's own, for which it cannot ask a logger, at whatever level."""
        return self._lines.said(time.time(), None, level, text)


def _text(event: LogEvent) -> str | None:
    """An event as a line; None if it says nothing."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else escape_controls(text)


class RelayedLog:
    """Brings the workers' lines to a log of twistd's own (``--syslog``, ``--logger``)."""

    def write(self, text: str) -> None:
        """Log *text*, lines of ``JsonLines``, with their service as the namespace."""
        for line in filter(None, text.split("\n")):
            entry = entry_of(line)
            log = Logger(namespace=entry.service or "netd")
            log.emit(_LEVELS[entry.level], "{text}", text=entry.message)

    def start(self) -> None:
        """Nothing to do: twistd writes."""

    def change(self, destination: Destination | None, form: Form, level: Level) -> None:
        """Nothing to do: workers see to the level of their own lines."""

    def reopen(self) -> None:
        """Nothing to do: twistd's own affair."""

    def close(self) -> None:
        """Nothing to do: twistd's own affair."""


_LEVELS: Final = {level.name: level for level in LogLevel.iterconstants()}

Log = DaemonLog | RelayedLog
