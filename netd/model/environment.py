"""The environment of a service's processes, as far as it differs from the daemon's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNLIMITED: Final = -1
"""No limit (resource.RLIM_INFINITY)."""


@dataclass(frozen=True)
class Limit:
    """A resource limit (getrlimit(2)), in the kernel's unit for the resource."""

    name: str
    """``nofile`` for RLIMIT_NOFILE."""
    soft: int
    hard: int


@dataclass(frozen=True)
class ExecutionEnvironment:
    """All of it except for the user. None, or an empty tuple, keeps what the daemon has."""

    umask: int | None = None
    nice: int | None = None
    """The nice value itself, from -20 to 19, not an increment of the daemon's."""
    working_directory: str | None = None
    """Absolute."""
    variables: tuple[tuple[str, str], ...] = ()
    """Names and values to add to the daemon's variables, or to replace them; sorted by name."""
    limits: tuple[Limit, ...] = ()
    """Sorted by name."""


INHERITED: Final = ExecutionEnvironment()
"""The daemon's own environment."""


def difference(one: ExecutionEnvironment, other: ExecutionEnvironment) -> str | None:
    """Return the first key of a service in which two environments differ; None if none."""
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
"""The field for each key of a service."""
