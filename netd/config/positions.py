"""What ``tomllib`` does not say of a TOML text: the line of each value, and which are octal.

``tomllib`` gives values without positions, and a problem with a configuration has to name its
line. It gives ``0o22`` and ``18`` as the same integer, too, and to a key that is octal they are not
the same. So this reads a text a second time, after ``tomllib`` has accepted it: it checks nothing,
passes over the values, and keeps only paths, lines and whether a number is octal.
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

# Commas count as blank: where they have to stand is a thing that tomllib has checked.
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
# The three quotes go first, or they would pass for an empty string and the start of another. One
# or two quotes more, right before the closing three, belong to the string.
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
"""How a number that is octal begins in TOML."""


@dataclass(frozen=True)
class Scan:
    """What a text says beside its values."""

    lines: Mapping[Path, int]
    """The line (from 1) of every table, key and array element. A table stands where its header is,
    else at the first header or key that mentions it."""
    octal: frozenset[Path]
    """The integers that are written in octal."""


def scan(text: str) -> Scan:
    """Read *text*, TOML that ``tomllib`` has accepted.

    For other text the answer is ValueError or nonsense.
    """
    return _Scanner(text).scan()


def line_of(index: Mapping[Path, int], path: Path) -> int:
    """The line of *path*, or of the nearest table around it; 1 when nothing of it is there."""
    around = (path[:length] for length in range(len(path), 0, -1))
    return next((index[path] for path in around if path in index), 1)


class _Cursor:
    """A place in a text, which only moves forward, and the line that it is on."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.line = 1

    def find(self, token: re.Pattern[str]) -> re.Match[str] | None:
        """Pass over *token* if it is what comes here."""
        match = token.match(self._text, self._at)
        if match is not None:
            self.line += self._text.count("\n", self._at, match.end())
            self._at = match.end()
        return match

    def take(self, token: re.Pattern[str]) -> re.Match[str]:
        """Pass over *token*, which must come here: so every loop below moves on or ends."""
        match = self.find(token)
        if match is None:
            raise ValueError(f"line {self.line} is not TOML")
        return match

    def more(self) -> bool:
        """Pass over blanks, commas and comments, and say whether anything comes after them."""
        self.find(_BLANK)
        return self._at < len(self._text)


class _Scanner:
    """One reading of a text, from its start to its end."""

    def __init__(self, text: str) -> None:
        self._cursor = _Cursor(text)
        self._lines: dict[Path, int] = {}
        self._octal: set[Path] = set()
        self._lengths: dict[Path, int] = {}
        """Of each array of tables, how many of its elements have been read."""

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
        """Read the rest of ``[key]``; the answer is the path that it opens."""
        path = self._place((), self._key())
        # The header of a table inside may have come first; the table's own is the better place.
        self._lines[path] = self._cursor.line
        self._cursor.take(_HEADER_END)
        return path

    def _table_of_array(self) -> Path:
        """Read the rest of ``[[key]]``; the answer is the path of the element that it opens."""
        *around, name = self._key()
        array = (*self._place((), around), name)
        number = self._lengths.get(array, 0)
        self._lengths[array] = number + 1
        element = (*array, number)
        self._lines.setdefault(array, self._cursor.line)
        self._lines[element] = self._cursor.line
        self._cursor.take(_HEADER_END)
        return element

    def _pair(self, table: Path) -> Path:
        """Read ``key =`` in *table*; the answer is the path of the value that comes next."""
        path = self._place(table, self._key())
        self._cursor.take(_EQUALS)
        return path

    def _key(self) -> list[str]:
        """Read a key, dotted or not, as the list of its parts."""
        parts: list[str] = []
        dot = "."
        while dot:
            part = self._cursor.take(_KEY_PART)
            parts.append(_name(part))
            dot = part["dot"]
        return parts

    def _place(self, table: Path, key: list[str]) -> Path:
        """Note the line for each part of *key* that is new, and answer the path of the last.

        An array of tables on the way stands for its last element.
        """
        path = table
        for part in key:
            path = (*path, part)
            self._lines.setdefault(path, self._cursor.line)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path

    def _value(self, path: Path) -> None:
        """Pass over the value of *path*, noting what is inside it.

        Without recursion: values that tomllib could just nest, from where it was called, must
        not overflow a stack that is a little deeper here.
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
        """Pass over the value of *path*, or only enter it if it is an array or inline table."""
        bracket = self._cursor.find(_OPEN)
        if bracket is None:
            if self._cursor.take(_SCALAR)[0].startswith(OCTAL):
                self._octal.add(path)
        elif bracket[0] == "[":
            inside.append(self._elements(path))
        else:
            inside.append(self._pairs(path))

    def _elements(self, array: Path) -> Iterator[Path]:
        """The paths of the elements of *array*, each to be asked for where the element starts."""
        for number in count():
            path = (*array, number)
            self._lines[path] = self._cursor.line
            yield path

    def _pairs(self, table: Path) -> Iterator[Path]:
        """The paths of the values of an inline *table*, each to be asked for before its key."""
        while True:
            yield self._pair(table)


def _name(part: re.Match[str]) -> str:
    """What the matched part of a key says."""
    basic: str | None = part["basic"]
    if basic is None:
        return part["bare"] or part["literal"] or ""
    if "\\" not in basic:
        return basic[1:-1]
    # tomllib reads the escapes, so that both readings agree on them.
    (name,) = tomllib.loads(f"{basic} = 0")
    return name
