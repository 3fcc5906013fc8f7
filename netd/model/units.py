"""Durations and sizes as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_QUANTITY: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)", re.ASCII)
SECONDS: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
"""Seconds in each unit of a duration. A number without a unit has the empty one."""

BYTES: Final = {"B": 1, "": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
"""Bytes in each unit of a size."""

LONGEST: Final = 100 * 365 * 86400
"""Seconds. Enough for "99999h", which people write for "for ever"; less than a thread can
wait."""

LARGEST: Final = 2**63 - 1
"""Bytes, as in the system's own calls (off_t)."""


def duration(value: object) -> float:
    """Read a duration, a number of seconds or ``"250ms"``, ``"30s"``, ``"5m"``, ``"2h"``.

    Returns seconds. Raises ValueError for anything else; the text leaves *value* itself out.
    """
    seconds = _amount(value, SECONDS)
    if seconds is None:
        raise ValueError(
            'must be a number of seconds from 0, or a text like "250ms", "30s", "5m" or "2h"'
        )
    if seconds > LONGEST:
        raise ValueError("must be 100 years at most")
    return float(seconds)


def size(value: object) -> int:
    """Read a size, a number of bytes or ``"64KiB"``, ``"10MiB"``.

    Returns bytes. Raises ValueError for anything else; the text leaves *value* itself out.
    """
    count = _amount(value, BYTES)
    if count is None:
        raise ValueError('must be a number of bytes from 0, or a text like "64KiB" or "10MiB"')
    if count > LARGEST:
        raise ValueError("must be less than 8 EiB")
    if count != int(count):
        raise ValueError("must be a whole number of bytes")
    return int(count)


def pattern(units: Mapping[str, float]) -> str:
    """Return the pattern (ECMA 262) of the texts that ``duration`` or ``size`` reads."""
    return rf"^[0-9]+(\.[0-9]+)? *({'|'.join(filter(None, units))})?$"


def duration_text(seconds: float) -> str:
    """Return a duration in the largest unit that leaves a whole number, to a nanosecond."""
    for unit in ("h", "m", "s"):
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{seconds / SECONDS[unit]:.0f}{unit}"
    milliseconds = f"{seconds / SECONDS['ms']:.6f}".rstrip("0").rstrip(".")
    return f"{milliseconds}ms" if seconds else "0s"


def size_text(count: int) -> str:
    """Return a size in the largest unit that leaves a whole number."""
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % BYTES[unit] == 0:
            return f"{count // BYTES[unit]}{unit}"
    return f"{count}B"


def _amount(value: object, units: Mapping[str, float]) -> float | None:
    """Return the amount in the base unit, without a bound; None if *value* is no amount."""
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None or match["unit"] not in units:
            return None
        return float(match["number"]) * units[match["unit"]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if value >= 0 else None  # NaN compares false, so it is no amount either
