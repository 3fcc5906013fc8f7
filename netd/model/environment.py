"""What a process of a service finds around itself, where that is not what the daemon has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNLIMITED: Final = -1
"""A resource limit that is none (RLIM_INFINITY, as ``resource`` has it)."""


@dataclass(frozen=True)
class Limit:
    """A resource limit (getrlimit(2)), in the kernel's unit for that resource."""

    name: str
    """That of its constant, as ``nofile`` for RLIMIT_NOFILE."""
    soft: int
    hard: int


@dataclass(frozen=True)
class ExecutionEnvironment:
    """All of it but the user, in POSIX's words; None, or nothing, leaves what the daemon has."""

    umask: int | None = None
    nice: int | None = None
    """The nice value itself, from -20 to 19, and not what is added to the daemon's."""
    working_directory: str | None = None
    """Absolute."""
    variables: tuple[tuple[str, str], ...] = ()
    """Names and values that are set beside, or in the place of, the daemon's own; by name."""
    limits: tuple[Limit, ...] = ()
    """By name."""


INHERITED: Final = ExecutionEnvironment()
"""The daemon's own."""


def difference(one: ExecutionEnvironment, other: ExecutionEnvironment) -> str | None:
    """The key of a service by which two of them differ first; None if they do not."""
    for key, field in _KEYS.items():
        if getattr(one, field) != getattr(other, field):
            return key
    return None


_KEYS: Final = {
    "umask": "umask",
    "nice": "nice",
    "working_directory": "working_directory",
    "environment": "variables",
    "rlimits": "limits",
}
"""Where each key of a service is kept."""
