"""The machine of an import: its files, its name databases, and its netd."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, Protocol

from netd.config.document import Document, TomlTable, dotted
from netd.config.known import has_key
from netd.config.load import load
from netd.config.schema import SERVICES, ServiceTable
from netd.model.problem import ConfigurationError, Problem

_NETWORKS: Final = "/etc/networks"
_WRAPPERS: Final = ("/etc/hosts.allow", "/etc/hosts.deny")

_PRINTED: Final = "netd.toml"
"""A file name for the configuration to print. Relative paths in it are relative to the directory in
which netdctl runs."""


class Machine(Protocol):
    """A machine with inetd or xinetd. Methods that read files raise OSError."""

    def read(self, file: str) -> bytes:
        """The contents of *file*."""

    def listing(self, directory: str) -> list[str] | None:
        """The names in *directory*, sorted by their bytes; None if it is not a directory."""

    def identity(self, file: str) -> str:
        """A text that is equal for two names of the same file."""

    def port(self, service: str, protocol: str) -> int | None:
        """The port of *service* in services(5)."""

    def network(self, name: str) -> str | None:
        """The number of the network *name* in networks(5), ``"127.0.0.0"``."""

    def wrapper_rules(self) -> tuple[str, ...]:
        """The files of hosts_access(5) that have rules."""

    def has_key(self, key: str) -> bool:
        """Whether netd has a key of a service, dotted: ``access.allow``."""

    def refusals(self, tables: Mapping[str, TomlTable]) -> Mapping[str, list[str]]:
        """Why netd refuses a configuration of the services *tables*: the problems of each service
        that has any, by its name."""


class ThisMachine:
    """The machine that this process runs on."""

    def read(self, file: str) -> bytes:
        with open(file, "rb") as opened:
            return opened.read()

    def listing(self, directory: str) -> list[str] | None:
        if not os.path.isdir(directory):
            return None
        return sorted(os.listdir(directory), key=os.fsencode)

    def identity(self, file: str) -> str:
        return os.path.realpath(file)

    def port(self, service: str, protocol: str) -> int | None:
        # ValueError: for a NUL, or for a character that cannot be encoded.
        with suppress(OSError, ValueError):
            return socket.getservbyname(service, protocol)
        return None

    def network(self, name: str) -> str | None:
        for words in _rules(_NETWORKS):
            if len(words) > 1 and name in (words[0], *words[2:]):
                return words[1]
        return None

    def wrapper_rules(self) -> tuple[str, ...]:
        return tuple(file for file in _WRAPPERS if any(_rules(file)))

    def has_key(self, key: str) -> bool:
        return has_key(ServiceTable, key.split("."))

    def refusals(self, tables: Mapping[str, TomlTable]) -> Mapping[str, list[str]]:
        if not tables:
            return {}
        try:
            load(Document(_PRINTED, {SERVICES: dict(tables)}, {}, frozenset()))
        except ConfigurationError as error:
            return {name: found for name in tables if (found := _about(name, error.problems))}
        return {}


def _about(name: str, problems: Iterable[Problem]) -> list[str]:
    """Return the *problems* of the service *name*, each with its key."""
    service = dotted((SERVICES, name))
    return [
        f"{problem.key.removeprefix(service).removeprefix('.')}: {problem.message}".lstrip(": ")
        for problem in problems
        if problem.key == service or problem.key.startswith(f"{service}.")
    ]


def _rules(file: str) -> Iterator[list[str]]:
    """Yield the words of each significant line of a file; nothing if it cannot be read."""
    with suppress(OSError), open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.partition("#")[0].split()
            if words:
                yield words
