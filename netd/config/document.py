"""One TOML file: its values, and the line of each."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from netd.config.positions import Path, line_of, positions
from netd.values.problem import ConfigurationError, Problem

_PLACE: Final = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
"""How tomllib ends its messages; it has attributes for this from Python 3.14 only."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Document:
    """A file that was read."""

    file: str
    """As it was named, so that people find it in messages."""
    values: dict[str, Any]
    lines: dict[Path, int]

    @property
    def directory(self) -> str:
        """What relative paths in the file are relative to."""
        return os.path.dirname(os.path.abspath(self.file))

    def line(self, path: Iterable[int | str]) -> int:
        """The line of a key, or of the table it is missing from."""
        return line_of(self.lines, tuple(path))

    def problem(self, path: Iterable[int | str], message: str) -> Problem:
        """A problem with the key at *path*."""
        path = tuple(path)
        return Problem(self.file, self.line(path), dotted(path), message)


def read(file: str) -> Document:
    """Read *file*. Raises ConfigurationError when it cannot be read, or is not TOML."""
    try:
        with open(file, "rb") as opened:
            data = opened.read()
    except OSError as error:
        raise ConfigurationError(
            [Problem(file, 1, "", f"cannot read: {error.strerror}")]
        ) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([Problem(file, line, "", "not UTF-8, which TOML is")]) from error
    try:
        return Document(file, tomllib.loads(text), positions(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([_not_toml(file, text, str(error))]) from error


def dotted(path: Iterable[int | str]) -> str:
    """A path as a dotted key; the place of an element in a list is left to its line."""
    keys = (key for key in path if isinstance(key, str))
    return ".".join(key if _BARE.fullmatch(key) else f'"{key}"' for key in keys)


def _not_toml(file: str, text: str, message: str) -> Problem:
    match = _PLACE.search(message)
    if match is None:
        return Problem(file, 1, "", f"not TOML: {message}")
    line = int(match["line"]) if match["line"] else text.rstrip("\n").count("\n") + 1
    return Problem(file, line, "", f"not TOML: {message[: match.start()]}")
