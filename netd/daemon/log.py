"""The daemon's log: twisted.logger's events and the workers' lines, written by one thread.

The daemon's reactor never waits for a disk or a terminal. Text is queued and written by a
thread, all that there is at once; when the queue is full, lines are dropped and counted.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
from collections import deque
from typing import Final

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    formatEventAsClassicLogText,
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
                self._dropped += text.count("\n")
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
                text = self._confession() + "".join(self._queue)
                self._queue.clear()
                self._queued = 0
                closing, reopening = self._closing, self._reopening
                self._reopening = False
            self._put(text)
            if reopening:
                self._reopen()
            if closing:
                return

    def _confession(self) -> str:
        dropped, self._dropped = self._dropped, 0
        return f"[netd#warn] {dropped} log lines dropped: log too slow\n" if dropped else ""

    def _put(self, text: str) -> None:
        """Write, or count what could not be written (a full disk, a closed pipe)."""
        try:
            self._destination.write(text)
        except OSError:
            self._dropped += text.count("\n")

    def _reopen(self) -> None:
        try:
            self._destination.reopen()
        except OSError as error:
            self._put(f"[netd#error] the log cannot be reopened: {error}\n")


class RelayedLog:
    """Brings the workers' lines to a log of twistd's own (``--syslog``, ``--logger``)."""

    def write(self, text: str) -> None:
        """Log *text*, lines as workers write them, with their service as the namespace."""
        for line in text.replace("\n\t", "\v").splitlines():
            _, _, rest = line.partition(" [")
            system, _, message = rest.partition("] ")
            service, _, level = system.rpartition("#")
            Logger(namespace=service).emit(
                LogLevel.levelWithName(level), "{text}", text=message.replace("\v", "\n")
            )

    def start(self) -> None:
        """Nothing to do: twistd writes."""

    def reopen(self) -> None:
        """Nothing to do: twistd's own affair."""

    def close(self) -> None:
        """Nothing to do: twistd's own affair."""


Log = DaemonLog | RelayedLog
