"""What one reading of the files finds beside values: problems, notes, and where each key stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from netd.config.document import Document, TomlTable, dotted
from netd.config.messages import message
from netd.config.positions import Path
from netd.model.problem import Location, Problem

_Model = TypeVar("_Model", bound=BaseModel)


class Findings:
    """Collects problems instead of raising them, so that one run of ``check`` reports them all."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        """What is worth knowing, but no error."""
        self.locations: dict[str, Location] = {}
        """Where each key is written, by its dotted path in the effective configuration."""

    def problem(self, document: Document, path: Path, text: str) -> None:
        """Record a problem with the key at *path* of *document*."""
        self.problems.append(document.problem(path, text))

    def note(self, document: Document, path: Path, text: str) -> None:
        """Record a note about the key at *path* of *document*."""
        self.notes.append(document.problem(path, text))

    def validate(
        self,
        document: Document,
        path: Path,
        table: TomlTable,
        model: type[_Model],
        whole: bool = True,
        written: TomlTable | None = None,
    ) -> _Model | None:
        """Validate *table*, which stands at *path*; return None if it has a problem.

        Without *whole*, required keys may be missing. *written* is the part of *table* that the
        file has at *path*; the rest comes from ``[defaults]``, whose problems are reported once,
        at ``[defaults]``.
        """
        try:
            return model.model_validate(table)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                is_missing = detail["type"] == "missing"
                if is_missing and not whole:
                    continue
                # A missing key stands nowhere, so it is always a problem of this table.
                if is_missing or written is None or contains(written, detail["loc"]):
                    self.problem(document, (*path, *detail["loc"]), message(detail, model))
            return None

    def locate(self, document: Document, path: Path, table: TomlTable, key: Path) -> None:
        """Record where *table* stands, and every key in it, as the effective key *key*.

        Some problems only show later, when a value is used, and ``print-config`` shows where each
        value is from.
        """
        self.locations[dotted(key)] = document.location(path)
        for name, value in table.items():
            if isinstance(value, dict):
                self.locate(document, (*path, name), value, (*key, name))
            else:
                self.locations[dotted((*key, name))] = document.location((*path, name))


def is_valid(table: TomlTable, model: type[BaseModel]) -> bool:
    """Whether *model* accepts *table*."""
    try:
        model.model_validate(table)
    except ValidationError:
        return False
    return True


def contains(table: object, path: tuple[int | str, ...]) -> bool:
    """Whether *table* has the key at *path*. A list counts as having every element."""
    for key in path:
        if isinstance(table, list):
            return True
        if not isinstance(table, Mapping) or key not in table:
            return False
        table = table[str(key)]
    return True
