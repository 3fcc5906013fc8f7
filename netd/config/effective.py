"""The effective configuration: every key that there is, its value, and where that is from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from netd.config.document import dotted
from netd.config.load import PUT_IN_PLACE, SERVICES, Loaded
from netd.config.reference.json_schema import ALIAS_OF
from netd.config.schema import ONLY_BESIDE, ServiceTable
from netd.config.secrets import hide, is_secret
from netd.config.socket_options import SPARSE
from netd.config.types import Format
from netd.listening.description import absolute
from netd.model.problem import Place
from netd.model.service import Service, Wanted


def _path(path: str, directory: str) -> str:
    return os.path.normpath(os.path.join(directory, path))


def _command(arguments: list[str], directory: str) -> list[str]:
    # A name without a slash is looked for in PATH, as a shell does.
    program, *rest = arguments
    return [_path(program, directory) if os.sep in program else program, *rest]


_ABSOLUTE: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    Format.PATH: _path,
    Format.ADDRESS: absolute,
    Format.COMMAND: _command,
}
"""How a value of each format is made to mean the same in every directory."""


@dataclass(frozen=True)
class Setting:
    """One key of the effective configuration."""

    path: tuple[str, ...]
    value: Any
    """As a file can have it; None where nothing is said, and that has a meaning of its own."""
    place: Place | None
    """Where it is written; None for a default."""
    hidden: bool = False
    """Whether a secret was taken out of the value."""


def settings(
    schema: Mapping[str, Any], tables: Mapping[str, Any], places: Mapping[str, Place]
) -> Iterator[Setting]:
    """Every key that *schema*, a JSON Schema, knows for *tables*, with all that they have.

    What has no place is a default. The keys of a table come before the tables in it, as TOML needs
    them. What the main file says of other files and of all services has no setting: *tables* has it
    in its place.
    """
    keys = schema["properties"]
    own = {key: keys[key] for key in keys if key not in PUT_IN_PLACE}
    return _Walk(schema, places).table({"properties": own}, tables, ())


def decided(loaded: Loaded, services: Iterable[Service]) -> Loaded:
    """*loaded* with what was decided of *services*, which are its own, settled.

    What depends on what a service runs (``netd.config.resolve``) stands in its table then, and has
    the place of what was written only where that is what it came to.
    """
    tables = {name: _meaningful(table) for name, table in loaded.tables[SERVICES].items()}
    places = dict(loaded.configuration.places)
    for service in services:
        table = tables[service.name]
        for key, value in _decisions(service).items():
            places.pop(dotted((SERVICES, service.name, key)), None)
            table.pop(key, None)
            if value is not None:
                table[key] = value
        table.setdefault("worker", service.worker)
    configuration = replace(loaded.configuration, places=places)
    return replace(loaded, configuration=configuration, tables={**loaded.tables, SERVICES: tables})


def _meaningful(table: Mapping[str, Any]) -> dict[str, Any]:
    """A service's *table* without what it has from the defaults of services of another kind."""
    idle = {key for key, needed in ONLY_BESIDE.items() if needed not in table}
    if "plugin" in table:
        idle.add("listen")
    return {key: table[key] for key in table if key not in idle}


def _decisions(service: Service) -> dict[str, Any]:
    """What has come to something else than the table says; None for what means nothing."""
    found = {}
    for key in (field.name for field in fields(Wanted)):
        own, usual = getattr(service.own, key), getattr(service.defaults, key)
        if getattr(service, key) != (usual if own is None else own):
            found[key] = getattr(service, key)
    written = ServiceTable.model_construct(**found).model_dump(include=set(found))
    return {**written, "threads": None} if service.concurrency == "reactor" else written


class _Walk:
    """One walk through tables, along the schema."""

    def __init__(self, schema: Mapping[str, Any], places: Mapping[str, Place]) -> None:
        self._schema = schema
        self._places = places

    def table(
        self, shape: Mapping[str, Any], written: Mapping[str, Any], path: tuple[str, ...]
    ) -> Iterator[Setting]:
        """The settings of a table whose keys are known."""
        inner = []
        needs = shape.get("dependentRequired", {})
        for key, found in _named(shape["properties"], written).items():
            below = self._resolved(found)
            value = written.get(key)
            if _is_listed(below) or (below.get("type") == "object" and value):
                inner.append((key, below, value or {}))
            elif key not in written and not written.keys() >= set(needs.get(key, ())):
                yield Setting((*path, key), None, None)
            else:
                yield self._setting(below, written, (*path, key))
        for key, below, value in inner:
            yield from self._tables(below, value, (*path, key))

    def _tables(
        self, shape: Mapping[str, Any], written: Mapping[str, Any], path: tuple[str, ...]
    ) -> Iterator[Setting]:
        """The settings of a table of any kind: with known keys, of tables, or with any keys."""
        if _is_listed(shape):
            yield from self.table(shape, written, path)
        elif "patternProperties" in shape:
            (element,) = shape["patternProperties"].values()
            for key, value in written.items():
                yield from self._tables(self._resolved(element), value, (*path, key))
        else:
            yield from self._free(written, path)

    def _free(
        self, written: Mapping[str, Any], path: tuple[str, ...], secret: bool = False
    ) -> Iterator[Setting]:
        """The settings of a table that somebody else gives a meaning to."""
        for key, value in written.items():
            if not (isinstance(value, dict) and value):
                shown = hide(value, secret or is_secret(key))
                place = self._places[dotted((*path, key))]
                yield Setting((*path, key), shown, place, shown is not value)
        for key, value in written.items():
            if isinstance(value, dict) and value:
                yield from self._free(value, (*path, key), secret or is_secret(key))

    def _setting(
        self, shape: Mapping[str, Any], written: Mapping[str, Any], path: tuple[str, ...]
    ) -> Setting:
        if path[-1] not in written:
            return Setting(path, shape.get("default"), None)
        place, value = self._places.get(dotted(path)), written[path[-1]]
        if place is not None:
            value = _anywhere(value, shape, os.path.dirname(os.path.abspath(place[0])))
        shown = hide(value)
        return Setting(path, shown, place, shown is not value)

    def _resolved(self, shape: Mapping[str, Any]) -> Mapping[str, Any]:
        """*shape*, or what it refers to."""
        reference = shape.get("$ref")
        if reference is None:
            return shape
        found: Mapping[str, Any] = self._schema["$defs"][reference.removeprefix("#/$defs/")]
        return found


def _is_listed(shape: Mapping[str, Any]) -> bool:
    """Whether a table's keys are all shown, written or not."""
    return "properties" in shape and SPARSE not in shape


def _named(keys: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """*keys* without other names for those of *written*, or for what is not written."""
    others = {keys[key][ALIAS_OF] for key in written if ALIAS_OF in keys.get(key, {})}
    return {
        key: found
        for key, found in keys.items()
        if (key in written if ALIAS_OF in found else key not in others)
    }


def _anywhere(value: Any, shape: Mapping[str, Any], directory: str) -> Any:
    """*value* with absolute paths, as far as it has paths."""
    make = _ABSOLUTE.get(shape.get("format", ""))
    if make is not None:
        return make(value, directory)
    if isinstance(value, list):
        return [_anywhere(element, shape.get("items", {}), directory) for element in value]
    return value
