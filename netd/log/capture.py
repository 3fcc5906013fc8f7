"""What a worker process prints and logs, brought to its log buffer.

Three ways lead there: events of ``twisted.logger``, records of ``logging``, and lines that are
printed to standard output or standard error. All of them work in any thread.
"""

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
"""The least number of ``logging`` that belongs to each level, the highest first."""

LONGEST_LINE: Final = LONGEST_TEXT
"""Characters of a printed line. A longer one is logged in pieces, each of which is kept whole."""


class Speaker:
    """Attributes what a thread logs: to the service that the current thread works for."""

    def __init__(self, worker: str) -> None:
        self._worker = worker

    def __call__(self) -> str:
        """The service of a pool's thread; the worker's name in every other thread."""
        return getattr(threading.current_thread(), "service", self._worker)


def capture(log_buffer: LogBuffer, speaker: Callable[[], str]) -> None:
    """Send all that this process logs or prints to *log_buffer*, under the speaker's name.

    Events and records below the buffer's level are not formatted. For good: nothing takes it back.
    """

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if not is_enabled(level.name, log_buffer.level):
            return
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        log_buffer.say(speaker(), level.name, text)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False, discardBuffer=True)
    logging.getLogger().addHandler(_BufferHandler(log_buffer, speaker))
    set_level(log_buffer.level)
    sys.stdout = _Printed(log_buffer, speaker, "info", sys.__stdout__)
    sys.stderr = _Printed(log_buffer, speaker, "warn", sys.__stderr__)


def set_level(level: Level) -> None:
    """Make the root logger drop records below *level*; a logger with a level of its own decides."""
    logging.getLogger().setLevel(next(least for least, name in _NAMES if name == level))


class _BufferHandler(logging.Handler):
    """The root logger's handler. A failing format is reported as ``logging`` does: to stderr."""

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
    """A standard stream whose lines go to the log buffer, those of each thread kept apart."""

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
        """The process's own binary stream. What is written there skips the buffer: the daemon reads
        it from a pipe and logs it line by line."""
        return self._original.buffer

    def fileno(self) -> int:
        """The process's own descriptor, a pipe to the daemon."""
        return int(self._original.fileno())

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Flush what was written to ``buffer``. An incomplete line stays, waiting for its end."""
        self._original.flush()

    def reconfigure(self, **_: Any) -> None:
        """Change nothing: programs call this for UTF-8 or line buffering, which the stream has."""

    def write(self, text: str) -> int:
        """Log every complete line, and keep the rest."""
        *lines, rest = (getattr(self._unfinished, "text", "") + text).split("\n")
        complete = [piece for line in lines for piece in _pieces(line)]
        *too_long, self._unfinished.text = _pieces(rest)
        for piece in [*complete, *too_long]:
            self._log_buffer.say(self._speaker(), self._level, piece)
        return len(text)


def _pieces(line: str) -> list[str]:
    # "or 1": an empty line is one piece, too.
    starts = range(0, len(line) or 1, LONGEST_LINE)
    return [line[start : start + LONGEST_LINE] for start in starts]
