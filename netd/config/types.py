"""The values of a configuration file: how each kind is read, and described to an editor (pydantic).

Each kind has a title and a description in Markdown in its JSON Schema: for the reference, and for
editors, which show them with what a key means. A kind that has defaults has a serializer, too.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from netd.admission.entries import canonical
from netd.config.text import quoted, shown
from netd.handlers.registry import OWN, UnknownName, find
from netd.listening.description import parse
from netd.model import units
from netd.model.address import Address, Transport
from netd.model.service import Owner, Reference
from netd.tls.names import canonical as canonical_server_name

_REFERENCE: Final = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")

LONGEST_NAME: Final = 100
"""Characters of a name: it is part of a process's arguments, and of what memfd_create(2) takes."""

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}")

LARGEST_ID: Final = 2**32 - 2
"""Of a user or a group; the number after it is -1, which chown(2) reads as "leave it"."""

LARGEST_DATAGRAM: Final = 1 << 20
"""Bytes; UDP ends at 65 507, a Unix socket at its send buffer."""


LONGEST_PROTOCOL: Final = 255
"""Bytes of a name in ALPN (RFC 7301, 3.1)."""


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


def _proxy(text: str) -> tuple[str, ...]:
    """The networks of a proxy. A rule about credentials could only be asked too late."""
    entries = canonical(text)
    if entries[0].startswith(("uid:", "gid:", "certificate:")):
        raise ValueError(f'{shown(text)} says who a client is, and a proxy is an address or "unix"')
    return entries


def _application_protocol(text: str) -> str:
    if not text or not text.isascii() or len(text) > LONGEST_PROTOCOL:
        raise ValueError(
            f"{shown(text)} is no protocol: write 1 to {LONGEST_PROTOCOL} ASCII characters"
        )
    return text


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


class Format(StrEnum):
    """What the JSON Schema says, as ``format``, of a value with a path in it.

    The path is relative to the file that the value stands in.
    """

    PATH = "netd-path"
    ADDRESS = "netd-address"
    COMMAND = "netd-command"


@dataclass(frozen=True)
class Described:
    """Gives the JSON Schema of another type to a value that is validated as such later."""

    type: Any

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(TypeAdapter(self.type).core_schema)


def _account_schema(kind: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "title": kind,
            "description": f"The name of a {kind} that this system knows, or a number.",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "integer", "minimum": 0, "maximum": LARGEST_ID},
            ],
            "examples": ["daemon", 1000],
        }
    )


def _reference_schema(kind: str, form: str, example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "title": kind,
            "description": f"`{form}`, the module as for `import`.",
            "type": "string",
            "pattern": "^[^:]+:[^:]+$",
            "examples": [example],
        }
    )


Listen = Annotated[
    Address,
    PlainValidator(_text(parse)),
    WithJsonSchema(
        {
            "title": "address",
            "description": "`tcp:PORT`, `tcp6:PORT`, `tls:PORT`, `tls6:PORT`, `udp:PORT` or"
            " `udp6:PORT`, on all addresses of the machine or, with `:interface=ADDRESS`, on one"
            " (IPv6 in brackets); port 0 takes any that is free. `unix:PATH` or `unixgram:PATH`,"
            " as far as wanted with `:mode=660:user=NAME:group=NAME`, a stream also with"
            " `:tls=yes`; a path that starts with `@` is an abstract name,"
            r" and a colon in a path is written `\:`. `systemd:NAME` is every socket that the"
            " service manager passes under that name, `:tls=yes` if it is a stream for TLS.",
            "type": "string",
            "format": Format.ADDRESS,
            "pattern": f"^({'|'.join(transport.value for transport in Transport)}):.",
            "examples": ["tcp:10037", "tcp6:10037:interface=[::1]", "unix:run/time:mode=600"],
        }
    ),
]
"""Where a service listens."""

Entry = Annotated[
    Any,
    PlainValidator(_text(canonical)),
    WithJsonSchema(
        {
            "title": "client",
            "description": "An address, a network, or the name of a host, which is looked up when"
            " the file is read. Of clients of Unix sockets: `unix` for all, `uid:NUMBER`,"
            " `user:NAME`, `gid:NUMBER`, `group:NAME`. Of clients that show a certificate:"
            " `certificate:NAME`, a host, an address or a URI that the certificate is for.",
            "type": "string",
            "minLength": 1,
            "examples": [
                "10.0.0.0/8",
                "::1",
                "unix",
                "uid:1000",
                "group:daemon",
                "certificate:client.example",
            ],
        }
    ),
]
"""Whom a rule is about; read as the networks and credentials that it stands for."""

Proxy = Annotated[
    Any,
    PlainValidator(_text(_proxy)),
    WithJsonSchema(
        {
            "title": "proxy",
            "description": "An address, a network, or the name of a host, which is looked up when"
            " the file is read; `unix` for whoever comes by a Unix socket.",
            "type": "string",
            "minLength": 1,
            "examples": ["10.0.0.1", "10.0.0.0/24", "unix"],
        }
    ),
]
"""Who is a proxy; read as the networks that it stands for."""

Class = Annotated[
    Reference,
    PlainValidator(_text(_class)),
    _reference_schema("class", "module:Class", "timeserver:TimeServer"),
]
Handler = Annotated[
    Reference,
    PlainValidator(_text(_handler)),
    WithJsonSchema(
        {
            "title": "handler",
            "description": "`module:Class`, the module as for `import`, or the name of a handler"
            f" that is registered: {', '.join(f'`{handler.name}`' for handler in OWN)}, and those"
            " of installed plugins.",
            "type": "string",
            "pattern": "^[^:]+(:[^:]+)?$",
            "examples": ["timeserver:TimeServer", OWN[0].name],
        }
    ),
]
Function = Annotated[
    Reference,
    PlainValidator(_text(_reference("module:function"))),
    _reference_schema("function", "module:function", "rules:verify_request"),
]

ApplicationProtocol = Annotated[
    str,
    PlainValidator(_text(_application_protocol)),
    WithJsonSchema(
        {
            "title": "protocol",
            "description": "A protocol by its name in IANA's registry for ALPN.",
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_PROTOCOL,
            "examples": ["h2", "http/1.1", "imap"],
        }
    ),
]

Argument = Annotated[
    str,
    PlainValidator(_text(_argument)),
    WithJsonSchema(
        {
            "title": "argument",
            "description": "A text that a program gets as it is; no shell reads it.",
            "type": "string",
            "examples": ["--verbose", "a b"],
        }
    ),
]

Command = Annotated[
    list[Argument], Field(min_length=1, json_schema_extra={"format": Format.COMMAND})
]
"""A program, by its path or by its name, and its arguments."""

Name = Annotated[
    str,
    PlainValidator(_text(check_name)),
    WithJsonSchema(
        {
            "title": "name",
            "description": "Letters and digits, and `.`, `_` and `-` but not first;"
            f" {LONGEST_NAME} characters at most.",
            "type": "string",
            "pattern": f"^{_NAME.pattern}$",
            "examples": ["time", "shop.example"],
        }
    ),
]
"""Of a service or a worker."""

ServerName = Annotated[
    str,
    PlainValidator(_text(canonical_server_name)),
    WithJsonSchema(
        {
            "title": "server name",
            "description": "The name of a host, as clients ask for it, or with `*.` in front of it"
            " for all names that have one label more. It may have any letters; clients send it as"
            " `xn--…`.",
            "type": "string",
            "pattern": r"^(\*\.)?[^*:/\s]+$",
            "examples": ["host.example", "*.host.example"],
        }
    ),
]

PathText = Annotated[
    str,
    PlainValidator(_text(_path)),
    WithJsonSchema(
        {
            "title": "path",
            "description": "Relative to the file that it stands in, or absolute.",
            "type": "string",
            "format": Format.PATH,
            "minLength": 1,
            "examples": ["handlers", "/etc/netd/handlers"],
        }
    ),
]

User = Annotated[Owner, PlainValidator(_user), _account_schema("user")]
"""With the user's primary group, if the system knows the user."""

Group = Annotated[int, PlainValidator(_group), _account_schema("group")]

Duration = Annotated[
    float,
    PlainValidator(units.duration),
    PlainSerializer(units.duration_text),
    WithJsonSchema(
        {
            "title": "duration",
            "description": "A number of seconds, or a text with the unit `ms`, `s`, `m` or `h`.",
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": units.LONGEST},
                {"type": "string", "pattern": units.pattern(units.SECONDS)},
            ],
            "examples": ["250ms", "30s", "5m", "2h", 2.5],
        }
    ),
]
"""Seconds."""

Timeout = Annotated[Duration, AfterValidator(_positive)]
"""Seconds, more than none."""

Size = Annotated[
    int,
    PlainValidator(units.size),
    PlainSerializer(units.size_text),
    WithJsonSchema(
        {
            "title": "size",
            "description": "A number of bytes, or a text with the unit `KiB`, `MiB` or `GiB`.",
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": units.LARGEST},
                {"type": "string", "pattern": units.pattern(units.BYTES)},
            ],
            "examples": ["64KiB", "10MiB", 8192],
        }
    ),
]
"""Bytes."""

Datagram = Annotated[Size, AfterValidator(_datagram)]
"""Bytes, as many as a packet can have."""
