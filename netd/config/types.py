"""The kinds of values in a configuration file, described to an editor (pydantic).

Each kind has a title and a description in Markdown in its JSON Schema: for the reference, and for
editors, which show them beside the meaning of a key. A kind that has defaults has a serializer,
too. ``reading`` has the functions that read the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

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
from netd.config import reading
from netd.handlers.registry import OWN
from netd.listening.description import parse
from netd.model import units
from netd.model.address import Address, Transport
from netd.model.service import Owner, Reference
from netd.tls.names import canonical as canonical_server_name


class Format(StrEnum):
    """The ``format`` that the JSON Schema has for a value with a path in it.

    The path is relative to the file that the value stands in.
    """

    PATH = "netd-path"
    ADDRESS = "netd-address"
    COMMAND = "netd-command"


@dataclass(frozen=True)
class Described:
    """Gives a value the JSON Schema of the type that it is validated as later."""

    type: Any  # any type that pydantic knows: there is no type for these

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
                {"type": "integer", "minimum": 0, "maximum": reading.LARGEST_ID},
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
    PlainValidator(reading.text_as(parse)),
    WithJsonSchema(
        {
            "title": "address",
            "description": "`tcp:PORT`, `tcp6:PORT`, `tls:PORT`, `tls6:PORT`, `udp:PORT` or"
            " `udp6:PORT`: on all addresses of the machine or, with `:interface=ADDRESS`, on one"
            " (IPv6 in brackets). Port 0 stands for any free port. `unix:PATH` or `unixgram:PATH`:"
            " `:mode=660`, `:user=NAME` and `:group=NAME` are optional, and for a stream"
            " `:tls=yes`, too. A path that starts with `@` is an abstract name. A colon in a path"
            r" is written `\:`. `systemd:NAME`: every socket that the service manager passes by"
            " that name, with `:tls=yes` if it is a stream for TLS.",
            "type": "string",
            "format": Format.ADDRESS,
            # Only the start: a pattern for all of it would flag valid addresses in an editor.
            "pattern": f"^({'|'.join(transport.value for transport in Transport)}):.",
            "examples": ["tcp:10037", "tcp6:10037:interface=[::1]", "unix:run/time:mode=600"],
        }
    ),
]
"""Where a service listens."""

Entry = Annotated[
    tuple[str, ...],
    PlainValidator(reading.text_as(canonical)),
    WithJsonSchema(
        {
            "title": "client",
            "description": "An address, a network, or the name of a host, which is looked up when"
            " the file is read. For clients of Unix sockets: `unix` for all of them, `uid:NUMBER`,"
            " `user:NAME`, `gid:NUMBER`, `group:NAME`. For clients with a certificate:"
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
"""An entry of a rule, read as the networks and credentials that it stands for."""

Proxy = Annotated[
    tuple[str, ...],
    PlainValidator(reading.text_as(reading.proxy)),
    WithJsonSchema(
        {
            "title": "proxy",
            "description": "An address, a network, or the name of a host, which is looked up when"
            " the file is read; `unix` for every client of a Unix socket.",
            "type": "string",
            "minLength": 1,
            "examples": ["10.0.0.1", "10.0.0.0/24", "unix"],
        }
    ),
]
"""A proxy, read as the networks that it stands for."""

Class = Annotated[
    Reference,
    PlainValidator(reading.text_as(reading.class_reference)),
    _reference_schema("class", "module:Class", "timeserver:TimeServer"),
]
Handler = Annotated[
    Reference,
    PlainValidator(reading.text_as(reading.handler)),
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
    PlainValidator(reading.text_as(reading.reference("module:function"))),
    _reference_schema("function", "module:function", "rules:verify_request"),
]

ApplicationProtocol = Annotated[
    str,
    PlainValidator(reading.text_as(reading.application_protocol)),
    WithJsonSchema(
        {
            "title": "protocol",
            "description": "A protocol by its name in IANA's registry for ALPN.",
            "type": "string",
            "minLength": 1,
            "maxLength": reading.LONGEST_PROTOCOL,
            "examples": ["h2", "http/1.1", "imap"],
        }
    ),
]

Argument = Annotated[
    str,
    PlainValidator(reading.text_as(reading.argument)),
    WithJsonSchema(
        {
            "title": "argument",
            "description": "A string that the program gets as it is, without a shell.",
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
    PlainValidator(reading.text_as(reading.check_name)),
    WithJsonSchema(
        {
            "title": "name",
            "description": "Letters and digits, and `.`, `_` and `-` but not first;"
            f" {reading.LONGEST_NAME} characters at most.",
            "type": "string",
            "pattern": f"^{reading.NAME.pattern}$",
            "examples": ["time", "shop.example"],
        }
    ),
]
"""The name of a service or a worker."""

ServerName = Annotated[
    str,
    PlainValidator(reading.text_as(canonical_server_name)),
    WithJsonSchema(
        {
            "title": "server name",
            "description": "The name of a host, as clients ask for it, or `*.` and a name for all"
            " names with one more label. It may have any letters; clients send it as `xn--…`.",
            "type": "string",
            "pattern": r"^(\*\.)?[^*:/\s]+$",
            "examples": ["host.example", "*.host.example"],
        }
    ),
]

PathText = Annotated[
    str,
    PlainValidator(reading.text_as(reading.path)),
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

User = Annotated[Owner, PlainValidator(reading.user), _account_schema("user")]
"""A user with its primary group, if the system knows the user."""

Group = Annotated[int, PlainValidator(reading.group), _account_schema("group")]

Duration = Annotated[
    float,
    PlainValidator(units.duration),
    PlainSerializer(units.duration_text),
    WithJsonSchema(
        {
            "title": "duration",
            "description": "A number of seconds, or a string with the unit `ms`, `s`, `m` or `h`.",
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": units.LONGEST},
                {"type": "string", "pattern": units.pattern(units.SECONDS)},
            ],
            "examples": ["250ms", "30s", "5m", "2h", 2.5],
        }
    ),
]
"""Seconds."""

Timeout = Annotated[Duration, AfterValidator(reading.positive)]
"""Seconds, more than 0."""

Size = Annotated[
    int,
    PlainValidator(units.size),
    PlainSerializer(units.size_text),
    WithJsonSchema(
        {
            "title": "size",
            "description": "A number of bytes, or a string with the unit `KiB`, `MiB` or `GiB`.",
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": units.LARGEST},
                {"type": "string", "pattern": units.pattern(units.BYTES)},
            ],
            "examples": ["64KiB", "10MiB", 8192],
        }
    ),
]
"""Bytes."""

Datagram = Annotated[Size, AfterValidator(reading.datagram)]
"""Bytes, within the size of a packet."""
