"""Values and keys of a file as text for one line of a terminal or a log."""

from __future__ import annotations

import json
from typing import Final

LONGEST: Final = 60
"""Most characters of a string to show. More would hide the rest of the message."""

LONGEST_NUMBER: Final = 128
"""Most bits of a number to show. Python refuses to convert very long ones to text, anyway."""


def printable(text: str) -> str:
    """Escape characters that move a cursor or are invisible: line ends, controls, bidi marks."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def quoted(text: str) -> str:
    """Return a string in quotes, as in TOML."""
    return printable(json.dumps(text, ensure_ascii=False))


def shown(value: object) -> str:
    """Return any value of a file as text, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return quoted(value if len(value) <= LONGEST else f"{value[:LONGEST]}…")
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        return "an enormous number"
    return str(value)
