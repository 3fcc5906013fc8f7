"""The effective configuration as text: TOML with the origin of each value in a comment, or JSON."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Iterator
from itertools import groupby

from netd.config import toml
from netd.config.document import TomlValue, dotted
from netd.config.effective import Setting
from netd.config.secrets import HIDDEN
from netd.config.text import printable
from netd.model.problem import Location


def as_toml(settings: Iterable[Setting], files: Iterable[str]) -> str:
    """Return one file that means the same as *files*, the first of which includes the others.

    It loads to the same configuration unless it has hidden secrets, which its head then says.
    """
    settings = list(settings)
    return "\n".join([*_head(settings, files), *_tables(settings)]) + "\n"


def as_json(settings: Iterable[Setting]) -> str:
    """Return a JSON list with an object for each key."""
    return json.dumps([_object(each) for each in settings], indent=2, ensure_ascii=False) + "\n"


def _head(settings: list[Setting], files: Iterable[str]) -> Iterator[str]:
    yield f"# The effective configuration of {', '.join(map(printable, files))}."
    if any(each.hidden for each in settings):
        yield f'# Secrets are hidden. Replace each "{HIDDEN}" before netd reads this file.'


def _tables(settings: list[Setting]) -> Iterator[str]:
    for path, keys in groupby(settings, lambda each: each.path[:-1]):
        yield ""
        if path:
            yield toml.header(path)
        unset = []
        for setting in keys:
            if setting.value is None:
                unset.append(setting.path[-1])
            else:
                yield from _lines(setting)
        if unset:
            yield from toml.comment(f"Not set: {', '.join(unset)}.")


def _lines(setting: Setting) -> Iterator[str]:
    *most, last = toml.pair(setting.path[-1], setting.value)
    yield from most
    hidden = ", hidden" if setting.hidden else ""
    yield f"{last}  # {_where(setting.location)}{hidden}"


def _where(location: Location | None) -> str:
    if location is None:
        return "default"
    file, line = location
    return f"{printable(file)}:{line}" if line else file


def _object(setting: Setting) -> dict[str, object]:
    file, line = setting.location or (None, None)
    return {
        "key": dotted(setting.path),
        "value": _plain(setting.value),
        "file": file,
        "line": line,
        "hidden": setting.hidden,
    }


def _plain(value: TomlValue | None) -> object:
    """Return *value* as JSON: JSON has no dates, and only finite numbers."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
