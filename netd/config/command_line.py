"""A configuration without a file: one service, from ``--handler`` and ``--listen``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netd.config.document import Document, TomlTable
from netd.config.load import load
from netd.config.reading import check_name
from netd.model.problem import ConfigurationError, Location, Problem
from netd.model.service import Configuration


def configuration(handler: str | None, listen: Iterable[str], directory: str) -> Configuration:
    """The configuration of one service that runs *handler* and listens on *listen*.

    The service has the name of the handler's class. Modules and relative paths are looked up in
    *directory*, which is absolute. Raises ConfigurationError with every problem, located at
    ``--handler`` or ``--listen``.
    """
    if handler is None:
        text = 'is required beside --listen: the class to serve, "module:Class"'
        raise ConfigurationError([Problem("--handler", 0, "", text)])
    service: TomlTable = {"handler": handler}
    if addresses := list(listen):
        service["listen"] = [*addresses]
    values: TomlTable = {"python_path": ["."], "services": {_name(handler): service}}
    return load(_CommandLine("--handler", values, {}, frozenset(), directory))


@dataclass(frozen=True)
class _CommandLine(Document):
    """What the options of the command line say, in the place of a file."""

    current: str

    @property
    def directory(self) -> str:
        return self.current

    def location(self, path: Iterable[int | str]) -> Location:
        _, _, key, *_ = (*path, "", "", "")
        return "--listen" if key == "listen" else "--handler", 0


def _name(handler: str) -> str:
    try:
        return check_name(handler.rpartition(":")[2])
    except ValueError:
        return "handler"
