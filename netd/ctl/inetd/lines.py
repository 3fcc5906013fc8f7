"""The significant lines of a file, each with its location."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from netd.model.problem import Problem

_WORD: Final = re.compile(r"[^ \t\r\f\v]+")
"""A word as the C locale's isspace(3) separates them: neither daemon has quotes or other blanks."""

_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")
"""NUL, which ends a string in C, and the surrogates for bytes that are not UTF-8."""

NO_TEXT: Final = "this line is not text: save the file as UTF-8, without NUL characters"
"""The problem with a line that has one of them."""


@dataclass(frozen=True)
class Location:
    """A file, by the name that the operator used, and a line, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def problem(self, message: str) -> Problem:
        """Return a problem at this location."""
        return Problem(self.file, self.line, "", message)


@dataclass(frozen=True)
class Line:
    """One line, which has at least one word."""

    place: Location
    text: str
    words: tuple[str, ...]

    @property
    def is_text(self) -> bool:
        """Whether it is UTF-8 without NUL, so that it can be an argument and a TOML string."""
        return _NO_TEXT.search(self.text) is None


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of *text*."""
    return tuple(_WORD.findall(text))


def significant(file: str, data: bytes) -> Iterator[Line]:
    """Yield the lines of *data* that are neither blank nor comments.

    A comment starts with ``#``, blanks before it or not, and may be in any encoding.
    """
    # Not splitlines(), which also splits at characters that do not end a line of these files.
    for number, text in enumerate(data.decode(errors="surrogateescape").split("\n"), start=1):
        words = words_of(text)
        if words and not words[0].startswith("#"):
            yield Line(Location(file, number), text, words)
