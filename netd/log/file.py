"""Destinations of the log, and the plainest of them: a file, or a descriptor that is open."""

from __future__ import annotations

import os
import select
from typing import Protocol


class NotWritten(Exception):
    """The last *lines* lines of a text could not be written; *why* is a reason for people."""

    def __init__(self, lines: int, why: str) -> None:
        super().__init__(f"{lines} lines not written: {why}")
        self.lines = lines
        self.why = why


def cannot_log(error: OSError) -> str:
    """Return the message for a destination that could not be opened."""
    return f"cannot log to {error.filename}: {error.strerror}"


class Destination(Protocol):
    """Takes text from one thread at a time, and may make it wait."""

    def write(self, text: str) -> None:
        """Write *text*, which is complete lines. Raises NotWritten."""

    def reopen(self) -> None:
        """Continue in a new file at the same path, after a rotation.

        Raises OSError if there can be none; the old file stays in use then.
        """

    def close(self) -> None:
        """Close what was opened. Nothing is written afterwards."""


class FileDestination:
    """A file, or a descriptor such as that of the terminal."""

    def __init__(self, path: str | None = None, descriptor: int | None = None) -> None:
        """Open the file *path* for appending, or use *descriptor*, which the caller closes.

        Raises OSError.
        """
        self._path = path
        self._descriptor = descriptor if descriptor is not None else self._open()
        self._torn = False
        """Whether the last line lacks its newline, because the disk was full in the middle."""

    def _open(self) -> int:
        assert self._path is not None
        # Appending, so that two daemons can share the file during an upgrade.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)

    def write(self, text: str) -> None:
        """See ``Destination``. Waits without a bound: the queue before it has one."""
        data = text.encode(errors="backslashreplace")
        if self._torn:
            data = b"\n" + data
        while data:
            try:
                written = os.write(self._descriptor, data)
            except BlockingIOError:  # another program has made the terminal non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                # The smaller one: *data* may begin with a newline that ends an older line.
                missing = min(data.count(b"\n"), text.count("\n"))
                raise NotWritten(missing, error.strerror or str(error)) from error
            else:
                self._torn = data[written - 1] != ord("\n")
                data = data[written:]

    def reopen(self) -> None:
        """See ``Destination``."""
        if self._path is None:
            return
        new = self._open()
        # Onto the same number, in one step, so that no write meets a closed descriptor.
        os.dup2(new, self._descriptor, inheritable=False)
        os.close(new)
        self._torn = False

    def close(self) -> None:
        """See ``Destination``."""
        if self._path is not None:
            os.close(self._descriptor)
