"""A machine that is not there, for imports to ask."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from netd.config.document import TomlTable
from netd.ctl.inetd.command import imported
from netd.ctl.inetd.machine import ThisMachine

PORTS = {
    ("echo", "tcp"): 7,
    ("echo", "udp"): 7,
    ("daytime", "tcp"): 13,
    ("ftp", "tcp"): 21,
    ("telnet", "tcp"): 23,
    ("time", "udp"): 37,
    ("tftp", "udp"): 69,
    ("finger", "tcp"): 79,
    ("ntalk", "udp"): 518,
}


@dataclass
class FakeMachine:
    """Files, and what names mean. A directory is every path that a file is below of."""

    files: dict[str, bytes | str] = field(default_factory=dict)
    ports: dict[tuple[str, str], int] = field(default_factory=lambda: dict(PORTS))
    networks: dict[str, str] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    lacking: frozenset[str] = frozenset()
    """The keys that its netd does not have."""
    refused: dict[str, list[str]] = field(default_factory=dict)
    """What its netd has against services, by their names."""

    def read(self, file: str) -> bytes:
        if file not in self.files:
            raise FileNotFoundError(2, "No such file or directory", file)
        found = self.files[file]
        return found if isinstance(found, bytes) else found.encode(errors="surrogatepass")

    def listing(self, directory: str) -> list[str] | None:
        below = f"{directory.rstrip('/')}/"
        inside = {
            file.removeprefix(below).partition("/")[0]
            for file in self.files
            if file.startswith(below)
        }
        return sorted(inside) or None

    def identity(self, file: str) -> str:
        return file

    def port(self, service: str, protocol: str) -> int | None:
        return self.ports.get((service, protocol))

    def network(self, name: str) -> str | None:
        return self.networks.get(name)

    def wrapper_rules(self) -> tuple[str, ...]:
        return self.rules

    def has_key(self, key: str) -> bool:
        return key not in self.lacking

    def refusals(self, tables: Mapping[str, TomlTable]) -> Mapping[str, list[str]]:
        return {name: self.refused[name] for name in tables if name in self.refused}


class StrictMachine(FakeMachine):
    """A machine with this machine's netd, accounts and programs."""

    def has_key(self, key: str) -> bool:
        return ThisMachine().has_key(key)

    def refusals(self, tables: Mapping[str, TomlTable]) -> Mapping[str, list[str]]:
        return ThisMachine().refusals(tables)


@dataclass(frozen=True)
class Result:
    """An import, and what its text says to a TOML reader."""

    text: str
    problems: list[str]

    @property
    def services(self) -> dict[str, Any]:
        services: dict[str, Any] = tomllib.loads(self.text).get("services", {})
        return services

    @property
    def comments(self) -> str:
        """All comments in one line, however they were broken."""
        lines = (line for line in self.text.splitlines() if line.startswith("#"))
        return " ".join(" ".join(line.removeprefix("#").split()) for line in lines)


def import_files(machine: FakeMachine, *files: str) -> Result:
    """Import *files*, or all that the machine has."""
    found = imported(files or tuple(machine.files), machine)
    return Result(found.text, [str(problem) for problem in found.problems])


def import_text(text: str | bytes, machine: FakeMachine | None = None) -> Result:
    """Import one file, ``conf``."""
    machine = machine or FakeMachine()
    return import_files(replace(machine, files={**machine.files, "conf": text}), "conf")
