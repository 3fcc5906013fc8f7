"""What a process writes to its standard output or error, cut into lines of bounded length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LONGEST_LINE: Final = 16 << 10
"""Bytes that are waited for of a line that a process writes to its standard output or error."""


class Lines:
    """Cuts output into lines; one that is too long comes in pieces."""

    def __init__(self, wrote: Callable[[str], None]) -> None:
        self._wrote = wrote
        self._rest = b""

    def dataReceived(self, data: bytes) -> None:
        """Pass on the lines that *data* completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._pass_on(line)
        if len(self._rest) > LONGEST_LINE:
            self.finish()

    def finish(self) -> None:
        """What is left has no end, and is a line all the same."""
        rest, self._rest = self._rest, b""
        if rest:
            self._pass_on(rest)

    def _pass_on(self, line: bytes) -> None:
        self._wrote(line.decode(errors="replace"))
