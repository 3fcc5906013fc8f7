"""From the table of one service, with ``[defaults]`` under it, to a frozen ``Service``."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final

from netd.config.document import Document, TomlTable
from netd.config.environment import Limits
from netd.config.findings import Findings, contains
from netd.config.positions import Path
from netd.config.reading import check_name
from netd.config.rules import (
    RUN_KEYS,
    Inconsistency,
    certificate_inconsistencies,
    run_inconsistencies,
    socket_inconsistencies,
    tls_inconsistencies,
)
from netd.config.schema import DEFAULTS, SERVICES, AccessTable, LimitsTable, ServiceTable, TlsTable
from netd.config.socket_options import in_effect
from netd.config.text import quoted
from netd.listening.description import resolved
from netd.model.address import Address
from netd.model.environment import ExecutionEnvironment, Limit
from netd.model.service import Access, Owner, Plugin, Program, Requested, Runs, Service
from netd.model.tls import Tls

TLS: Final = "tls"

IDENTITY_KEYS: Final = frozenset({"certificate", "private_key", "self_signed"})
"""The keys of ``[tls]`` that make up a service's identity. A service that sets one of them inherits
none of the others: a certificate of its own with the key of ``[defaults]`` would be a mismatch."""


@dataclass(frozen=True)
class WrittenService:
    """The table of a service as a file has it, without ``[defaults]``."""

    document: Document
    name: str
    table: TomlTable

    @property
    def path(self) -> Path:
        """Where the table stands in its file."""
        return SERVICES, self.name

    @property
    def location(self) -> str:
        """The same for a message: ``FILE:LINE``."""
        file, line = self.document.location(self.path)
        return f"{file}:{line}"


class ServiceReader:
    """Reads services one after another; ``read`` reports problems to *findings*.

    *defaults* is ``[defaults]`` of the file *main*, where its problems are reported.
    """

    def __init__(self, main: Document, defaults: TomlTable, findings: Findings) -> None:
        self._main = main
        self._defaults = defaults
        self.findings = findings
        self.tables: dict[str, TomlTable] = {}
        """The table of each service that was read, with ``[defaults]`` under it."""
        self.disabled: set[str] = set()
        """The services that were read and have ``enabled = false``."""

    def read(self, written: WrittenService) -> Service | None:
        """Return the service; None if it is not enabled, or has a problem of its own."""
        document, path = written.document, written.path
        before = len(self.findings.problems)
        self._check_name(written)
        merged = _merged(self._defaults_for(written.table), written.table)
        self.tables[written.name] = merged
        self._report(written, run_inconsistencies(written.table, merged))
        table = self.findings.validate(document, path, merged, ServiceTable, written=written.table)
        # The service's own keys last: where both have a key, its own one is in effect.
        self.findings.locate(self._main, (DEFAULTS,), self._defaults, path)
        self.findings.locate(document, path, written.table, path)
        if table is None:
            return None
        service = self._service(written, table, before)
        if service is None or len(self.findings.problems) > before:
            return None
        # Only here: a service that is not enabled is checked like any other.
        if not table.enabled:
            self.disabled.add(written.name)
            return None
        return service

    def _service(self, written: WrittenService, table: ServiceTable, before: int) -> Service | None:
        """Put the frozen values together. *before* is the number of problems of earlier ones."""
        listen = tuple(self._resolved(written, table.listen or []))
        runs = self._runs(written, table)
        owner = self._owner(written, table)
        environment = self._environment(written, table)
        own_options = written.table.get("socket")
        self._report(
            written,
            socket_inconsistencies(
                own_options.keys() if isinstance(own_options, dict) else (), table, listen
            ),
        )
        tls = self._tls(written, table.tls)
        # Follow-up problems of a broken part would only distract from it.
        if len(self.findings.problems) == before:
            self._report(written, tls_inconsistencies(TLS in written.table, tls, listen, runs))
            self._report(written, certificate_inconsistencies(tls, table.access))
        if runs is None:
            return None
        return Service(
            name=written.name,
            listen=listen,
            runs=runs,
            worker=table.worker or written.name,
            own=_requested(table, written.table.keys()),
            defaults=_requested(table, self._defaults.keys() - written.table.keys()),
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
            # Services in one worker share its memory, but must not share a mutable default.
            options=copy.deepcopy(table.options),
        )

    # The table.

    def _check_name(self, written: WrittenService) -> None:
        try:
            check_name(written.name)
        except ValueError as error:
            self.findings.problem(written.document, written.path, str(error))

    def _defaults_for(self, table: TomlTable) -> TomlTable:
        """Return the defaults that hold for a service with *table*.

        What a service runs, and its TLS identity, each come as a whole: from the service or from
        ``[defaults]``, never partly from both.
        """
        without = set() if table.keys().isdisjoint(RUN_KEYS) else set(RUN_KEYS)
        if "plugin" in table or "plugin" in self._defaults.keys() - without:
            without.add("listen")  # a plugin binds by itself
        defaults = {key: value for key, value in self._defaults.items() if key not in without}
        usual, own = defaults.get(TLS), table.get(TLS)
        if isinstance(usual, dict) and isinstance(own, dict) and not IDENTITY_KEYS.isdisjoint(own):
            defaults[TLS] = {key: usual[key] for key in usual if key not in IDENTITY_KEYS}
        return defaults

    def where(self, written: WrittenService, *keys: str | int) -> tuple[Document, Path]:
        """Return where a key of the service is written: in its own table, or in ``[defaults]``."""
        if contains(written.table, keys) or not contains(self._defaults, keys):
            return written.document, (*written.path, *keys)
        return self._main, (DEFAULTS, *keys)

    def _report(self, written: WrittenService, inconsistencies: Iterable[Inconsistency]) -> None:
        """Report what does not go together in a service, where its keys are written."""
        for keys, text in inconsistencies:
            self.findings.problem(*self.where(written, *keys), text)

    # Its values.

    def _runs(self, written: WrittenService, table: ServiceTable) -> Runs | Program | Plugin | None:
        """Return what the service runs; None, with a problem, if that does not exist."""
        if table.program is not None:
            return self._program(written, table.program, table.wait)
        if table.plugin is not None:
            return Plugin(table.plugin, tuple(table.arguments))
        if table.server is not None:
            return Runs("server", table.server, table.handler)
        if table.protocol is not None:
            return Runs("protocol", table.protocol)
        return Runs("handler", table.handler) if table.handler is not None else None

    def _program(self, written: WrittenService, arguments: list[str], wait: bool) -> Program | None:
        """Find a program: by its path, relative to its file, or by its name in PATH."""
        document, path = self.where(written, "program")
        name = arguments[0]
        if os.sep in name:
            found: str | None = os.path.normpath(os.path.join(document.directory, name))
        else:
            found = shutil.which(name)
        if found is None or not os.path.isfile(found):
            where = found or f"{quoted(name)} in PATH ({os.environ.get('PATH', os.defpath)})"
            self.findings.problem(document, path, f"there is no program {where}")
            return None
        return Program(os.path.abspath(found), tuple(arguments), wait)

    def _resolved(self, written: WrittenService, addresses: list[Address]) -> Iterator[Address]:
        """Yield the addresses with absolute paths; a path is relative to the file it stands in."""
        document, path = self.where(written, "listen")
        for number, address in enumerate(addresses):
            try:
                yield resolved(address, document.directory)
            except ValueError as error:
                self.findings.problem(document, (*path, number), str(error))

    def _owner(self, written: WrittenService, table: ServiceTable) -> Owner:
        uid = table.user.uid if table.user is not None else None
        primary = table.user.gid if table.user is not None else None
        gid = table.group if table.group is not None else primary
        # Without a group the worker would keep the daemon's, which is root's.
        if uid is not None and gid is None:
            text = f"user {uid} has no entry in the passwd file, so it needs a group beside it"
            self.findings.problem(*self.where(written, "user"), text)
        return Owner(uid, gid)

    def _environment(self, written: WrittenService, table: ServiceTable) -> ExecutionEnvironment:
        directory = table.working_directory
        if directory is not None:
            document, path = self.where(written, "working_directory")
            directory = os.path.normpath(os.path.join(document.directory, directory))
            if not os.path.isdir(directory):
                text = f"there is no directory {directory}: make it, or name another"
                self.findings.problem(document, path, text)
        return ExecutionEnvironment(
            umask=table.umask,
            nice=table.nice,
            working_directory=directory,
            variables=tuple(sorted(table.environment.items())),
            limits=tuple(_limits(table.rlimits)),
        )

    def _tls(self, written: WrittenService, table: TlsTable) -> Tls | None:
        """Read a service's ``[tls]`` and its files; return None if it names no certificate."""
        if not table.model_fields_set:
            return None
        # Imported here: most configurations have no TLS, and OpenSSL takes 50 ms to import.
        from netd.config.tls import TlsReading

        return TlsReading(table, _TlsSource(self, written), datetime.now(UTC)).tls()


@dataclass(frozen=True)
class _TlsSource:
    """Where ``[tls]`` of one service is written, key by key (``netd.config.tls.TlsSource``).

    One key may stand in the service's own table, and the next one in ``[defaults]``.
    """

    reader: ServiceReader
    written: WrittenService

    def path(self, keys: tuple[str, ...], text: str) -> str:
        document, _ = self._where(keys)
        return os.path.normpath(os.path.join(document.directory, text))

    def problem(self, keys: tuple[str, ...], message: str) -> None:
        self.reader.findings.problem(*self._where(keys), message)

    def note(self, keys: tuple[str, ...], message: str) -> None:
        self.reader.findings.note(*self._where(keys), message)

    def _where(self, keys: tuple[str, ...]) -> tuple[Document, Path]:
        return self.reader.where(self.written, TLS, *keys)


def _merged(defaults: TomlTable, table: TomlTable) -> TomlTable:
    """Return *table* over *defaults*: tables merge key by key, everything else is replaced."""
    merged = dict(defaults)
    for key, value in table.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


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
    """Yield the limits that are set, in the order of their names."""
    for field in sorted(LimitsTable.model_fields):
        limits: Limits | None = getattr(table, field)
        if limits is not None:
            yield Limit(field.rstrip("_"), limits.soft, limits.hard)


def _requested(table: ServiceTable, keys: Collection[str]) -> Requested:
    """Return what *table* says about execution in those of its keys that are in *keys*."""
    said = {field.name for field in fields(Requested)} & set(keys)
    return Requested(**{name: getattr(table, name) for name in said})
