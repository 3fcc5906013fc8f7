"""Problems with a configuration, and where they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitStatus(IntEnum):
    """The exit statuses of ``twistd netd`` and ``netdctl`` (CONFIG is EX_CONFIG of sysexits(3))."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIG = 78


Location = tuple[str, int]
"""Where a key is written: a file, and a line counted from 1; or an option of a command, and 0."""


@dataclass(frozen=True, order=True)
class Problem:
    """One problem with a configuration, at the location to fix."""

    file: str
    """Or an option of the command line, ``--listen``."""
    line: int
    """Counted from 1; for something that is missing, the line of its table; 0 in an option."""
    key: str
    """The dotted path of the key, ``services.time.listen``; empty for the file as a whole."""
    message: str
    """What is wrong, and what would be right."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:" if self.line else f"{self.file}:"
        text = f"{where} {self.key}: {self.message}" if self.key else f"{where} {self.message}"
        # A problem must be one line, but a file can have any name, and a module can raise any text.
        return " ".join(text.splitlines())


class ConfigurationError(Exception):
    """A configuration is not valid; has every problem, sorted by location."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} configuration problem(s)")
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))
