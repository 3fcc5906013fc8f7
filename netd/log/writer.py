"""The daemon's log: events of twisted.logger and the workers' lines, written by one thread.

The daemon's reactor never waits for a disk or a terminal. It queues text, and a thread writes all
queued text together. If the queue is full, lines are dropped and counted.
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
"""Seconds that a slow destination has for the rest when the daemon ends."""


@implementer(ILogObserver)
class DaemonLog:
    """Writes events and lines to *destination*: immediately until ``start``, then by a thread.

    Events from *level* on become lines in *form*; lines are written as they are. *capacity* is in
    characters. Safe from any thread. Call ``start`` after twistd's fork, which a thread would not
    survive. The log closes its destination.
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
        """Texts, and destinations to change to once the texts before them are written."""
        self._queued = 0
        self._dropped = 0
        self._why = ""
        """Why the last of the dropped lines was dropped."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._reopening = False

    def __call__(self, event: LogEvent) -> None:
        """Write an event (ILogObserver)."""
        level = event.get("log_level", LogLevel.info)
        if not is_enabled(level.name, self._level):
            return
        line = _text(event) if self._form == "text" else self._json(event, level)
        if line:
            self.write(line)

    def _json(self, event: LogEvent, level: LogLevel) -> str | None:
        """An event as a line of JSON; None if it has no text."""
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if not text:
            return None
        service = event.get("service")
        if not isinstance(service, str):
            service = None
        return self._lines.said(event["log_time"], service, level.name, text)

    def write(self, text: str) -> None:
        """Queue *text*, which is complete lines, all in one form."""
        with self._changed:
            # A worker has not heard yet that a reload has changed the form. Only lines of JSON
            # begin with a brace; those of text begin with their time.
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
        """Start the thread, which writes everything after this."""
        self._thread = threading.Thread(target=self._run, name="netd log", daemon=True)
        self._thread.start()
        # At exit, not when the service stops: twistd logs its own last line after that.
        atexit.register(self.close)

    def change(self, destination: Destination | None, form: Form, level: Level) -> None:
        """Log in *form*, from *level* on, and to *destination* unless it is None.

        Only after ``start``. Lines that still arrive in the other form are rewritten.
        """
        with self._changed:
            self._form, self._level, self._lines = form, level, line_form(form)
            if destination is not None:
                self._queue.append(destination)
                self._changed.notify()

    def reopen(self) -> None:
        """Continue in a new file once all that is queued is written (log rotation)."""
        with self._changed:
            self._reopening = True
            self._changed.notify()

    def close(self) -> None:
        """Write what is queued and end the thread; waits LAST_WORDS for that, at most."""
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
        """Write each text to the destination that was queued before it."""
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
        """Write a notice of *dropped* lines and then *text*; count what cannot be written."""
        if dropped:
            text = self._own("warn", f"{dropped} log lines dropped: {self._why}") + text
        try:
            self._destination.write(text)
        except NotWritten as error:  # a full disk, a closed pipe
            missing = error.lines
            if dropped and missing >= text.count("\n"):
                # The notice is missing, too: count what it was about, but not the notice itself.
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
        """A line about the log itself. Not by a logger, which would end up here, and at any level:
        what is missing may have been of every level."""
        return self._lines.said(time.time(), None, level, text)


def _text(event: LogEvent) -> str | None:
    """An event as a line of text; None if it has no text."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else escape_controls(text)


class RelayedLog:
    """Passes the workers' lines to twistd's own log (``--syslog``, ``--logger``)."""

    def write(self, text: str) -> None:
        """Log *text*, lines of ``JsonLines``, each under its service as the namespace."""
        # Not splitlines(), which also splits at characters that a text may have.
        for line in filter(None, text.split("\n")):
            entry = entry_of(line)
            log = Logger(namespace=entry.service or "netd")
            log.emit(_LEVELS[entry.level], "{text}", text=entry.message)

    def start(self) -> None:
        """Nothing to do: twistd writes."""

    def change(self, destination: Destination | None, form: Form, level: Level) -> None:
        """Nothing to do: workers drop their own lines below the level."""

    def reopen(self) -> None:
        """Nothing to do: twistd's own affair."""

    def close(self) -> None:
        """Nothing to do: twistd's own affair."""


_LEVELS: Final = {level.name: level for level in LogLevel.iterconstants()}

Log = DaemonLog | RelayedLog
