"""The standard output or error of a process, split into lines of bounded length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LONGEST_LINE: Final = 16 << 10
"""Bytes of a line that are buffered; a process may write for ever without ending one."""


class Lines:
    """Splits output into lines; a line that is too long is split into pieces."""

    def __init__(self, wrote: Callable[[str], None]) -> None:
        self._wrote = wrote
        self._incomplete = b""

    def dataReceived(self, data: bytes) -> None:
        """Pass on each line that *data* completes."""
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in lines:
            self._pass_on(line)
        if len(self._incomplete) > LONGEST_LINE:
            self.finish()

    def finish(self) -> None:
        """Pass on the rest as a line, although its end is missing."""
        rest, self._incomplete = self._incomplete, b""
        if rest:
            self._pass_on(rest)

    def _pass_on(self, line: bytes) -> None:
        # A process may write any bytes, and its log must not fail because of them.
        self._wrote(line.decode(errors="replace"))
