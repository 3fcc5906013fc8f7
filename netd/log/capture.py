"""Everything said in a worker process, brought to the journal: events, ``logging``, prints."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from zope.interface import implementer

from netd.log.buffer import LONGEST_TEXT, LogBuffer
from netd.model.log import Level, is_enabled

_NAMES: Final = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warn"),
    (logging.INFO, "info"),
    (logging.NOTSET, "debug"),
)
"""Of ``logging``, the least that is of a level."""

LONGEST_LINE: Final = LONGEST_TEXT
"""Characters of a printed line; a longer one is logged in pieces that the journal keeps whole."""


class Speaker:
    """Names the service that the current thread works for."""

    def __init__(self, worker: str) -> None:
        self._worker = worker

    def __call__(self) -> str:
        """The service of a pool's thread; the worker's name in all others."""
        return getattr(threading.current_thread(), "service", self._worker)


def capture(log_buffer: LogBuffer, speaker: Callable[[], str]) -> None:
    """Send all that this process logs or prints to *journal*, under the speaker's name.

    What is below the journal's level is not even made into a text.
    """

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if not is_enabled(level.name, log_buffer.level):
            return
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        log_buffer.say(speaker(), level.name, text)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False, discardBuffer=True)
    logging.getLogger().addHandler(_ToJournal(log_buffer, speaker))
    set_level(log_buffer.level)
    sys.stdout = _Printed(log_buffer, speaker, "info", sys.__stdout__)
    sys.stderr = _Printed(log_buffer, speaker, "warn", sys.__stderr__)


def set_level(level: Level) -> None:
    """Have ``logging`` make no records below the journal's *level*, unless a logger wants them."""
    logging.getLogger().setLevel(next(least for least, name in _NAMES if name == level))


class _ToJournal(logging.Handler):
    def __init__(self, log_buffer: LogBuffer, speaker: Callable[[], str]) -> None:
        super().__init__()
        self._log_buffer = log_buffer
        self._speaker = speaker
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        level = next(name for least, name in _NAMES if record.levelno >= least)
        if not is_enabled(level, self._log_buffer.level):
            return
        try:
            self._log_buffer.say(self._speaker(), level, self.format(record))
        except Exception:
            self.handleError(record)


class _Printed(io.TextIOBase):
    """A standard stream whose lines go to the journal, each thread's apart from the others'."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(
        self, log_buffer: LogBuffer, speaker: Callable[[], str], level: str, original: Any
    ) -> None:
        self._log_buffer = log_buffer
        self._speaker = speaker
        self._level = level
        self._original = original
        self._unfinished = threading.local()

    @property
    def buffer(self) -> Any:
        """The descriptor's own stream, for what is not text; the daemon logs it line by line."""
        return self._original.buffer

    def fileno(self) -> int:
        """The process's own descriptor, a pipe to the daemon."""
        return int(self._original.fileno())

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Hand on what was written to ``buffer``; a line that is not complete waits for its end."""
        self._original.flush()

    def reconfigure(self, **_: Any) -> None:
        """Change nothing: programs ask for an encoding or for line buffering, which they have."""

    def write(self, text: str) -> int:
        """Log every line that is complete."""
        *lines, rest = (getattr(self._unfinished, "text", "") + text).split("\n")
        complete = [piece for line in lines for piece in _pieces(line)]
        *too_long, self._unfinished.text = _pieces(rest)
        for piece in [*complete, *too_long]:
            self._log_buffer.say(self._speaker(), self._level, piece)
        return len(text)


def _pieces(line: str) -> list[str]:
    starts = range(0, len(line) or 1, LONGEST_LINE)
    return [line[start : start + LONGEST_LINE] for start in starts]
