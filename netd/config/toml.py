"""Writes values as TOML 1.0, and texts as comments. The standard library only reads TOML."""

from __future__ import annotations

import datetime
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

WIDTH: Final = 98
"""Most columns of a comment, without its ``#``, and of a list on one line."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\"}


def table(path: tuple[str, ...], keys: Mapping[str, object]) -> Iterator[str]:
    """Yield the lines of a table: header, keys, then the tables in it, as TOML requires."""
    yield header(path)
    inner = {key: value for key, value in keys.items() if isinstance(value, Mapping)}
    for key, value in keys.items():
        if key not in inner:
            yield from pair(key, value)
    for key, value in inner.items():
        yield ""
        yield from table((*path, key), value)


def header(path: tuple[str, ...]) -> str:
    """Return the line that opens a table."""
    return f"[{'.'.join(map(_key, path))}]"


def pair(key: str, value: object) -> Iterator[str]:
    """Yield the lines of a key and its value: one, or more for a long list."""
    line = f"{_key(key)} = {literal(value)}"
    if not isinstance(value, list) or len(line) <= WIDTH:
        yield line
    else:
        yield f"{_key(key)} = ["
        yield from (f"    {literal(element)}," for element in value)
        yield "]"


def literal(value: object) -> str:
    """Return any value that tomllib can read, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {literal(value[key])}' for key in value)}}}"
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    return str(value)


def comment(text: str, hanging: str = "") -> Iterator[str]:
    """Yield the lines of a comment. *hanging* indents all lines after the first one."""
    for line in textwrap.wrap(
        _printable(text),
        WIDTH,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield f"# {line}"


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    # In single quotes nothing is escaped, so a text with quotes stays readable.
    if ('"' in text or "\\" in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    return f'"{_printable("".join(_ESCAPES.get(character, character) for character in text))}"'


def _printable(text: str) -> str:
    """Escape characters that end a line, move a cursor or are invisible, as TOML does."""
    return "".join(
        character if character.isprintable() else _escaped(ord(character)) for character in text
    )


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
