"""The ``[log]`` table: what is logged, in which form and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Level = Literal["debug", "info", "warn", "error", "critical"]
"""From least to most, by their names in twisted.logger."""

LEVELS: Final[tuple[Level, ...]] = get_args(Level)

Format = Literal["text", "json", "journald", "syslog"]

Form = Literal["text", "json"]
"""How a record is written in a line."""


@dataclass(frozen=True)
class Log:
    """What a configuration says about the log."""

    format: Format = "text"
    level: Level = "info"
    """The least that is logged."""
    connections: bool = True
    """Whether every request has a line, the refused and the failed ones too."""
    file: str | None = None
    """An absolute path; None leaves the place to twistd."""


@dataclass(frozen=True)
class WorkerLog:
    """What a worker sends up of what happens in it."""

    form: Form = "text"
    level: Level = "info"
    connections: bool = True


AS_USUAL: Final = WorkerLog()


_RANKS: Final[dict[str, int]] = {level: rank for rank, level in enumerate(LEVELS)}


def is_enabled(level: str, least: Level) -> bool:
    """Whether something of *level* is logged where *least* is the least that is."""
    return _RANKS[level] >= _RANKS[least]
