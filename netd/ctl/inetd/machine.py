"""What an import asks of the machine it runs on: its files, what names mean there, and its netd."""

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
"""A name for the configuration that is going to be printed; relative paths in it, if there are any,
are relative to where netdctl runs."""


class Machine(Protocol):
    """A machine that inetd or xinetd ran on. Methods that read raise OSError."""

    def read(self, file: str) -> bytes:
        """The contents of *file*."""

    def listing(self, directory: str) -> list[str] | None:
        """The names in *directory* in the order of their bytes; None for what is no directory."""

    def identity(self, file: str) -> str:
        """What two names of the same file have in common."""

    def port(self, service: str, protocol: str) -> int | None:
        """The port of *service* in services(5)."""

    def network(self, name: str) -> str | None:
        """The number of the network *name* in networks(5), ``"127.0.0.0"``."""

    def wrapper_rules(self) -> tuple[str, ...]:
        """The files of hosts_access(5) that have rules."""

    def has_key(self, key: str) -> bool:
        """Whether its netd has a key of a service, dotted: ``access.allow``."""

    def refusals(self, tables: Mapping[str, TomlTable]) -> Mapping[str, list[str]]:
        """What its netd has against a configuration of the services *tables*: for each service that
        has a problem, by its name, what the problems are."""


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
        # ValueError: a NUL, or what no encoding of a host has.
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
    """The *problems* with the service *name*, each with its key."""
    service = dotted((SERVICES, name))
    return [
        f"{problem.key.removeprefix(service).removeprefix('.')}: {problem.message}".lstrip(": ")
        for problem in problems
        if problem.key == service or problem.key.startswith(f"{service}.")
    ]


def _rules(file: str) -> Iterator[list[str]]:
    """The words of each line of a file that says something; none when it cannot be read."""
    with suppress(OSError), open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.partition("#")[0].split()
            if words:
                yield words
