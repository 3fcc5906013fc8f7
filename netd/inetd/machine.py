"""What an import asks of the machine it runs on: its files, and what names mean there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Protocol

_NETWORKS: Final = "/etc/networks"
_WRAPPERS: Final = ("/etc/hosts.allow", "/etc/hosts.deny")


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


def _rules(file: str) -> Iterator[list[str]]:
    """The words of each line of a file that says something; none when it cannot be read."""
    with suppress(OSError), open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.partition("#")[0].split()
            if words:
                yield words
