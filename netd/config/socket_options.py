"""``[services.NAME.socket]``: reads socket options, and checks that they have an effect."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import PlainValidator, ValidationError, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import InitErrorDetails, PydanticCustomError

from netd.listening.options.apply import in_order, read, why_impossible
from netd.listening.options.table import OPTIONS, Option
from netd.model.address import Transport
from netd.model.socket_options import SetOption, of_both_families

SPARSE: Final = "x-sparse"
"""The keyword of the JSON Schema for a table of which ``print-config`` shows only written keys."""


def _table(values: object) -> dict[str, SetOption]:
    """Read all options of a table. Raises ValidationError with the location of each problem."""
    if not isinstance(values, Mapping):
        raise PydanticCustomError("dict_type", "must be a table")
    found, wrong = {}, []
    for name, value in values.items():
        try:
            found[name] = _option(name, value)
        except ValueError as error:
            text = PydanticCustomError("value_error", "{error}", {"error": str(error)})
            wrong.append(InitErrorDetails(type=text, loc=(name,), input=value))
    if wrong:
        raise ValidationError.from_exception_data("socket", wrong)
    return found


def _option(name: str, value: object) -> SetOption:
    why = why_impossible(name)
    if why is not None:
        raise ValueError(why)
    if name not in OPTIONS:
        raise ValueError(_unknown(name))
    return read(name, value)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.upper(), OPTIONS, 1, cutoff=0.6)
    if near:
        return f'unknown socket option; did you mean "{near[0]}"?'
    return 'unknown socket option; "netdctl socket-options" lists the known ones'


def in_effect(options: Mapping[str, SetOption]) -> tuple[SetOption, ...]:
    """Return the options of a service in the order in which to set them."""
    return in_order(options.values())


def inconsistencies(
    options: Mapping[str, SetOption], transports: Iterable[Transport], *, by_itself: bool
) -> Iterator[tuple[str, str]]:
    """Yield the options that have no effect on any listener of a service, and why.

    *by_itself*: whether what the service runs accepts its connections itself.
    """
    transports = tuple(transports)
    of_both = of_both_families(options.values())
    for name, option in options.items():
        fit = [
            transport
            for transport in transports
            if option.fits((int(transport.family), int(transport.type)), of_both=of_both)
        ]
        if not fit:
            listens = ", ".join(dict.fromkeys(transport.value for transport in transports))
            text = f"fits none of the service's listeners ({listens}): it is for {_for(name)}"
            yield name, f"{text}; leave it out"
        elif by_itself and all(_on_connections(option, transport) for transport in fit):
            text = "is set on each connection, but the program accepts its connections itself"
            yield name, f"{text}: leave it out"


def _on_connections(option: SetOption, transport: Transport) -> bool:
    return not transport.is_datagram and (
        transport.is_unix or option.applied is option.applied.ON_CONNECTION
    )


def _for(name: str) -> str:
    row = OPTIONS[name]
    mapped = ", or with IPV6_V6ONLY = false" if row.fit.fits_mapped else ""
    return f"{row.fit.words}{mapped}"


def _shape(row: Option) -> JsonSchemaValue:
    """Return the JSON Schema of an option's value."""
    one = row.form.json_type
    shape: JsonSchemaValue = {"type": one[0] if len(one) == 1 else list(one)}
    if "array" in one:
        shape["items"] = {"type": "string"}
    return {
        "description": f"{row.meaning}\n\n{row.form.title} ({row.source})",
        **shape,
        "examples": list(row.form.examples),
    }


SocketOptions = Annotated[
    # Not SetOption: pydantic would build a schema of that class, too, for nothing.
    dict[str, Any],
    PlainValidator(_table),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {name: _shape(row) for name, row in OPTIONS.items()},
            "additionalProperties": False,
            SPARSE: True,
        }
    ),
]
"""Socket options by name."""
