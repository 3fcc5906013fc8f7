"""Reads xinetd.conf(5) and the files that it includes, into entries with their defaults merged."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from netd.ctl.inetd.attributes import ATTRIBUTES, Attribute
from netd.ctl.inetd.lines import NO_TEXT, Line, Location, significant, words_of
from netd.ctl.inetd.machine import Machine
from netd.model.problem import Problem

KEYWORDS: Final = frozenset({"service", "defaults", "include", "includedir"})
"""The first words of lines outside an entry."""

DEEPEST: Final = 20
"""The deepest chain of files that include each other. Real files have a few levels. The recursive
reader stays within Python's recursion limit."""

_ASSIGNMENT: Final = re.compile(
    r"\s*(?P<name>[^\s=]+)\s+(?P<operator>[+-]?=)(?P<values>.*)", re.ASCII
)


@dataclass(frozen=True)
class Values:
    """The values of an attribute, after every ``+=`` and ``-=``."""

    words: tuple[str, ...]
    place: Location
    """Where it was last changed."""
    is_default: bool = False
    """Whether all values are from the defaults."""


@dataclass(frozen=True)
class Entry:
    """A service, merged with the defaults."""

    place: Location
    name: str
    identity: str
    """The value of ``id``, or the name."""
    attributes: Mapping[str, Values]
    problems: tuple[Problem, ...]
    """Problems with it or with the defaults: a restriction may be missing because of one."""
    is_off: bool
    """Whether xinetd has it disabled."""


class Reader:
    """Reads files one after another, as one configuration. Call ``entries`` after the last one."""

    def __init__(self, machine: Machine) -> None:
        self.skipped: list[str] = []
        """The files that ``includedir`` skips because of their names."""
        self._machine = machine
        self._read: set[str] = set()
        self._problems: list[Problem] = []
        self._defaults = _Section(Location("", 1), "defaults", {}, is_defaults=True)
        self._services: list[_Section] = []

    def read(self, file: str, data: bytes) -> None:
        """Read a file of the command line, unless an earlier one has included it."""
        if self._is_new(file):
            self._file(file, data, depth=0)

    def read_directory(self, directory: str, names: list[str]) -> list[str]:
        """Return the paths of those *names* that ``includedir`` reads; record the others."""
        paths = []
        for name in names:
            path = f"{directory.rstrip('/')}/{name}"
            if "." in name or name.endswith("~"):
                self.skipped.append(path)
            elif self._machine.listing(path) is None:
                paths.append(path)
        return paths

    def entries(self) -> list[Entry]:
        """Return all services that were read."""
        return [self._entry(section) for section in self._services]

    def problems(self) -> list[Problem]:
        """Return every problem with the syntax of the files."""
        sections = (self._defaults, *self._services)
        return self._problems + [problem for section in sections for problem in section.problems]

    # Files.

    def _is_new(self, file: str) -> bool:
        identity = self._machine.identity(file)
        known = identity in self._read
        self._read.add(identity)
        return not known

    def _file(self, file: str, data: bytes, depth: int) -> None:
        lines = significant(file, data)
        had_defaults = False
        for line in lines:
            keyword, *arguments = line.words
            if keyword == "defaults" and not had_defaults:
                had_defaults = True
                self._defaults.place = line.place
                self._body(self._defaults, lines)
            elif keyword == "service" and arguments and line.is_text:
                self._service(arguments[0], line, lines)
            elif keyword in ("include", "includedir") and arguments and line.is_text:
                self._include(keyword, arguments[0], line.place, depth)
            else:
                self._wrong(line, lines)

    def _service(self, name: str, line: Line, lines: Iterator[Line]) -> None:
        section = _Section(line.place, name, self._defaults.inherited())
        if self._body(section, lines):
            self._services.append(section)

    def _body(self, section: _Section, lines: Iterator[Line]) -> bool:
        """Read an entry from its ``{`` to its ``}``; return whether it has a ``{``."""
        start = next(lines, None)
        if start is None or start.words != ("{",):
            text = f'{section.name}: the next line must have a "{{" and nothing else; without it'
            self._problems.append(
                section.place.problem(f'{text}, xinetd leaves out all up to the next "}}"')
            )
            _skip(lines)
            return False
        for line in lines:
            if line.words == ("}",):
                return True
            section.assign(line)
        section.problems.append(section.place.problem(f'{section.name} has no "}}" at its end'))
        return True

    def _wrong(self, line: Line, lines: Iterator[Line]) -> None:
        keyword = line.words[0] if line.is_text else "this"
        what = f'{keyword} is no start of an entry: write "service NAME"'
        if not line.is_text:
            what = NO_TEXT
        elif keyword == "defaults":
            what = "a file has one defaults entry, and this is another: put both into one"
        elif keyword in KEYWORDS:
            what = f"{keyword} needs a name after it"
        rest = 'xinetd leaves out all up to the next "}"'
        self._problems.append(line.place.problem(f"{what}; {rest}"))
        _skip(lines)

    def _include(self, keyword: str, path: str, place: Location, depth: int) -> None:
        if depth >= DEEPEST:
            self._problems.append(place.problem(f"files include each other {DEEPEST} deep"))
            return
        try:
            for file in self._included(keyword, path):
                if self._is_new(file):
                    self._file(file, self._machine.read(file), depth + 1)
        except OSError as error:
            text = f"cannot read {error.filename or path}: {error.strerror}"
            self._problems.append(place.problem(f"{text}; if it has moved, import it by its path"))

    def _included(self, keyword: str, path: str) -> list[str]:
        if keyword == "include":
            return [path]
        names = self._machine.listing(path)
        if names is None:
            raise NotADirectoryError(0, "there is no such directory", path)
        return self.read_directory(path, names)

    # Services.

    def _entry(self, section: _Section) -> Entry:
        general = {
            name: replace(values, is_default=True)
            for name, values in self._defaults.attributes.items()
            if not (ATTRIBUTES[name].is_inherited or ATTRIBUTES[name].only_in_defaults)
        }
        return Entry(
            place=section.place,
            name=section.name,
            identity=section.identity,
            attributes={**general, **section.attributes},
            problems=(*section.problems, *self._defaults.problems),
            is_off=section.is_disabled or self._is_off(section.identity),
        )

    def _is_off(self, identity: str) -> bool:
        """Whether ``enabled`` or ``disabled`` of the defaults turn a service off."""
        enabled = self._defaults.attributes.get("enabled")
        disabled = self._defaults.attributes.get("disabled")
        return (enabled is not None and identity not in enabled.words) or (
            disabled is not None and identity in disabled.words
        )


class _Section:
    """An entry while it is read."""

    def __init__(
        self,
        place: Location,
        name: str,
        inherited: Mapping[str, Values],
        is_defaults: bool = False,
    ) -> None:
        self.place = place
        self.name: Final = name
        self._is_defaults: Final = is_defaults
        self.attributes = dict(inherited)
        self.problems: list[Problem] = []
        self._own: set[str] = set()

    @property
    def identity(self) -> str:
        return self.attributes["id"].words[0] if "id" in self.attributes else self.name

    @property
    def is_disabled(self) -> bool:
        disable, flags = self.attributes.get("disable"), self.attributes.get("flags")
        return (disable is not None and disable.words == ("yes",)) or (
            flags is not None and "DISABLE" in flags.words
        )

    def inherited(self) -> dict[str, Values]:
        """Return the attributes that the next service starts with."""
        return {
            name: replace(values, is_default=True)
            for name, values in self.attributes.items()
            if ATTRIBUTES[name].is_inherited
        }

    def assign(self, line: Line) -> None:
        """Read one line between the braces."""
        try:
            name, operator, words = _assignment(line)
            attribute = self._attribute(name)
            self._check(attribute, name, operator, words)
            read = [element for word in words for element in attribute.read(word)]
        except ValueError as error:
            self.problems.append(line.place.problem(str(error)))
            return
        self._own.add(name)
        # "interface" is another name for "bind", and the first of the two counts.
        key = "bind" if name == "interface" else name
        self.attributes[key] = Values(self._merged(key, operator, read), line.place)

    def _attribute(self, name: str) -> Attribute:
        attribute = ATTRIBUTES.get(name)
        if attribute is None:
            near = difflib.get_close_matches(name, ATTRIBUTES, 1)
            hint = f": did you mean {near[0]}?" if near else ", and xinetd ignores it"
            raise ValueError(f"{name} is no attribute of xinetd{hint}")
        if self._is_defaults and not attribute.in_defaults:
            raise ValueError(f"{name} cannot stand in defaults: put it into the services")
        if not self._is_defaults and attribute.only_in_defaults:
            raise ValueError(f"{name} stands in defaults only: write disable = yes or no")
        return attribute

    def _check(
        self, attribute: Attribute, name: str, operator: str, words: tuple[str, ...]
    ) -> None:
        if not attribute.is_list and operator != "=":
            raise ValueError(f"{name} takes no {operator}: write {name} = …")
        if name == "env" and operator == "-=":
            raise ValueError("env takes no -=: write env = with all variables")
        same = {"bind", "interface"} if name in ("bind", "interface") else {name}
        if not attribute.is_list and self._own & same:
            raise ValueError(f"{name} is there already, and can be given once")
        least, most = attribute.values
        if len(words) < least or (most is not None and len(words) > most):
            number = f"{least}" if least == most else f"{least} or more"
            raise ValueError(f"{name} takes {number} values, not {len(words)}")

    def _merged(self, name: str, operator: str, words: list[str]) -> tuple[str, ...]:
        before = self.attributes[name].words if name in self.attributes else ()
        if operator == "-=":
            return tuple(word for word in before if word not in words)
        # In defaults, "=" adds too.
        if operator == "+=" or (self._is_defaults and ATTRIBUTES[name].is_list):
            return (*before, *(word for word in words if word not in before))
        return tuple(words)


def _assignment(line: Line) -> tuple[str, str, tuple[str, ...]]:
    if not line.is_text:
        raise ValueError(NO_TEXT)
    match = _ASSIGNMENT.fullmatch(line.text)
    if match is None:
        raise ValueError(
            f"{line.words[0]}: an attribute is NAME = VALUES, with a blank before the =, += or -="
        )
    return match["name"], match["operator"], words_of(match["values"])


def _skip(lines: Iterator[Line]) -> None:
    """Skip everything up to the end of an entry, as xinetd does."""
    for line in lines:
        if line.words == ("}",):
            return
