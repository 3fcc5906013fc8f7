"""Files to a Configuration: includes, defaults, and every problem in one run."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, get_args

from netd.config.admin import admin_socket
from netd.config.document import Document, TomlTable, TomlValue, read
from netd.config.environment import Umask, octal_text
from netd.config.findings import Findings, is_valid
from netd.config.positions import Path
from netd.config.rules import inconsistencies_between
from netd.config.schema import (
    DEFAULTS,
    INCLUDE,
    SERVICES,
    IncludedFile,
    LogTable,
    MainFile,
    ServiceTable,
)
from netd.config.service import ServiceReader, WrittenService
from netd.model.log import Log
from netd.model.problem import ConfigurationError, Problem
from netd.model.service import Configuration, Service

MERGED_KEYS: Final = (INCLUDE, DEFAULTS)
"""Keys of the main file that are about services. Loading merges them into the services, so the
effective configuration does not have them."""

_MAIN_ONLY: Final = MainFile.model_fields.keys() - IncludedFile.model_fields.keys()

_OCTAL_KEYS: Final = frozenset(
    key for key, field in ServiceTable.model_fields.items() if Umask in get_args(field.annotation)
)
"""The keys of a service whose values are octal."""


@dataclass(frozen=True)
class Loaded:
    """A configuration, and what was written to make it."""

    configuration: Configuration
    files: tuple[str, ...]
    """All files that were read, the main one first."""
    tables: TomlTable
    """What the files say, as one file without ``include`` and ``[defaults]`` would. Services that
    are not enabled are there, too. A path is relative to the file that its key stands in."""


def load(main: str | Document) -> Configuration:
    """Read the *main* file and what it includes. Raises ConfigurationError with every problem."""
    return loaded(main).configuration


def loaded(main: str | Document) -> Loaded:
    """Read as ``load`` does, and keep what is written."""
    reading = _Reading(read(main) if isinstance(main, str) else main)
    configuration = reading.configuration()
    files = tuple(document.file for document in reading.documents)
    problems = reading.findings.problems
    if problems:
        # In the order in which the files were read, which is the order people think in.
        order = {file: number for number, file in enumerate(files)}
        raise ConfigurationError(
            sorted(set(problems), key=lambda found: (order.get(found.file, 0), found.line, found))
        )
    return Loaded(configuration, files, reading.tables)


class _Reading:
    """One reading of a configuration."""

    def __init__(self, main: Document) -> None:
        self.documents = [main]
        self.findings = Findings()
        self.tables: TomlTable = {}
        self._main = main
        self._read = {os.path.realpath(main.file)}

    def configuration(self) -> Configuration:
        """Put everything together; what has a problem is left out."""
        table = self._main_file()
        values = self._main.values
        own = {key: values[key] for key in values if key not in (*MERGED_KEYS, SERVICES)}
        self.findings.locate(self._main, (), own, ())
        defaults = self._defaults()
        # Included files before the check for services, which they may have.
        self._include(table.include)
        self._check_presence()
        reader = ServiceReader(self._main, defaults, self.findings)
        services = list(self._services(reader))
        self._check_together(services)
        merged: TomlTable = dict(reader.tables)
        self.tables = {**own, SERVICES: merged}
        return Configuration(
            file=self._main.file,
            services=tuple(service for service, _ in services),
            python_path=tuple(self._python_path(table.python_path)),
            disabled=frozenset(reader.disabled),
            drain_delay=table.daemon.drain_delay,
            admin_socket=admin_socket(self._main.file, table.admin.socket),
            graceful_timeout=table.daemon.graceful_timeout,
            log=self._log(table.log),
            notes=tuple(dict.fromkeys(self.findings.notes)),
            locations=MappingProxyType(self.findings.locations),
        )

    # Files.

    def _main_file(self) -> MainFile:
        """Validate the main file. A key with a problem counts as missing."""
        values = self._main.values
        table = self.findings.validate(self._main, (), values, MainFile)
        if table is not None:
            return table
        # Go on with the keys that are valid, so that their problems are found in this run, too.
        sound = {key: values[key] for key in values if is_valid({key: values[key]}, MainFile)}
        return MainFile.model_validate(sound)

    def _defaults(self) -> TomlTable:
        """Return ``[defaults]``, validated as a service of which no key is required."""
        table = self._main.values.get(DEFAULTS)
        if not isinstance(table, dict):
            return {}  # missing, or a problem that ``_main_file`` has reported
        defaults = _with_octal_texts(self._main, (DEFAULTS,), table)
        self.findings.validate(self._main, (DEFAULTS,), defaults, ServiceTable, whole=False)
        return defaults

    def _include(self, patterns: list[str]) -> None:
        directory = os.path.dirname(self._main.file)
        for number, pattern in enumerate(patterns):
            # Sorted, because glob returns the directory's order, which differs between machines.
            files = sorted(glob.glob(pattern, root_dir=directory or None))
            if not files and not glob.has_magic(pattern):
                text = f"there is no file {os.path.join(directory, pattern)}"
                self.findings.problem(
                    self._main, (INCLUDE, number), f"{text}; only a wildcard may match none"
                )
            for file in files:
                self._read_included(os.path.join(directory, file))

    def _read_included(self, file: str) -> None:
        # Patterns may overlap, and "*.toml" also matches the file that it stands in.
        real = os.path.realpath(file)
        if real in self._read:
            return
        self._read.add(real)
        try:
            document = read(file)
        except ConfigurationError as error:
            # An empty document keeps the file in the order in which problems are sorted.
            self.documents.append(Document(file, {}, {}, frozenset()))
            self.findings.problems += error.problems
            return
        self.documents.append(document)
        for key in document.values.keys() & _MAIN_ONLY:
            text = f"goes into {self._main.file}: an included file has tables [services.NAME] only"
            self.findings.problem(document, (key,), text)
        own = {key: value for key, value in document.values.items() if key not in _MAIN_ONLY}
        self.findings.validate(document, (), own, IncludedFile)

    def _python_path(self, directories: list[str]) -> Iterator[str]:
        for number, directory in enumerate(directories):
            path = os.path.normpath(os.path.join(self._main.directory, directory))
            if not os.path.isdir(path):
                text = f"there is no directory {path}: make it, or name another"
                self.findings.problem(self._main, ("python_path", number), text)
            yield path

    def _log(self, table: LogTable) -> Log:
        file = table.file
        if file is not None and table.format in ("journald", "syslog"):
            text = f'has no effect with format = "{table.format}": leave out one of the two'
            self.findings.problem(self._main, ("log", "file"), text)
        if file is not None:
            file = os.path.normpath(os.path.join(self._main.directory, file))
        return Log(table.format, table.level, table.connections, file)

    def _check_presence(self) -> None:
        """Report that there is no service, unless the file with the services may be broken."""
        if any(document.values.get(SERVICES, {}) != {} for document in self.documents):
            return
        if not (self.findings.problems and INCLUDE in self._main.values):
            text = "there is no service: add a table [services.NAME]"
            self.findings.problems.append(Problem(self._main.file, 1, SERVICES, text))

    # Services.

    def _services(self, reader: ServiceReader) -> Iterator[tuple[Service, WrittenService]]:
        """Yield every service that is enabled and has no problem of its own."""
        first_of: dict[str, WrittenService] = {}
        for written in self._written():
            service = reader.read(written)
            # The first one is kept, so that the message is at the second one, the later addition.
            first = first_of.setdefault(written.name, written)
            if first is not written:
                text = f"is also in {first.location}: give one of them another name"
                self.findings.problem(written.document, written.path, text)
            elif service is not None:
                yield service, written

    def _written(self) -> Iterator[WrittenService]:
        for document in self.documents:
            services = document.values.get(SERVICES, {})
            for name, table in services.items() if isinstance(services, dict) else ():
                if isinstance(table, dict):
                    table = _with_octal_texts(document, (SERVICES, name), table)
                    yield WrittenService(document, name, table)

    def _check_together(self, services: list[tuple[Service, WrittenService]]) -> None:
        """Report what does not go together between services."""
        of = {service.name: written for service, written in services}
        for name, keys, text in inconsistencies_between([service for service, _ in services]):
            self.findings.problem(of[name].document, (*of[name].path, *keys), text)


def _with_octal_texts(document: Document, path: Path, table: TomlTable) -> TomlTable:
    """Return *table*, which stands at *path*, with texts instead of its octal numbers.

    An integer does not show how it was written. This must happen before the defaults are merged
    into a table of another file, since only ``document`` knows which of its numbers are octal.
    """
    octal = {key for key in _OCTAL_KEYS & table.keys() if (*path, key) in document.octal}
    return {key: _octal(value) if key in octal else value for key, value in table.items()}


def _octal(value: TomlValue) -> TomlValue:
    return octal_text(value) if isinstance(value, int) else value
