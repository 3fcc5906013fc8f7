"""The effective configuration as text: TOML whose comments say where values are from, or JSON."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from netd.config import toml
from netd.config.document import dotted
from netd.config.effective import Setting
from netd.config.secrets import HIDDEN
from netd.config.text import printable
from netd.model.problem import Location


def as_toml(settings: Iterable[Setting], files: Iterable[str]) -> str:
    """One file that says what *files*, the first of which includes the others, say together.

    It loads to the same configuration, unless secrets are hidden; then it says so.
    """
    settings = list(settings)
    return "\n".join([*_head(settings, files), *_tables(settings)]) + "\n"


def as_json(settings: Iterable[Setting]) -> str:
    """A list of objects, one for each key."""
    return json.dumps([_object(each) for each in settings], indent=2, ensure_ascii=False) + "\n"


def _head(settings: list[Setting], files: Iterable[str]) -> Iterator[str]:
    yield f"# What {', '.join(map(printable, files))} and netd's defaults come to."
    if any(each.hidden for each in settings):
        yield f'# Secrets are hidden: before netd reads this, put them where "{HIDDEN}" stands.'


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


def _where(place: Location | None) -> str:
    if place is None:
        return "default"
    file, line = place
    return f"{printable(file)}:{line}" if line else file


def _object(setting: Setting) -> dict[str, Any]:
    file, line = setting.location or (None, None)
    return {
        "key": dotted(setting.path),
        "value": _plain(setting.value),
        "file": file,
        "line": line,
        "hidden": setting.hidden,
    }


def _plain(value: Any) -> Any:
    """*value* as JSON can have it, which has no dates and only finite numbers."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
