"""The lines of a file that say something, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from netd.model.problem import Problem

_WORD: Final = re.compile(r"[^ \t\r\f\v]+")
"""What the C locale's isspace(3) parts: neither daemon knows quotes, nor other blanks."""

_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")
"""NUL, which ends a text of C's, and what ``surrogateescape`` makes of bytes that are not UTF-8."""

NO_TEXT: Final = "this line is not text: save the file as UTF-8, without NUL characters"
"""What is said of a line that has any of them."""


@dataclass(frozen=True)
class Location:
    """Where something stands: a file as it was named, and a line from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def problem(self, message: str) -> Problem:
        """A problem with what stands here."""
        return Problem(self.file, self.line, "", message)


@dataclass(frozen=True)
class Line:
    """One line, which has at least one word."""

    place: Location
    text: str
    words: tuple[str, ...]

    @property
    def is_text(self) -> bool:
        """Whether it is UTF-8 and has no NUL: what can be an argument, and stand in TOML."""
        return _NO_TEXT.search(self.text) is None


def words_of(text: str) -> tuple[str, ...]:
    """What blanks part."""
    return tuple(_WORD.findall(text))


def significant(file: str, data: bytes) -> Iterator[Line]:
    """The lines of *data* that are neither blank nor comments.

    A comment starts with ``#``, blanks before it or not, and may be in any encoding.
    """
    # Not splitlines(), which also parts at characters that end no line of these files.
    for number, text in enumerate(data.decode(errors="surrogateescape").split("\n"), start=1):
        words = words_of(text)
        if words and not words[0].startswith("#"):
            yield Line(Location(file, number), text, words)
