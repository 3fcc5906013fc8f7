"""Durations and sizes as people write them."""

from __future__ import annotations

import re
from typing import Final

_QUANTITY: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def duration(value: object) -> float:
    """Read a duration, a number of seconds or ``"250ms"``, ``"30s"``, ``"5m"``, ``"2h"``.

    Returns seconds. Raises ValueError for anything else.
    """
    return _quantity(
        value, _SECONDS, "s", 'a number of seconds, or like "250ms", "30s", "5m", "2h"'
    )


def size(value: object) -> int:
    """Read a size, a number of bytes or ``"64KiB"``, ``"10MiB"``.

    Returns bytes. Raises ValueError for anything else.
    """
    return int(_quantity(value, _BYTES, "B", 'a number of bytes, or like "64KiB", "10MiB"'))


def _quantity(
    value: object, units: dict[str, float] | dict[str, int], own: str, form: str
) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be {form}")
    match = _QUANTITY.fullmatch(str(value))
    if match is None or (match["unit"] or own) not in units:
        raise ValueError(f"{value!r} must be {form}")
    return float(match["number"]) * units[match["unit"] or own]
