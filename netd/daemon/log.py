"""The daemon's log: twisted.logger's events and the workers' lines, written by one thread.

The daemon's reactor never waits for a disk or a terminal. Text is queued and written by a
thread, all that there is at once; when the queue is full, lines are dropped and counted.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
import time
from collections import deque
from typing import Final

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    formatEventAsClassicLogText,
    formatTime,
)
from zope.interface import implementer

CAPACITY: Final = 8 << 20
"""Characters kept while the log is slow: some seconds of it at the highest rate."""

LAST_WORDS: Final = 1.0
"""Seconds that a slow log has to take the rest at the end."""


class Destination:
    """A file, or a descriptor that was there before (the terminal), to write the log to."""

    def __init__(self, path: str | None = None, descriptor: int | None = None) -> None:
        """Open the file *path* for appending, or use *descriptor*, which is never closed.

        Raises OSError.
        """
        self._path = path
        self._descriptor = descriptor if descriptor is not None else self._open()

    def _open(self) -> int:
        assert self._path is not None
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)

    def write(self, text: str) -> None:
        """Write all of *text*, waiting as long as it takes. Raises OSError."""
        data = text.encode(errors="backslashreplace")
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody made the terminal non-blocking
                select.select([], [self._descriptor], [])

    def reopen(self) -> None:
        """Go on in a new file at the same path. Raises OSError, and goes on in the old one."""
        if self._path is None:
            return
        new = self._open()
        os.dup2(new, self._descriptor, inheritable=False)
        os.close(new)


@implementer(ILogObserver)
class DaemonLog:
    """Writes events and lines to *destination*: at once until ``start``, then by a thread.

    Safe from any thread. ``start`` is for after the fork of a daemon, which a thread would not
    survive.
    """

    def __init__(self, destination: Destination, capacity: int = CAPACITY) -> None:
        self._destination = destination
        self._capacity = capacity
        self._queue: deque[str] = deque()
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
        text = formatEventAsClassicLogText(event)
        if text:
            self.write(text)

    def write(self, text: str) -> None:
        """Queue *text*, lines that are complete."""
        with self._changed:
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
                text = "".join(self._queue)
                self._queue.clear()
                self._queued = 0
                dropped, self._dropped = self._dropped, 0
                closing, reopening = self._closing, self._reopening
                self._reopening = False
            self._put(text, dropped)
            if reopening:
                self._reopen()
            if closing:
                return

    def _put(self, text: str, dropped: int = 0) -> None:
        """Write that lines were *dropped* before, and *text*; count what cannot be written."""
        if dropped:
            text = _line("warn", f"{dropped} log lines dropped: {self._why}") + text
            dropped -= 1  # for the line that says so
        try:
            self._destination.write(text)
        except OSError as error:  # a full disk, a closed pipe
            self._drop(dropped + text.count("\n"), error.strerror or str(error))

    def _drop(self, lines: int, why: str) -> None:
        with self._changed:
            self._dropped += lines
            self._why = why

    def _reopen(self) -> None:
        try:
            self._destination.reopen()
        except OSError as error:
            self._put(_line("error", f"the log cannot be reopened: {error}"))


def _line(level: str, text: str) -> str:
    """A line of the log's own, for which it cannot ask a logger."""
    return f"{formatTime(time.time())} [netd#{level}] {text}\n"


class RelayedLog:
    """Brings the workers' lines to a log of twistd's own (``--syslog``, ``--logger``)."""

    def write(self, text: str) -> None:
        """Log *text*, lines as workers write them, with their service as the namespace."""
        # A worker escapes vertical tabs, so that here they can stand for newlines inside a line.
        for line in filter(None, text.replace("\n\t", "\v").split("\n")):
            service, level, message = _parted(line.replace("\v", "\n"))
            Logger(namespace=service).emit(level, "{text}", text=message)

    def start(self) -> None:
        """Nothing to do: twistd writes."""

    def reopen(self) -> None:
        """Nothing to do: twistd's own affair."""

    def close(self) -> None:
        """Nothing to do: twistd's own affair."""


def _parted(line: str) -> tuple[str, LogLevel, str]:
    """The service, level and text of a worker's line; a line of another form is all text."""
    _, _, rest = line.partition(" [")
    system, end, message = rest.partition("] ")
    service, _, level = system.rpartition("#")
    if end and level in _LEVELS:
        return service, _LEVELS[level], message
    return "netd", LogLevel.info, line


_LEVELS: Final = {level.name: level for level in LogLevel.iterconstants()}

Log = DaemonLog | RelayedLog
