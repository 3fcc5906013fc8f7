"""Values that both daemons' files have. Every function raises ValueError."""

from __future__ import annotations

import re
from typing import Final

INTERNAL: Final = ("echo", "discard", "chargen", "daytime", "time")
"""The built-in services of inetd and xinetd, for streams and datagrams; netd has them, too."""

LARGEST: Final = 2**63 - 1
"""The largest integer of TOML."""

_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20}


def number(text: str, least: int, most: int | None, what: str) -> int:
    """Read a whole number from *least* to *most*."""
    found = int(text) if re.fullmatch(r"-?\d{1,19}", text, re.ASCII) else None
    if found is None or not least <= found <= (LARGEST if most is None else most):
        span = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{text} is no {what}, which is {span}")
    return found


def size(text: str) -> int:
    """Read a size in bytes, KiB (``k``) or MiB (``m``)."""
    match = re.fullmatch(r"(\d{1,19})([kKmM]?)", text, re.ASCII)
    found = int(match[1]) * _UNITS[match[2].lower()] if match is not None else None
    if found is None or found > LARGEST:
        raise ValueError(f"{text} is no size, which is like 65536, 64K or 8M")
    return found


def account(text: str) -> str | int:
    """Return a user or group for netd: a number if the text is one."""
    return number(text, 0, 2**32 - 2, "user or group") if text.isdecimal() else text
