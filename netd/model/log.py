"""The ``[log]`` table: what is logged, in which format, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Level = Literal["debug", "info", "warn", "error", "critical"]
"""From lowest to highest, by the names of twisted.logger."""

LEVELS: Final[tuple[Level, ...]] = get_args(Level)

Format = Literal["text", "json", "journald", "syslog"]

Form = Literal["text", "json"]
"""The format of a record in a line."""


@dataclass(frozen=True)
class Log:
    """The log of a configuration."""

    format: Format = "text"
    level: Level = "info"
    """The lowest level to log."""
    connections: bool = True
    """Whether each request has a line, refused and failed ones included."""
    file: str | None = None
    """An absolute path; None for twistd's log."""


@dataclass(frozen=True)
class WorkerLog:
    """Which records a worker sends to the daemon, and in which format."""

    form: Form = "text"
    level: Level = "info"
    connections: bool = True

    @property
    def has_requests(self) -> bool:
        """Whether each request has a line: it is of level ``info``."""
        return self.connections and is_enabled("info", self.level)


AS_USUAL: Final = WorkerLog()


_RANKS: Final[dict[str, int]] = {level: rank for rank, level in enumerate(LEVELS)}


def is_enabled(level: str, least: Level) -> bool:
    """Whether *level* is logged if *least* is the lowest level to log."""
    return _RANKS[level] >= _RANKS[least]
