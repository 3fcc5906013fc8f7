"""Values about the environment of a service's processes: how each is read, and described."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue

from netd.config.text import shown
from netd.model import units
from netd.model.environment import UNLIMITED

LARGEST_MASK: Final = 0o777
"""The bits that umask(2) uses."""

LARGEST_LIMIT: Final = 2**63 - 1
"""The largest limit, in any unit, that ``resource.setrlimit`` accepts."""

_OCTAL: Final = re.compile(r"(0o)?[0-7]{1,4}", re.ASCII)

_DECIMAL_MASK: Final = re.compile(r"[0-7]{1,3}", re.ASCII)
"""The digits of a decimal number that was most likely meant as an octal mask."""


@dataclass(frozen=True)
class Limits:
    """A resource limit, in the kernel's unit."""

    soft: int
    hard: int


def octal_text(number: int) -> str:
    """Return the text for an octal *number* of a file, which is 0 or more."""
    return f"{number:03o}"


def umask(value: object) -> int:
    """Read a file mode creation mask, an octal text. Raises ValueError.

    An integer is refused: people who write 22 mean 0o22, but TOML reads 22 as decimal. ``load``
    has already replaced integers written in octal with ``octal_text``.
    """
    if isinstance(value, str) and _OCTAL.fullmatch(value):
        mask = int(value, 8)
        if mask <= LARGEST_MASK:
            return mask
    # The range comes first, because Python refuses to convert very long numbers to text.
    if isinstance(value, int) and 0 <= value <= 777 and _DECIMAL_MASK.fullmatch(str(value)):
        raise ValueError(f'must be octal: write "{value:03}" or 0o{value:03}')
    raise ValueError('must be octal, like "027" or 0o027')


def variables(value: object) -> dict[str, str]:
    """Read environment variables. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    for name, text in value.items():
        if not name or "=" in name or "\0" in name:
            # execve(2) has no other way to write a variable than NAME=VALUE.
            raise ValueError(f"{shown(name)} is no name of a variable: write one without = and NUL")
        if not isinstance(text, str):
            raise ValueError(f"has {name} = {shown(text)}: write a string, in quotes")
        if "\0" in text:
            raise ValueError(f"has a NUL character in {name}, which a variable cannot have")
    return value


def limits(amount: Callable[[object], int], value: object) -> Limits:
    """Read one limit for both, or a list of the soft and the hard one.

    *amount* reads a limit that is not "unlimited".

    Raises ValueError.
    """
    if not isinstance(value, list):
        both = _limit(amount, value)
        return Limits(both, both)
    if len(value) != 2:
        raise ValueError(f"has {len(value)} limits: write one for both, or [soft, hard]")
    soft, hard = (_limit(amount, each) for each in value)
    if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
        raise ValueError("has a soft limit above the hard one: write [soft, hard]")
    return Limits(soft, hard)


def _limit(amount: Callable[[object], int], value: object) -> int:
    if value == "unlimited":
        return UNLIMITED
    try:
        found = amount(value)
    except ValueError as error:
        raise ValueError(f'{error}, or "unlimited", or [soft, hard]') from None
    if found > LARGEST_LIMIT:
        raise ValueError(f'must be {LARGEST_LIMIT} at most, or "unlimited"')
    return found


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a whole number from 0")
    return value


def _seconds(value: object) -> int:
    found = units.duration(value)
    if found != int(found):
        raise ValueError("must be a duration of whole seconds")
    return int(found)


def _microseconds(value: object) -> int:
    return round(units.duration(value) * 1e6)


def _limit_schema(
    title: str, description: str, one: list[JsonSchemaValue], examples: list[object]
) -> WithJsonSchema:
    one = [*one, {"const": "unlimited"}]
    pair = {"type": "array", "items": {"anyOf": one}, "minItems": 2, "maxItems": 2}
    return WithJsonSchema(
        {
            "title": title,
            "description": f"{description}, or `unlimited`: one value for the soft and the hard"
            " limit, or a list of both.",
            "anyOf": [*one, pair],
            "examples": [*examples, "unlimited", [*examples, "unlimited"]],
        }
    )


Umask = Annotated[
    int,
    PlainValidator(umask),
    WithJsonSchema(
        {
            "title": "umask",
            "description": "A string of octal digits, or a number that starts with `0o`, such as"
            " `0o027`. A number without `0o` is an error, because TOML reads it as decimal.",
            "anyOf": [
                {"type": "string", "pattern": f"^{_OCTAL.pattern}$"},
                {"type": "integer", "minimum": 0, "maximum": LARGEST_MASK},
            ],
            "examples": ["027"],
        }
    ),
]
Nice = Annotated[int, Field(ge=-20, le=19)]
Variables = Annotated[
    dict[str, str],
    PlainValidator(variables),
    WithJsonSchema(
        {
            "title": "variables",
            "description": "A table of names and strings.",
            "type": "object",
            "additionalProperties": {"type": "string"},
            "examples": [{"TZ": "UTC"}],
        }
    ),
]
_AMOUNT: Final[JsonSchemaValue] = {"type": "number", "minimum": 0}
_TEXT: Final[JsonSchemaValue] = {"type": "string", "pattern": "^[0-9]"}
SizeLimit = Annotated[
    Limits,
    PlainValidator(partial(limits, units.size)),
    _limit_schema("limit of a size", "A size", [_AMOUNT, _TEXT], ["512MiB"]),
]
SecondsLimit = Annotated[
    Limits,
    PlainValidator(partial(limits, _seconds)),
    _limit_schema("limit of seconds", "A duration of whole seconds", [_AMOUNT, _TEXT], ["10m"]),
]
TimeLimit = Annotated[
    Limits,
    PlainValidator(partial(limits, _microseconds)),
    _limit_schema("limit of a time", "A duration, to the microsecond", [_AMOUNT, _TEXT], ["200ms"]),
]
CountLimit = Annotated[
    Limits,
    PlainValidator(partial(limits, _count)),
    _limit_schema(
        "limit of a number", "A whole number", [{"type": "integer", "minimum": 0}], [4096]
    ),
]
