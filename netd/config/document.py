"""One TOML file: its values, the line of each, and which numbers are octal."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final, TypeAlias

from netd.config.positions import Path, line_of, scan
from netd.config.text import printable, quoted
from netd.model.problem import ConfigurationError, Location, Problem

TomlValue: TypeAlias = (
    "bool | int | float | str | date | datetime | time | list[TomlValue] | dict[str, TomlValue]"
)
"""A value as ``tomllib`` returns it."""

TomlTable: TypeAlias = dict[str, TomlValue]
"""A table as ``tomllib`` returns it."""

DEEPEST: Final = 100
"""The deepest nesting of tables and lists. Real files nest far less. Code that walks through a file
recursively stays within Python's recursion limit."""

_LOCATION: Final = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
"""How tomllib ends its messages; it has attributes for this from Python 3.14 only."""

_TUPLE: Final = re.compile(r"^(?P<words>Cannot [a-z ]+ )(?P<key>\(.*\))", re.DOTALL)
"""How tomllib names a key in a message."""

_RIGHT: Final = {
    "Invalid value": "a string stands in quotes",
    "Invalid statement": "a line has a [table] or a KEY = VALUE",
    "Cannot declare": "put the keys of both into one",
    "Cannot overwrite": "the key is there already, and can be given once",
}
"""What to write instead, by the start of tomllib's message, which only says what is wrong."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Document:
    """A file that was read."""

    file: str
    """The name that the operator used, so that messages show the same name."""
    values: TomlTable
    lines: Mapping[Path, int]
    octal: frozenset[Path]
    """The integers that are written in octal, ``0o22``."""

    @property
    def directory(self) -> str:
        """The directory that relative paths in the file start from."""
        return os.path.dirname(os.path.abspath(self.file))

    def line(self, path: Iterable[int | str]) -> int:
        """The line of a key, or of the table it is missing from."""
        return line_of(self.lines, tuple(path))

    def location(self, path: Iterable[int | str]) -> Location:
        """Return where a key is written, or the table that it is missing from."""
        return self.file, self.line(path)

    def problem(self, path: Iterable[int | str], message: str) -> Problem:
        """A problem with the key at *path*."""
        path = tuple(path)
        return Problem(*self.location(path), dotted(path), printable(message))


def read(file: str) -> Document:
    """Read *file*. Raises ConfigurationError when it cannot be read, or is not TOML."""
    text = _text(file)
    values = _values(file, text)
    scanned = scan(text)
    document = Document(file, values, scanned.lines, scanned.octal)
    for path, line in document.lines.items():
        if len(path) > DEEPEST:
            raise ConfigurationError([_too_deep(file, line, path)])
    return document


def dotted(path: Iterable[int | str]) -> str:
    """Return a path as a dotted key, without indexes of lists: the line shows the element."""
    keys = (key for key in path if isinstance(key, str))
    return ".".join(key if _BARE.fullmatch(key) else quoted(key) for key in keys)


def _text(file: str) -> str:
    try:
        with open(file, "rb") as opened:
            data = opened.read()
    except OSError as error:
        text = f"cannot read: {error.strerror}"
        raise ConfigurationError([Problem(file, 1, "", text)]) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        wrong = f"not UTF-8, which TOML is: byte 0x{data[error.start]:02x}; save it as UTF-8"
        raise ConfigurationError([Problem(file, line, "", wrong)]) from error
    if text.startswith("\ufeff"):
        wrong = "not TOML: starts with a byte order mark; save it as UTF-8 without one"
        raise ConfigurationError([Problem(file, 1, "", wrong)])
    return text


def _values(file: str, text: str) -> TomlTable:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([_not_toml(file, text, str(error))]) from error
    except RecursionError:
        raise ConfigurationError([_too_deep(file, 1, ())]) from None
    except ValueError as error:  # from int(), which refuses to read thousands of digits
        raise ConfigurationError([_too_long(file, text)]) from error


def _not_toml(file: str, text: str, message: str) -> Problem:
    match = _LOCATION.search(message)
    what = message if match is None else message[: match.start()]
    right = next((f"; {_RIGHT[start]}" for start in _RIGHT if what.startswith(start)), "")
    line = 1
    if match is not None and match["line"]:
        line = int(match["line"])
    elif match is not None:
        # Editors show the last line that is not blank as the end of a file.
        line, right = text.rstrip().count("\n") + 1, "; the file ends there"
    what = _TUPLE.sub(lambda key: key["words"] + dotted(ast.literal_eval(key["key"])), what)
    return Problem(file, line, "", f"not TOML: {printable(what)}{right}")


def _too_deep(file: str, line: int, path: Path) -> Problem:
    text = f"lists and tables are nested more than {DEEPEST} deep: nest fewer of them"
    return Problem(file, line, dotted(path[:2]), text)


def _too_long(file: str, text: str) -> Problem:
    # The error does not name the number. The longest one of the file must be it.
    longest = max(re.finditer("[0-9_]+", text), key=lambda number: len(number[0]))
    line = text.count("\n", 0, longest.start()) + 1
    return Problem(file, line, "", "a number has thousands of digits; the largest number has 19")
