"""What ``tomllib`` does not return: the line of each value, and which integers are octal.

``tomllib`` returns values without positions, but a problem must name its line. It also returns the
same integer for ``0o22`` and ``18``, which differ for an octal key. So this module reads a text a
second time, after ``tomllib`` has accepted it: it validates nothing, skips the values, and keeps
only paths, lines and whether a number is octal.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

Path = tuple[str | int, ...]
"""The keys and the array indexes, from the root of a document to one of its values."""

# Commas count as blank, since tomllib has already checked where they stand.
_BLANK: Final = re.compile(r"(?:[ \t\r\n,]+|#[^\n]*)*")
_HEADER: Final = re.compile(r"\[\[?")
_HEADER_END: Final = re.compile(r"\]\]?")
_EQUALS: Final = re.compile(r"=[ \t]*")
_OPEN: Final = re.compile(r"[\[{]")
_CLOSE: Final = re.compile(r"[\]}]")
_KEY_PART: Final = re.compile(
    r"""[ \t]*
    (?: (?P<bare> [A-Za-z0-9_-]+ )
      | ' (?P<literal> [^'\n]* ) '
      | (?P<basic> " [^"\\\n]* (?: \\. [^"\\\n]* )* " )
    )
    [ \t]* (?P<dot> \.? )""",
    re.VERBOSE,
)
# Three quotes come first: otherwise they would match as an empty string and the start of another
# one. One or two more quotes right before the closing three belong to the string.
_SCALAR: Final = re.compile(
    r'''""" [^"\\]* (?: (?: \\. | "(?!"") ) [^"\\]* )* """ "{0,2}
      | \'\'\' .*? \'\'\' '{0,2}
      | " [^"\\\n]* (?: \\. [^"\\\n]* )* "
      | ' [^'\n]* '
      | [^,\]}\#\n]+  # a number, a date (which may have a space in it), true or false
    ''',
    re.VERBOSE | re.DOTALL,
)


OCTAL: Final = "0o"
"""The start of an octal number in TOML."""


@dataclass(frozen=True)
class Scan:
    """What a text has besides its values."""

    lines: Mapping[Path, int]
    """The line (from 1) of every table, key and array element. A table has the line of its header,
    or else of the first header or key that mentions it."""
    octal: frozenset[Path]
    """The integers that are written in octal."""


def scan(text: str) -> Scan:
    """Read *text*, TOML that ``tomllib`` has accepted.

    For any other text it raises ValueError or returns nonsense.
    """
    return _Scanner(text).scan()


def line_of(index: Mapping[Path, int], path: Path) -> int:
    """Return the line of *path*, or of the nearest table around it; 1 if there is none."""
    around = (path[:length] for length in range(len(path), 0, -1))
    return next((index[path] for path in around if path in index), 1)


class _Cursor:
    """A position in a text that only moves forward, and its line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.line = 1

    def find(self, token: re.Pattern[str]) -> re.Match[str] | None:
        """Skip *token* if it comes next; return None if it does not."""
        match = token.match(self._text, self._at)
        if match is not None:
            self.line += self._text.count("\n", self._at, match.end())
            self._at = match.end()
        return match

    def skip(self, token: re.Pattern[str]) -> re.Match[str]:
        """Skip *token*, which must come next, so that every loop below moves on or ends."""
        match = self.find(token)
        if match is None:
            raise ValueError(f"line {self.line} is not TOML")
        return match

    def more(self) -> bool:
        """Skip blanks, commas and comments; return whether anything comes after them."""
        self.find(_BLANK)
        return self._at < len(self._text)


class _Scanner:
    """One reading of a text, from its start to its end."""

    def __init__(self, text: str) -> None:
        self._cursor = _Cursor(text)
        self._lines: dict[Path, int] = {}
        self._octal: set[Path] = set()
        self._lengths: dict[Path, int] = {}
        """The number of elements read so far, of each array of tables."""

    def scan(self) -> Scan:
        table: Path = ()
        while self._cursor.more():
            header = self._cursor.find(_HEADER)
            if header is None:
                self._value(self._pair(table))
            elif header[0] == "[":
                table = self._table()
            else:
                table = self._table_of_array()
        return Scan(self._lines, frozenset(self._octal))

    def _table(self) -> Path:
        """Read the rest of ``[key]``; return the path of the table that it opens."""
        path = self._note((), self._key())
        # The header of an inner table may have come first; the table's own header is better.
        self._lines[path] = self._cursor.line
        self._cursor.skip(_HEADER_END)
        return path

    def _table_of_array(self) -> Path:
        """Read the rest of ``[[key]]``; return the path of the element that it opens."""
        *around, name = self._key()
        array = (*self._note((), around), name)
        number = self._lengths.get(array, 0)
        self._lengths[array] = number + 1
        element = (*array, number)
        self._lines.setdefault(array, self._cursor.line)
        self._lines[element] = self._cursor.line
        self._cursor.skip(_HEADER_END)
        return element

    def _pair(self, table: Path) -> Path:
        """Read ``key =`` in *table*; return the path of the value that comes next."""
        path = self._note(table, self._key())
        self._cursor.skip(_EQUALS)
        return path

    def _key(self) -> list[str]:
        """Read a key, dotted or not, as the list of its parts."""
        parts: list[str] = []
        dot = "."
        while dot:
            part = self._cursor.skip(_KEY_PART)
            parts.append(_name(part))
            dot = part["dot"]
        return parts

    def _note(self, table: Path, key: list[str]) -> Path:
        """Note the line of each new part of *key*; return the path of the last part.

        An array of tables in the path stands for its last element.
        """
        path = table
        for part in key:
            path = (*path, part)
            self._lines.setdefault(path, self._cursor.line)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path

    def _value(self, path: Path) -> None:
        """Skip the value of *path*, and note what is inside it.

        Without recursion: the stack is a little deeper here than where tomllib was called, so a
        value that tomllib could just read must not overflow it.
        """
        inside: list[Iterator[Path]] = []
        self._start(path, inside)
        while inside:
            self._cursor.more()
            if self._cursor.find(_CLOSE):
                inside.pop()
            else:
                self._start(next(inside[-1]), inside)

    def _start(self, path: Path, inside: list[Iterator[Path]]) -> None:
        """Skip the value of *path*, or only enter it if it is an array or inline table."""
        bracket = self._cursor.find(_OPEN)
        if bracket is None:
            if self._cursor.skip(_SCALAR)[0].startswith(OCTAL):
                self._octal.add(path)
        elif bracket[0] == "[":
            inside.append(self._elements(path))
        else:
            inside.append(self._pairs(path))

    def _elements(self, array: Path) -> Iterator[Path]:
        """Yield the paths of the elements of *array*; call next() where an element starts."""
        for number in count():
            path = (*array, number)
            self._lines[path] = self._cursor.line
            yield path

    def _pairs(self, table: Path) -> Iterator[Path]:
        """Yield the paths of the values of an inline *table*; call next() before each key."""
        while True:
            yield self._pair(table)


def _name(part: re.Match[str]) -> str:
    """Return the name that the matched part of a key stands for."""
    basic: str | None = part["basic"]
    if basic is None:
        return part["bare"] or part["literal"] or ""
    if "\\" not in basic:
        return basic[1:-1]
    # tomllib reads the escapes, so that both readings agree.
    (name,) = tomllib.loads(f"{basic} = 0")
    return name
