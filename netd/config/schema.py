"""The shape of a configuration file: its tables, their keys, types and defaults (pydantic).

Only the shape of one file: what files say together is put together in ``load``.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
)

from netd.admission.entries import canonical
from netd.config.environment import (
    CountLimit,
    Nice,
    SecondsLimit,
    SizeLimit,
    TimeLimit,
    Umask,
    Variables,
)
from netd.config.text import quoted, shown
from netd.handlers.registry import UnknownName, find
from netd.listening.description import parse
from netd.values import units
from netd.values.address import Address
from netd.values.log import Format, Level
from netd.values.service import Owner, Reference

_REFERENCE: Final = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")

LONGEST_NAME: Final = 100
"""Characters of a name: it is part of a process's arguments, and of what memfd_create(2) takes."""

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}")

LARGEST_ID: Final = 2**32 - 2
"""Of a user or a group; the number after it is -1, which chown(2) reads as "leave it"."""

MOST_THREADS: Final = 10_000
"""Threads of a service: each has a slot of the scoreboard and, when it runs, a stack."""

MOST_PROCESSES: Final = 1_000
"""Worker processes of a service: each costs megabytes, and a channel of the daemon's."""

LARGEST_DATAGRAM: Final = 1 << 20
"""Bytes; UDP ends at 65 507, a Unix socket at its send buffer."""


def _text(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """A validator for a string that *read* understands or raises ValueError for."""

    def validate(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("must be a string")
        return read(value)

    return validate


def check_name(text: str) -> str:
    """Return *text* if it can be the name of a service or a worker. Raises ValueError."""
    if _NAME.fullmatch(text) is None:
        raise ValueError(
            f"{shown(text)} is no name: write letters and digits, and . _ - but not first, "
            f"{LONGEST_NAME} characters at most"
        )
    return text


def _reference(form: str) -> Callable[[str], Reference]:
    def read(text: str) -> Reference:
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise ValueError(f'must be "{form}"')
        return Reference(match["module"], match["name"])

    return read


_class = _reference("module:Class")


def _handler(text: str) -> Reference:
    """A handler class, or the word that a plugin has registered for one."""
    if ":" in text:
        return _class(text)
    try:
        return find(text)
    except UnknownName as error:
        if not error.near:
            raise ValueError('must be "module:Class" or the name of a registered handler') from None
        near = " or ".join(map(quoted, error.near))
        raise ValueError(
            f"no handler is registered as {shown(text)}; did you mean {near}?"
        ) from None


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{shown(text)} has a NUL character, and no argument can")
    return text


def _path(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    if "\0" in text:
        raise ValueError(f"{shown(text)} has a NUL character, and no path can")
    return text


def _user(value: Any) -> Owner:
    """A user by name or number, with its primary group where the system knows the user."""
    try:
        if isinstance(value, str):
            entry = pwd.getpwnam(_account(value, "user"))
        else:
            entry = pwd.getpwuid(_number(value, "user"))
    except KeyError:
        if isinstance(value, str):
            raise _unknown(value, "user") from None
        return Owner(uid=value)
    return Owner(entry.pw_uid, entry.pw_gid)


def _group(value: Any) -> int:
    """A group by name or number."""
    if not isinstance(value, str):
        return _number(value, "group")
    try:
        return grp.getgrnam(_account(value, "group")).gr_gid
    except KeyError:
        raise _unknown(value, "group") from None


def _account(text: str, kind: str) -> str:
    if "\0" in text:  # which the look-up would refuse in words of its own
        raise _unknown(text, kind)
    return text


def _unknown(text: str, kind: str) -> ValueError:
    return ValueError(
        f"there is no {kind} {shown(text)}: write a name that this system knows, or a number "
        "without quotes"
    )


def _number(value: Any, kind: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_ID:
        raise ValueError(f"must be a {kind}'s name, or a number from 0 to {LARGEST_ID}")
    return value


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0 s")
    return seconds


def _datagram(size: int) -> int:
    if not 1 <= size <= LARGEST_DATAGRAM:
        raise ValueError(f"must be from 1 to {LARGEST_DATAGRAM} bytes")
    return size


Listen = Annotated[Address, PlainValidator(_text(parse))]
Class = Annotated[Reference, PlainValidator(_text(_class))]
Handler = Annotated[Reference, PlainValidator(_text(_handler))]
Function = Annotated[Reference, PlainValidator(_text(_reference("module:function")))]
Entry = Annotated[Any, PlainValidator(_text(canonical))]
Argument = Annotated[str, PlainValidator(_text(_argument))]
Name = Annotated[str, PlainValidator(_text(check_name))]
PathText = Annotated[str, PlainValidator(_text(_path))]
User = Annotated[Owner, PlainValidator(_user)]
Group = Annotated[int, PlainValidator(_group)]
Duration = Annotated[float, PlainValidator(units.duration)]
Timeout = Annotated[Duration, AfterValidator(_positive)]
Size = Annotated[int, PlainValidator(units.size)]


class Table(BaseModel):
    """A table of the file: every key is known, and of the type that is written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AccessTable(Table):
    """``[services.NAME.access]``: who may come in."""

    allow: list[Entry] | None = None
    deny: list[Entry] = []
    verify_request: Function | None = None
    verify_timeout: Timeout = 5.0
    dry_run: bool = False


def _names(field: str) -> tuple[str, str]:
    """How a limit can be called; ``as``, which is a word of Python's, has a field ``as_``."""
    name = field.rstrip("_")
    return name, f"RLIMIT_{name.upper()}"


class LimitsTable(Table):
    """Resource limits of a service's processes, as getrlimit(2) has them.

    Each by its name there, such as `RLIMIT_NOFILE`, or by the last part of that, `nofile`.
    """

    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(*_names(name)))
    )

    as_: SizeLimit | None = None
    """Memory that a process may map. Beyond it Python raises MemoryError."""
    core: SizeLimit | None = None
    """The size of a core file; 0 writes none."""
    cpu: SecondsLimit | None = None
    """Processor time; a process that has used it up is ended, and the next one takes its place."""
    data: SizeLimit | None = None
    """Memory for data."""
    fsize: SizeLimit | None = None
    """The size of a file that is written; beyond it Python raises OSError."""
    memlock: SizeLimit | None = None
    """Memory that may be locked."""
    msgqueue: SizeLimit | None = None
    """Memory for POSIX message queues, of all processes of the user."""
    nice: CountLimit | None = None
    """How far the nice value may be lowered: to 20 less this number."""
    nofile: CountLimit | None = None
    """Descriptors that may be open; a connection takes one."""
    nproc: CountLimit | None = None
    """Processes and threads, of the user as a whole."""
    rss: SizeLimit | None = None
    """Resident memory, which Linux does not enforce; `max_memory` does."""
    rtprio: CountLimit | None = None
    """The highest real-time priority that may be asked for."""
    rttime: TimeLimit | None = None
    """Processor time that a real-time process may use without waiting."""
    sigpending: CountLimit | None = None
    """Signals that may be queued, of the user as a whole."""
    stack: SizeLimit | None = None
    """The stack of programs that are started; threads have what the daemon was started with."""


class ServiceTable(Table):
    """``[services.NAME]``: what runs, where it listens, and how."""

    listen: Annotated[list[Listen], Field(min_length=1)] | None = None
    handler: Handler | None = None
    server: Class | None = None
    protocol: Class | None = None
    program: Annotated[list[Argument], Field(min_length=1)] | None = None
    wait: bool = False
    plugin: Name | None = None
    arguments: list[Argument] = []
    concurrency: Literal["reactor", "thread", "process"] | None = None
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None
    processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | None = None
    worker: Name | None = None
    max_requests: Annotated[int, Field(ge=0)] = 0
    max_memory: Size | None = None
    handler_timeout: Timeout | None = None
    backlog: Annotated[int, Field(ge=1, le=65535)] | None = None
    datagram_size: Annotated[Size, AfterValidator(_datagram)] | None = None
    user: User | None = None
    group: Group | None = None
    umask: Umask | None = None
    """Permissions that files which the service makes do not get; as the daemon, where nothing is
    said."""
    nice: Nice | None = None
    """The nice value of its processes, from -20, favoured, to 19; the daemon's, where nothing is
    said. To lower it needs root's rights."""
    working_directory: PathText | None = None
    """Where its processes run, which `user` must be able to enter; where the daemon runs, if
    nothing is said."""
    environment: Variables = {}
    """Environment variables, beside the daemon's own. They are set before what the service runs is
    imported, so what Python itself reads at its start (`PYTHONPATH`) is without effect."""
    rlimits: LimitsTable = LimitsTable()
    """What its processes may use, each; the daemon's limits, where nothing is said."""
    enabled: bool = True
    options: dict[str, Any] = {}
    access: AccessTable = AccessTable()


class DaemonTable(Table):
    """``[daemon]``: the daemon as a whole."""

    graceful_timeout: Duration = 30.0
    drain_delay: Duration = 0.0


class AdminTable(Table):
    """``[admin]``: the administrator's way in."""

    socket: PathText | None = None


class LogTable(Table):
    """``[log]``: what is logged, in which form and where."""

    format: Format = "text"
    level: Level = "info"
    connections: bool = True
    file: PathText | None = None


class IncludedFile(Table):
    """A file that another one includes: services only."""

    services: dict[str, dict[str, Any]] = {}


class MainFile(IncludedFile):
    """The file that is named on the command line."""

    include: list[PathText] = []
    python_path: list[PathText] = []
    defaults: dict[str, Any] = {}
    daemon: DaemonTable = DaemonTable()
    admin: AdminTable = AdminTable()
    log: LogTable = LogTable()
