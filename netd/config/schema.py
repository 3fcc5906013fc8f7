"""The shape of a configuration file: its tables, their keys, types and defaults (pydantic).

Only the shape of one file: what files say together is put together in ``load``.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator

from netd.admission.entries import canonical
from netd.listening.description import parse
from netd.values import units
from netd.values.address import Address
from netd.values.service import Owner, Reference

_REFERENCE: Final = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")

MOST_THREADS: Final = 10_000
"""Threads of a service: each has a slot of the scoreboard and, when it runs, a stack."""

LARGEST_DATAGRAM: Final = 1 << 20
"""Bytes; UDP ends at 65 507, a Unix socket at its send buffer."""


def _text(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """A validator for a string that *read* understands or raises ValueError for."""

    def validate(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("must be a string")
        return read(value)

    return validate


def _reference(text: str) -> Reference:
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" must be "module:Class"')
    return Reference(match["module"], match["name"])


def _user(value: Any) -> Owner:
    """A user by name or number, with its primary group."""
    try:
        entry = pwd.getpwnam(value) if isinstance(value, str) else pwd.getpwuid(value)
    except KeyError:
        if not isinstance(value, str):
            return Owner(uid=value)
        raise ValueError(f'there is no user "{value}"') from None
    except (TypeError, OverflowError):
        raise ValueError("must be a user's name or number") from None
    return Owner(entry.pw_uid, entry.pw_gid)


def _group(value: Any) -> int:
    """A group by name or number."""
    if isinstance(value, str):
        try:
            return grp.getgrnam(value).gr_gid
        except KeyError:
            raise ValueError(f'there is no group "{value}"') from None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("must be a group's name or number")
    return value


Listen = Annotated[Address, PlainValidator(_text(parse))]
Runs = Annotated[Reference, PlainValidator(_text(_reference))]
Entry = Annotated[Any, PlainValidator(_text(canonical))]
User = Annotated[Owner, PlainValidator(_user)]
Group = Annotated[int, PlainValidator(_group)]
Duration = Annotated[float, PlainValidator(units.duration)]
Timeout = Annotated[Duration, AfterValidator(lambda seconds: _positive(seconds))]
Size = Annotated[int, PlainValidator(units.size)]


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0 s")
    return seconds


class Table(BaseModel):
    """A table of the file: every key is known, and of the type that is written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AccessTable(Table):
    """``[services.NAME.access]``: who may come in."""

    allow: list[Entry] | None = None
    deny: list[Entry] = []
    verify_request: Runs | None = None
    verify_timeout: Timeout = 5.0
    dry_run: bool = False


class ServiceTable(Table):
    """``[services.NAME]``: what runs, where it listens, and how."""

    listen: Annotated[
        list[Listen], Field(min_length=1, description='where it listens, like ["tcp:10037"]')
    ]
    handler: Annotated[Runs, Field(description='what it runs, "module:Class"')]
    concurrency: Literal["thread"] = "thread"
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] = 100
    worker: Annotated[str, Field(min_length=1)] | None = None
    backlog: Annotated[int, Field(ge=1, le=65535)] = 1024
    datagram_size: Annotated[Size, AfterValidator(lambda size: _datagram(size))] = 8192
    user: User | None = None
    group: Group | None = None
    enabled: bool = True
    options: dict[str, Any] = {}
    access: AccessTable = AccessTable()


def _datagram(size: int) -> int:
    if not 1 <= size <= LARGEST_DATAGRAM:
        raise ValueError(f"must be from 1 to {LARGEST_DATAGRAM} bytes")
    return size


class DaemonTable(Table):
    """``[daemon]``: the daemon as a whole."""

    graceful_timeout: Duration = 30.0


class IncludedFile(Table):
    """A file that another one includes: services only."""

    services: dict[str, dict[str, Any]] = {}


class MainFile(IncludedFile):
    """The file that is named on the command line."""

    include: list[str] = []
    python_path: list[str] = []
    defaults: dict[str, Any] = {}
    daemon: DaemonTable = DaemonTable()
