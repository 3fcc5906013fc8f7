"""The effective configuration: every key that there is, its value, and where that is from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

from netd.config.document import TomlTable, TomlValue, dotted
from netd.config.load import MERGED_KEYS, Loaded
from netd.config.reference.json_schema import ALIAS_OF, Shape
from netd.config.schema import ONLY_BESIDE, SERVICES, ServiceTable
from netd.config.secrets import hide, is_secret
from netd.config.socket_options import SPARSE
from netd.config.types import Format
from netd.listening.description import absolute
from netd.model.problem import Location
from netd.model.service import Requested, Service


@dataclass(frozen=True)
class Setting:
    """One key of the effective configuration."""

    path: tuple[str, ...]
    value: TomlValue | None
    """As a file can have it; None if the key is not set and has no default."""
    location: Location | None
    """Where it is written; None for a default."""
    hidden: bool = False
    """Whether the value had a secret, which is replaced."""


def settings(
    schema: Shape, tables: TomlTable, locations: Mapping[str, Location]
) -> Iterator[Setting]:
    """Yield every key that *schema*, a JSON Schema, has for *tables*, with its value.

    A key without a location has its default. The keys of a table come before the tables in it, as
    TOML requires. ``include`` and ``[defaults]`` have no setting: *tables* has what they stand for.
    """
    keys = schema["properties"]
    own = {key: keys[key] for key in keys if key not in MERGED_KEYS}
    return _Walk(schema, locations).table({"properties": own}, tables, ())


def decided(loaded: Loaded, services: Iterable[Service]) -> Loaded:
    """Return *loaded* with the decisions that depend on what its *services* run.

    *services* are its own, after ``netd.config.resolve``. A key whose value is a decision, and not
    what was written, loses its location.
    """
    written = loaded.tables[SERVICES]
    assert isinstance(written, dict)
    tables: dict[str, TomlTable] = {
        name: _meaningful(table) for name, table in written.items() if isinstance(table, dict)
    }
    locations = dict(loaded.configuration.locations)
    for service in services:
        table = tables[service.name]
        for key, value in _decisions(service).items():
            locations.pop(dotted((SERVICES, service.name, key)), None)
            table.pop(key, None)
            if value is not None:
                table[key] = value
        # The default of ``worker`` is the name of the service, which no schema can say.
        table.setdefault("worker", service.worker)
    configuration = replace(loaded.configuration, locations=locations)
    merged: TomlTable = {**loaded.tables, SERVICES: dict(tables)}
    return replace(loaded, configuration=configuration, tables=merged)


def _meaningful(table: TomlTable) -> TomlTable:
    """Return a service's *table* without the defaults that are for services of another kind."""
    idle = {key for key, needed in ONLY_BESIDE.items() if needed not in table}
    if "plugin" in table:
        idle.add("listen")
    return {key: table[key] for key in table if key not in idle}


def _decisions(service: Service) -> dict[str, TomlValue | None]:
    """Return the keys whose value is not what the table says; None for a key without effect."""
    found = {}
    for key in (field.name for field in fields(Requested)):
        own, usual = getattr(service.own, key), getattr(service.defaults, key)
        if getattr(service, key) != (usual if own is None else own):
            found[key] = getattr(service, key)
    written = ServiceTable.model_construct(**found).model_dump(include=set(found))
    return {**written, "threads": None} if service.concurrency == "reactor" else written


class _Walk:
    """One walk through tables, along the schema."""

    def __init__(self, schema: Shape, locations: Mapping[str, Location]) -> None:
        self._schema = schema
        self._locations = locations

    def table(self, shape: Shape, written: TomlTable, path: tuple[str, ...]) -> Iterator[Setting]:
        """Yield the settings of a table whose keys are known."""
        inner: list[tuple[str, Shape, TomlTable]] = []
        # A key that needs another one has no default without it, so it is shown as not set.
        needs = shape.get("dependentRequired", {})
        for key, found in _named(shape["properties"], written).items():
            below = self._resolved(found)
            value = written.get(key)
            if _is_listed(below) or (below.get("type") == "object" and value):
                inner.append((key, below, value if isinstance(value, dict) else {}))
            elif key not in written and not written.keys() >= set(needs.get(key, ())):
                yield Setting((*path, key), None, None)
            else:
                yield self._setting(below, written, (*path, key))
        for key, below, value in inner:
            yield from self._tables(below, value, (*path, key))

    def _tables(self, shape: Shape, written: TomlTable, path: tuple[str, ...]) -> Iterator[Setting]:
        """Yield the settings of any table: with known keys, of named tables, or with free keys."""
        if _is_listed(shape):
            yield from self.table(shape, written, path)
        elif "patternProperties" in shape:
            (element,) = shape["patternProperties"].values()
            for key, value in written.items():
                if isinstance(value, dict):
                    yield from self._tables(self._resolved(element), value, (*path, key))
        else:
            yield from self._free(written, path)

    def _free(
        self, written: TomlTable, path: tuple[str, ...], secret: bool = False
    ) -> Iterator[Setting]:
        """Yield the settings of a table whose keys the service's code defines."""
        for key, value in written.items():
            if not (isinstance(value, dict) and value):
                shown = hide(value, secret or is_secret(key))
                location = self._locations[dotted((*path, key))]
                yield Setting((*path, key), shown, location, shown is not value)
        for key, value in written.items():
            if isinstance(value, dict) and value:
                yield from self._free(value, (*path, key), secret or is_secret(key))

    def _setting(self, shape: Shape, written: TomlTable, path: tuple[str, ...]) -> Setting:
        if path[-1] not in written:
            return Setting(path, shape.get("default"), None)
        location, value = self._locations.get(dotted(path)), written[path[-1]]
        # A decision has no location, and a path in it is absolute already.
        if location is not None:
            value = _anywhere(value, shape, os.path.dirname(os.path.abspath(location[0])))
        shown = hide(value)
        return Setting(path, shown, location, shown is not value)

    def _resolved(self, shape: Shape) -> Shape:
        """Return *shape*, or the definition that it refers to."""
        reference = shape.get("$ref")
        if reference is None:
            return shape
        found: Shape = self._schema["$defs"][reference.removeprefix("#/$defs/")]
        return found


def _is_listed(shape: Shape) -> bool:
    """Whether all keys of a table are shown, written or not."""
    return "properties" in shape and SPARSE not in shape


def _named(keys: Mapping[str, Shape], written: TomlTable) -> dict[str, Shape]:
    """Return *keys* with one name for each: the one that is written, or else the usual one."""
    others = {keys[key][ALIAS_OF] for key in written if ALIAS_OF in keys.get(key, {})}
    return {
        key: found
        for key, found in keys.items()
        if (key in written if ALIAS_OF in found else key not in others)
    }


def _anywhere(value: TomlValue, shape: Shape, directory: str) -> TomlValue:
    """Return *value* with absolute paths, so that it means the same in every directory."""
    match shape.get("format"), value:
        case Format.PATH, str():
            return _path(value, directory)
        case Format.ADDRESS, str():
            return absolute(value, directory)
        case Format.COMMAND, [str(program), *arguments]:
            # A name without a slash is looked for in PATH, as a shell does.
            return [_path(program, directory) if os.sep in program else program, *arguments]
        case _, list():
            return [_anywhere(element, shape.get("items", {}), directory) for element in value]
    return value


def _path(path: str, directory: str) -> str:
    return os.path.normpath(os.path.join(directory, path))
