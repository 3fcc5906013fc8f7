"""Values and keys of a file, fit for one line of a terminal or a log."""

from __future__ import annotations

import json
from typing import Final

LONGEST: Final = 60
"""Characters of a string that are shown; with more of them nobody reads the rest of a message."""

LONGEST_NUMBER: Final = 128
"""Bits of a number that is shown. Besides, Python refuses to write very long ones out."""


def printable(text: str) -> str:
    """Escape what moves a cursor or cannot be seen: line ends, control characters, bidi marks."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def quoted(text: str) -> str:
    """Write a string as TOML has it, in quotes."""
    return printable(json.dumps(text, ensure_ascii=False))


def shown(value: object) -> str:
    """Write any value of a file, shortened."""
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
