"""Files to a Configuration: includes, defaults, and everything that is wrong at once."""

from __future__ import annotations

import copy
import glob
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from netd.config.admin import admin_socket
from netd.config.document import Document, dotted, read
from netd.config.environment import Limits, Umask, octal_text
from netd.config.messages import message
from netd.config.positions import Path
from netd.config.rules import (
    RUN_KEYS,
    Inconsistency,
    certificate_inconsistencies,
    inconsistencies_between,
    run_inconsistencies,
    socket_inconsistencies,
    tls_inconsistencies,
)
from netd.config.schema import (
    AccessTable,
    IncludedFile,
    LimitsTable,
    LogTable,
    MainFile,
    ServiceTable,
    TlsTable,
)
from netd.config.socket_options import in_effect
from netd.config.text import quoted
from netd.config.types import check_name
from netd.listening.description import resolved
from netd.model.address import Address
from netd.model.environment import ExecutionEnvironment, Limit
from netd.model.log import Log
from netd.model.problem import ConfigurationError, Place, Problem
from netd.model.service import (
    Access,
    Configuration,
    Owner,
    Plugin,
    Program,
    Runs,
    Service,
    Wanted,
)
from netd.model.tls import Tls

DEFAULTS: Final = "defaults"
INCLUDE: Final = "include"
SERVICES: Final = "services"

TLS: Final = "tls"

IDENTITY_KEYS: Final = frozenset({"certificate", "private_key", "self_signed"})
"""The keys of ``[tls]`` that say who a service is: all of them are its own, or none."""

PUT_IN_PLACE: Final = (INCLUDE, DEFAULTS)
"""Keys of the main file that are about services, and done with when these are put together."""

_MAIN_ONLY: Final = MainFile.model_fields.keys() - IncludedFile.model_fields.keys()

_OCTAL_KEYS: Final = frozenset(
    key for key, field in ServiceTable.model_fields.items() if Umask in get_args(field.annotation)
)
"""The keys of a service that are octal."""

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Loaded:
    """A configuration, and what was written to make it."""

    configuration: Configuration
    files: tuple[str, ...]
    """All that were read, the main one first."""
    tables: Mapping[str, Any]
    """What they say, as one file would that includes nothing and has no ``[defaults]``; services
    that are not enabled are there, too. A path is relative to the file that the key stands in."""


def load(main: str | Document) -> Configuration:
    """Read the *main* file and what it includes. Raises ConfigurationError with every problem."""
    return loaded(main).configuration


def loaded(main: str | Document) -> Loaded:
    """Read as ``load`` does, and keep what is written."""
    reading = _Reading(read(main) if isinstance(main, str) else main)
    configuration = reading.configuration()
    files = tuple(document.file for document in reading.documents)
    if reading.problems:
        order = {file: number for number, file in enumerate(files)}
        raise ConfigurationError(
            sorted(
                set(reading.problems),
                key=lambda found: (order.get(found.file, 0), found.line, found),
            )
        )
    return Loaded(configuration, files, reading.tables)


@dataclass(frozen=True)
class _Written:
    """A service as a file has it."""

    document: Document
    name: str
    table: dict[str, Any]

    @property
    def path(self) -> Path:
        return SERVICES, self.name

    @property
    def place(self) -> str:
        file, line = self.document.place(self.path)
        return f"{file}:{line}"


class _Reading:
    """One reading of a configuration: collects problems instead of raising them."""

    def __init__(self, main: Document) -> None:
        self.documents = [main]
        self.problems: list[Problem] = []
        self._notes: list[Problem] = []
        self._main = main
        self._defaults: dict[str, Any] = {}
        self._read = {os.path.realpath(main.file)}
        self._places: dict[str, Place] = {}
        self._disabled: set[str] = set()
        self.tables: dict[str, Any] = {}

    def configuration(self) -> Configuration:
        """Put everything together; what has a problem is left out."""
        table = self._main_file()
        said = self._main.values
        own = {key: said[key] for key in said if key not in (*PUT_IN_PLACE, SERVICES)}
        self._remember(self._main, (), own, ())
        self.tables = {**own, SERVICES: {}}
        self._defaults = _with_octal_texts(self._main, (DEFAULTS,), table.defaults)
        self._validate(self._main, (DEFAULTS,), self._defaults, ServiceTable, whole=False)
        self._include(table.include)
        self._check_presence()
        services = list(self._services())
        self._check_together(services)
        return Configuration(
            file=self._main.file,
            services=tuple(service for service, _ in services),
            python_path=tuple(self._python_path(table.python_path)),
            disabled=frozenset(self._disabled),
            drain_delay=table.daemon.drain_delay,
            admin_socket=admin_socket(self._main.file, table.admin.socket),
            graceful_timeout=table.daemon.graceful_timeout,
            log=self._log(table.log),
            notes=tuple(dict.fromkeys(self._notes)),
            places=MappingProxyType(self._places),
        )

    # Files.

    def _main_file(self) -> MainFile:
        """What the file says for itself; a key with a problem, as if it were not there."""
        values = self._main.values
        table = self._validate(self._main, (), values, MainFile)
        if table is not None:
            return table
        sound = {key: values[key] for key in values if _is_valid({key: values[key]}, MainFile)}
        return MainFile.model_validate(sound)

    def _include(self, patterns: list[str]) -> None:
        directory = os.path.dirname(self._main.file)
        for number, pattern in enumerate(patterns):
            files = sorted(glob.glob(pattern, root_dir=directory or None))
            if not files and not glob.has_magic(pattern):
                text = f"there is no file {os.path.join(directory, pattern)}"
                self._problem(
                    self._main, (INCLUDE, number), f"{text}; only a wildcard may match none"
                )
            for file in files:
                self._read_included(os.path.join(directory, file))

    def _read_included(self, file: str) -> None:
        # Patterns may overlap, and "*.toml" matches the file that it stands in, too.
        real = os.path.realpath(file)
        if real in self._read:
            return
        self._read.add(real)
        try:
            document = read(file)
        except ConfigurationError as error:
            self.documents.append(Document(file, {}, {}, frozenset()))
            self.problems += error.problems
            return
        self.documents.append(document)
        for key in document.values.keys() & _MAIN_ONLY:
            text = f"goes into {self._main.file}: an included file has tables [services.NAME] only"
            self._problem(document, (key,), text)
        own = {key: value for key, value in document.values.items() if key not in _MAIN_ONLY}
        self._validate(document, (), own, IncludedFile)

    def _python_path(self, directories: list[str]) -> Iterator[str]:
        for number, directory in enumerate(directories):
            path = os.path.normpath(os.path.join(self._main.directory, directory))
            if not os.path.isdir(path):
                text = f"there is no directory {path}: make it, or name another"
                self._problem(self._main, ("python_path", number), text)
            yield path

    def _log(self, table: LogTable) -> Log:
        file = table.file
        if file is not None and table.format in ("journald", "syslog"):
            text = f'there is no file in the format "{table.format}": leave out one of the two'
            self._problem(self._main, ("log", "file"), text)
        if file is not None:
            file = os.path.normpath(os.path.join(self._main.directory, file))
        return Log(table.format, table.level, table.connections, file)

    def _check_presence(self) -> None:
        """Say that there is no service, unless something is wrong with where they would be."""
        if any(document.values.get(SERVICES, {}) != {} for document in self.documents):
            return
        if not (self.problems and INCLUDE in self._main.values):
            text = "there is no service: add a table [services.NAME]"
            self.problems.append(Problem(self._main.file, 1, SERVICES, text))

    # Services.

    def _services(self) -> Iterator[tuple[Service, _Written]]:
        """Every service that is enabled and has no problem of its own."""
        first_of: dict[str, _Written] = {}
        for written in self._written():
            service = self._service(written)
            first = first_of.setdefault(written.name, written)
            if first is not written:
                text = f"is also in {first.place}: give one of them another name"
                self._problem(written.document, written.path, text)
            elif service is not None:
                yield service, written

    def _written(self) -> Iterator[_Written]:
        for document in self.documents:
            services = document.values.get(SERVICES, {})
            for name, table in services.items() if isinstance(services, dict) else ():
                if isinstance(table, dict):
                    table = _with_octal_texts(document, (SERVICES, name), table)
                    yield _Written(document, name, table)

    def _service(self, written: _Written) -> Service | None:
        document, path = written.document, written.path
        before = len(self.problems)
        self._check_name(written)
        merged = _merged(self._defaults_for(written.table), written.table)
        self._say(written, run_inconsistencies(written.table, merged))
        table = self._validate(document, path, merged, ServiceTable, written=written.table)
        self._remember(self._main, (DEFAULTS,), self._defaults, path)
        self._remember(document, path, written.table, path)
        self.tables[SERVICES][written.name] = merged
        if table is None:
            return None
        listen = tuple(self._resolved(written, table.listen or []))
        runs = self._runs(written, table)
        owner = self._owner(written, table)
        environment = self._environment(written, table)
        self._say(written, socket_inconsistencies(written.table.get("socket", {}), table, listen))
        tls = self._tls(written, table.tls)
        if len(self.problems) == before:
            self._say(written, tls_inconsistencies(TLS in written.table, tls, listen, runs))
            self._say(written, certificate_inconsistencies(tls, table.access))
        if len(self.problems) > before or runs is None:
            return None
        if not table.enabled:
            self._disabled.add(written.name)
            return None
        return Service(
            name=written.name,
            listen=listen,
            runs=runs,
            worker=table.worker or written.name,
            own=_wanted(table, written.table.keys()),
            defaults=_wanted(table, self._defaults.keys() - written.table.keys()),
            max_requests=table.max_requests,
            max_memory=table.max_memory,
            handler_timeout=table.handler_timeout,
            owner=owner,
            environment=environment,
            access=_access(table.access),
            tls=tls,
            proxies=tuple(text for entry in table.proxy_protocol.from_ for text in entry),
            handshakes=table.limits.handshakes,
            amplification=table.limits.amplification,
            socket=in_effect(table.socket),
            written=frozenset(written.table),
            # Services that share a worker must not share what they only have from the defaults.
            options=copy.deepcopy(table.options),
        )

    def _defaults_for(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults of a service: what it runs is its own, or all of theirs, and so is who it is
        to TLS clients."""
        without = set() if table.keys().isdisjoint(RUN_KEYS) else set(RUN_KEYS)
        if "plugin" in table or "plugin" in self._defaults.keys() - without:
            without.add("listen")  # which it does for itself
        defaults = {key: value for key, value in self._defaults.items() if key not in without}
        usual, own = defaults.get(TLS), table.get(TLS)
        if isinstance(usual, dict) and isinstance(own, dict) and not IDENTITY_KEYS.isdisjoint(own):
            defaults[TLS] = {key: usual[key] for key in usual if key not in IDENTITY_KEYS}
        return defaults

    def _runs(self, written: _Written, table: ServiceTable) -> Runs | Program | Plugin | None:
        """What the service runs; None, with a problem, if that is nothing that is there."""
        if table.program is not None:
            return self._program(written, table.program, table.wait)
        if table.plugin is not None:
            return Plugin(table.plugin, tuple(table.arguments))
        if table.server is not None:
            return Runs("server", table.server, table.handler)
        if table.protocol is not None:
            return Runs("protocol", table.protocol)
        return Runs("handler", table.handler) if table.handler is not None else None

    def _program(self, written: _Written, arguments: list[str], wait: bool) -> Program | None:
        """Find a program: by its path, relative to its file, or by its name in PATH."""
        document, path = self._place(written, "program")
        name = arguments[0]
        if os.sep in name:
            found: str | None = os.path.normpath(os.path.join(document.directory, name))
        else:
            found = shutil.which(name)
        if found is None or not os.path.isfile(found):
            where = found or f"{quoted(name)} in PATH ({os.environ.get('PATH', os.defpath)})"
            self._problem(document, path, f"there is no program {where}")
            return None
        return Program(os.path.abspath(found), tuple(arguments), wait)

    def _check_name(self, written: _Written) -> None:
        try:
            check_name(written.name)
        except ValueError as error:
            self._problem(written.document, written.path, str(error))

    def _place(self, written: _Written, *keys: str | int) -> tuple[Document, Path]:
        """Where a service has a key from, or one of a table in it: its own, or the defaults."""
        if _contains(written.table, keys) or not _contains(self._defaults, keys):
            return written.document, (*written.path, *keys)
        return self._main, (DEFAULTS, *keys)

    def _resolved(self, written: _Written, addresses: list[Address]) -> Iterator[Address]:
        """The addresses with absolute paths; a path is relative to the file it stands in."""
        document, path = self._place(written, "listen")
        for number, address in enumerate(addresses):
            try:
                yield resolved(address, document.directory)
            except ValueError as error:
                self._problem(document, (*path, number), str(error))

    def _owner(self, written: _Written, table: ServiceTable) -> Owner:
        uid = table.user.uid if table.user is not None else None
        primary = table.user.gid if table.user is not None else None
        gid = table.group if table.group is not None else primary
        if uid is not None and gid is None:
            text = f"user {uid} has no entry in the passwd file, so it needs a group beside it"
            self._problem(*self._place(written, "user"), text)
        return Owner(uid, gid)

    def _environment(self, written: _Written, table: ServiceTable) -> ExecutionEnvironment:
        directory = table.working_directory
        if directory is not None:
            document, path = self._place(written, "working_directory")
            directory = os.path.normpath(os.path.join(document.directory, directory))
            if not os.path.isdir(directory):
                text = f"there is no directory {directory}: make it, or name another"
                self._problem(document, path, text)
        return ExecutionEnvironment(
            umask=table.umask,
            nice=table.nice,
            working_directory=directory,
            variables=tuple(sorted(table.environment.items())),
            limits=tuple(_limits(table.rlimits)),
        )

    # TLS.

    def _tls(self, written: _Written, table: TlsTable) -> Tls | None:
        """What a service's ``[tls]`` comes to, with its files; None if it names no certificate."""
        if not table.model_fields_set:
            return None
        # Most configurations need nothing of it, and it takes a twentieth of a second.
        from netd.config.tls import TlsReading

        place = _TlsLocation(partial(self._place, written, TLS), self._problem, self._note)
        return TlsReading(table, place, datetime.now(UTC)).tls()

    # Problems.

    def _say(self, written: _Written, inconsistencies: Iterable[Inconsistency]) -> None:
        """Say what does not go together in a service, where its keys are from."""
        for keys, text in inconsistencies:
            self._problem(*self._place(written, *keys), text)

    def _check_together(self, services: list[tuple[Service, _Written]]) -> None:
        """See that services go together."""
        of = {service.name: written for service, written in services}
        for name, keys, text in inconsistencies_between([service for service, _ in services]):
            self._problem(of[name].document, (*of[name].path, *keys), text)

    def _validate(
        self,
        document: Document,
        path: Path,
        table: dict[str, Any],
        model: type[_Model],
        whole: bool = True,
        written: Mapping[str, Any] | None = None,
    ) -> _Model | None:
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

    def _problem(self, document: Document, path: Path, text: str) -> None:
        self.problems.append(document.problem(path, text))

    def _note(self, document: Document, path: Path, text: str) -> None:
        self._notes.append(document.problem(path, text))

    def _remember(
        self, document: Document, path: Path, table: Mapping[str, Any], key: Path
    ) -> None:
        """Keep the place of *table*, which stands at *path*, and of all in it, under *key*.

        For problems that only show when it is used, and for who asks where a value is from.
        """
        self._places[dotted(key)] = document.place(path)
        for name, value in table.items():
            if isinstance(value, dict):
                self._remember(document, (*path, name), value, (*key, name))
            else:
                self._places[dotted((*key, name))] = document.place((*path, name))


@dataclass(frozen=True)
class _TlsLocation:
    """Where a service has its ``[tls]`` from, key by key (``netd.config.tls.Place``)."""

    place: Callable[..., tuple[Document, Path]]
    say_problem: Callable[[Document, Path, str], None]
    say_note: Callable[[Document, Path, str], None]

    def path(self, keys: tuple[str, ...], text: str) -> str:
        document, _ = self.place(*keys)
        return os.path.normpath(os.path.join(document.directory, text))

    def problem(self, keys: tuple[str, ...], message: str) -> None:
        self.say_problem(*self.place(*keys), message)

    def note(self, keys: tuple[str, ...], message: str) -> None:
        self.say_note(*self.place(*keys), message)


def _is_valid(table: Mapping[str, Any], model: type[BaseModel]) -> bool:
    try:
        model.model_validate(table)
    except ValidationError:
        return False
    return True


def _with_octal_texts(document: Document, path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """*table*, which stands at *path*, with texts for the octal numbers of keys that are octal.

    An integer does not show how it was written, and the defaults of one file may be merged into a
    table of another. So what is written is asked here, where the file is still known.
    """
    written = {key for key in _OCTAL_KEYS & table.keys() if (*path, key) in document.octal}
    return {key: octal_text(value) if key in written else value for key, value in table.items()}


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


def _limits(table: LimitsTable) -> Iterator[Limit]:
    """The limits that are set, by name."""
    for field in sorted(LimitsTable.model_fields):
        limits: Limits | None = getattr(table, field)
        if limits is not None:
            yield Limit(field.rstrip("_"), limits.soft, limits.hard)


def _wanted(table: ServiceTable, keys: Collection[str]) -> Wanted:
    """What *table* says of how the service is run, as far as it has that from *keys*."""
    said = {field.name for field in fields(Wanted)} & set(keys)
    return Wanted(**{name: getattr(table, name) for name in said})
