"""Where the log is written to: a file, or a descriptor that was there before."""

from __future__ import annotations

import os
import select
from typing import Protocol


class NotWritten(Exception):
    """The rest of a text could not be written: so many *lines*, and *why*."""

    def __init__(self, lines: int, why: str) -> None:
        super().__init__(f"{lines} lines not written: {why}")
        self.lines = lines
        self.why = why


def cannot_log(error: OSError) -> str:
    """Say which destination could not be opened, and why."""
    return f"cannot log to {error.filename}: {error.strerror}"


class Destination(Protocol):
    """Takes text from one thread at a time, and may keep it waiting."""

    def write(self, text: str) -> None:
        """Write *text*, lines that are complete. Raises NotWritten."""

    def reopen(self) -> None:
        """Go on in a new file at the same path, if it is one. Raises OSError, and goes on."""

    def close(self) -> None:
        """Give back what was opened; nothing is written after it."""


class FileDestination:
    """A file, or a descriptor such as the terminal."""

    def __init__(self, path: str | None = None, descriptor: int | None = None) -> None:
        """Open the file *path* for appending, or use *descriptor*, which is not closed.

        Raises OSError.
        """
        self._path = path
        self._descriptor = descriptor if descriptor is not None else self._open()
        self._torn = False
        """Whether the last line has no end, since the disk was full in the middle of it."""

    def _open(self) -> int:
        assert self._path is not None
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)

    def write(self, text: str) -> None:
        """See ``Destination``; waits as long as it takes."""
        data = text.encode(errors="backslashreplace")
        if self._torn:
            data = b"\n" + data
        while data:
            try:
                written = os.write(self._descriptor, data)
            except BlockingIOError:  # somebody made the terminal non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                missing = min(data.count(b"\n"), text.count("\n"))
                raise NotWritten(missing, error.strerror or str(error)) from error
            else:
                self._torn = data[written - 1] != ord("\n")
                data = data[written:]

    def reopen(self) -> None:
        """See ``Destination``. The old file is gone on with when there is no new one."""
        if self._path is None:
            return
        new = self._open()
        os.dup2(new, self._descriptor, inheritable=False)
        os.close(new)
        self._torn = False

    def close(self) -> None:
        """See ``Destination``."""
        if self._path is not None:
            os.close(self._descriptor)
