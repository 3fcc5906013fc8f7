"""A checked configuration: what every service runs, where it listens, who may come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netd.values.address import Address


@dataclass(frozen=True)
class Reference:
    """A class or function of a module: ``module:name``."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


@dataclass(frozen=True)
class Owner:
    """Whom a process runs as; None leaves what it is started as."""

    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class Access:
    """Who may come in: the lists in canonical form (names resolved), and the filter."""

    allow: tuple[str, ...] | None = None
    """None admits everybody that no ``deny`` entry matches; an empty tuple admits nobody."""
    deny: tuple[str, ...] = ()
    verify_request: Reference | None = None
    verify_timeout: float = 5.0
    """Seconds."""
    dry_run: bool = False


@dataclass(frozen=True)
class Service:
    """One service: everything that its worker and its listeners need to know."""

    name: str
    listen: tuple[Address, ...]
    handler: Reference
    worker: str
    """Services with the same worker share its process."""
    threads: int = 100
    backlog: int = 1024
    datagram_size: int = 8192
    """Bytes; a longer datagram is dropped."""
    owner: Owner = Owner()
    access: Access = Access()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """All that a file and its includes say; the unit that is applied whole or not at all."""

    file: str
    services: tuple[Service, ...]
    """The enabled ones, in the order of the files."""
    python_path: tuple[str, ...] = ()
    graceful_timeout: float = 30.0
    """Seconds that a stop gives running handlers."""
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Where a key stands, ``services.time.handler`` → (file, line), for problems found later."""
