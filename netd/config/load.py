"""Files to a Configuration: includes, defaults, and everything that is wrong at once."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from netd.config.document import Document, dotted, read
from netd.config.messages import message
from netd.config.positions import Path
from netd.config.schema import (
    AccessTable,
    IncludedFile,
    MainFile,
    ServiceTable,
)
from netd.listening.description import resolved
from netd.values.address import Address, InetAddress
from netd.values.problem import ConfigurationError, Problem
from netd.values.service import Access, Configuration, Owner, Service

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

DEFAULTS: Final = "defaults"
SERVICES: Final = "services"


def load(file: str) -> Configuration:
    """Read *file* and what it includes. Raises ConfigurationError with every problem."""
    reading = _Reading(read(file))
    configuration = reading.configuration()
    if reading.problems:
        order = {document.file: number for number, document in enumerate(reading.documents)}
        raise ConfigurationError(
            sorted(set(reading.problems), key=lambda found: (order[found.file], found.line, found))
        )
    return configuration


@dataclass(frozen=True)
class _Written:
    """A service as a file has it."""

    document: Document
    name: str
    table: dict[str, Any]

    @property
    def path(self) -> Path:
        return SERVICES, self.name


class _Reading:
    """One reading of a configuration: collects problems instead of raising them."""

    def __init__(self, main: Document) -> None:
        self.documents = [main]
        self.problems: list[Problem] = []
        self._main = main
        self._places: dict[str, tuple[str, int]] = {}

    def configuration(self) -> Configuration:
        """Put everything together; what has a problem is left out."""
        main, defaults = self._main, self._defaults()
        table = self._validate(main, (), main.values, MainFile) or MainFile()
        assert isinstance(table, MainFile)
        self._include(table.include)
        services = list(self._services(defaults))
        self._check_together(services)
        return Configuration(
            file=main.file,
            services=tuple(service for service, _ in services),
            python_path=tuple(self._python_path(table.python_path)),
            graceful_timeout=table.daemon.graceful_timeout,
            places=self._places,
        )

    # Files.

    def _include(self, patterns: list[str]) -> None:
        for number, pattern in enumerate(patterns):
            files = sorted(glob.glob(os.path.join(os.path.dirname(self._main.file), pattern)))
            if not files and not glob.has_magic(pattern):
                self._problem(self._main, ("include", number), f'there is no file "{pattern}"')
            for file in files:
                self._read_included(file)

    def _read_included(self, file: str) -> None:
        try:
            document = read(file)
        except ConfigurationError as error:
            self.documents.append(Document(file, {}, {}))
            self.problems += error.problems
            return
        self.documents.append(document)
        self._validate(document, (), document.values, IncludedFile)

    def _python_path(self, directories: list[str]) -> Iterator[str]:
        for number, directory in enumerate(directories):
            path = os.path.normpath(os.path.join(self._main.directory, directory))
            if not os.path.isdir(path):
                self._problem(
                    self._main, ("python_path", number), f'there is no directory "{path}"'
                )
            yield path

    # Services.

    def _defaults(self) -> dict[str, Any]:
        """The defaults, checked by themselves; they may lack what a service must have."""
        table = self._main.values.get(DEFAULTS, {})
        if not isinstance(table, dict):
            return {}  # which the file's own check says
        self._validate(self._main, (DEFAULTS,), table, ServiceTable, whole=False)
        return table

    def _services(self, defaults: dict[str, Any]) -> Iterator[tuple[Service, _Written]]:
        """Every service that is enabled and has no problem of its own."""
        seen: dict[str, Document] = {}
        found = False
        for written in self._written():
            found = True
            if written.name in seen:
                where = seen[written.name]
                place = f"{where.file}:{where.line(written.path)}"
                self._problem(written.document, written.path, f"is also in {place}")
                continue
            seen[written.name] = written.document
            service = self._service(written, defaults)
            if service is not None:
                yield service, written
        if not found:
            text = "there is no service: add a table [services.NAME]"
            self._problem(self._main, (SERVICES,), text, line=1)

    def _written(self) -> Iterator[_Written]:
        for document in self.documents:
            services = document.values.get(SERVICES, {})
            for name, table in services.items() if isinstance(services, dict) else ():
                if isinstance(table, dict):
                    yield _Written(document, name, table)

    def _service(self, written: _Written, defaults: dict[str, Any]) -> Service | None:
        document, path = written.document, written.path
        if not _NAME.fullmatch(written.name):
            self._problem(document, path, "a service's name has letters, digits, and . _ - only")
        merged = _merged(defaults, written.table)
        before = len(self.problems)
        table = self._validate(document, path, merged, ServiceTable, written=written.table)
        self._remember(document, path, written.table)
        if table is None:
            return None
        assert isinstance(table, ServiceTable)
        listen = tuple(self._resolved(written, table.listen))
        owner = self._owner(written, table)
        if len(self.problems) > before or not table.enabled:
            return None
        return Service(
            name=written.name,
            listen=listen,
            handler=table.handler,
            worker=table.worker or written.name,
            threads=table.threads,
            backlog=table.backlog,
            datagram_size=table.datagram_size,
            owner=owner,
            access=_access(table.access),
            options=table.options,
        )

    def _resolved(self, written: _Written, addresses: list[Address]) -> Iterator[Address]:
        """The addresses with absolute paths; a path is relative to the file it stands in."""
        own = "listen" in written.table
        document = written.document if own else self._main
        for number, address in enumerate(addresses):
            try:
                yield resolved(address, document.directory)
            except ValueError as error:
                table = written.path if own else (DEFAULTS,)
                self._problem(document, (*table, "listen", number), str(error))

    def _owner(self, written: _Written, table: ServiceTable) -> Owner:
        uid = table.user.uid if table.user is not None else None
        primary = table.user.gid if table.user is not None else None
        gid = table.group if table.group is not None else primary
        if uid is not None and gid is None:
            text = f"user {uid} has no entry in the passwd file, so it needs a group"
            self._problem(written.document, (*written.path, "user"), text)
        return Owner(uid, gid)

    def _check_together(self, services: list[tuple[Service, _Written]]) -> None:
        """What is wrong with services only beside each other."""
        first_of: dict[str, Service] = {}
        taken: dict[object, Service] = {}
        for service, written in services:
            first = first_of.setdefault(service.worker, service)
            if first.owner != service.owner:
                text = f'shares worker "{service.worker}" with {first.name}, which has another user'
                self._problem(written.document, (*written.path, "worker"), text)
            for number, address in enumerate(service.listen):
                where = _where(address)
                if where in taken:
                    path = (*written.path, "listen", number)
                    text = f"{address} is listened on by services.{taken[where].name} already"
                    self._problem(written.document, path, text)
                elif where is not None:
                    taken[where] = service

    # Problems.

    def _validate(
        self,
        document: Document,
        path: Path,
        table: dict[str, Any],
        model: type[BaseModel],
        whole: bool = True,
        written: Mapping[str, Any] | None = None,
    ) -> BaseModel | None:
        """Check *table*, which stands at *path*; None when something is wrong with it.

        Without *whole*, keys may be missing. *written* is the part of the table that really
        stands there: what is wrong with the rest, the defaults, has been said once.
        """
        try:
            return model.model_validate(table)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                missing = detail["type"] == "missing"
                if missing and not whole:
                    continue
                if missing or written is None or _contains(written, detail["loc"]):
                    self._problem(document, (*path, *detail["loc"]), message(detail, model))
            return None

    def _problem(self, document: Document, path: Path, text: str, line: int | None = None) -> None:
        where = document.line(path) if line is None else line
        self.problems.append(Problem(document.file, where, dotted(path), text))

    def _remember(self, document: Document, path: Path, table: Mapping[str, Any]) -> None:
        """Keep the place of every key, for problems that only show when it is used."""
        self._places[dotted(path)] = document.file, document.line(path)
        for key, value in table.items():
            if isinstance(value, dict):
                self._remember(document, (*path, key), value)
            else:
                place = document.file, document.line((*path, key))
                self._places[dotted((*path, key))] = place


def _merged(defaults: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """*table* over *defaults*: tables merge, everything else replaces."""
    merged = dict(defaults)
    for key, value in table.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _contains(table: Any, path: tuple[int | str, ...]) -> bool:
    """Whether the key at *path* stands in *table*."""
    for key in path:
        if isinstance(table, list):
            return True
        if not isinstance(table, Mapping) or key not in table:
            return False
        table = table[str(key)]
    return True


def _access(table: AccessTable) -> Access:
    allow = None if table.allow is None else tuple(text for entry in table.allow for text in entry)
    return Access(
        allow=allow,
        deny=tuple(text for entry in table.deny for text in entry),
        verify_request=table.verify_request,
        verify_timeout=table.verify_timeout,
        dry_run=table.dry_run,
    )


def _where(address: Address) -> object:
    """What two addresses have in common that cannot both be bound; None for any free port."""
    if isinstance(address, InetAddress):
        if address.port == 0:
            return None
        return address.transport, address.host, address.port
    return address.path
