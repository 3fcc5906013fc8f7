"""Finds the admin socket of a file, even if other parts of the file are broken.

Imports no pydantic, so that netdctl starts fast.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import Final

OF_ROOT: Final = "/run/netd/admin.sock"
"""The default path for root (file-hierarchy(7))."""

_ADMIN: Final = re.compile(
    r"^[ \t]*\[[ \t]*admin[ \t]*\].*?(?=^[ \t]*\[|\Z)", re.MULTILINE | re.DOTALL
)
"""The table ``[admin]``, up to the next header."""

_DOTTED: Final = re.compile(r"\A(?:[^\[\n][^\n]*\n|\n)*?([ \t]*admin[ \t]*[.=][^\n]*)")
"""``admin.socket = …`` or ``admin = {…}``, before the first header."""


def admin_socket(file: str, named: str | None) -> str | None:
    """Return the path *named* by ``[admin] socket`` of *file*, made absolute; None for None."""
    return None if named is None else os.path.join(_directory(file), named)


def usual_socket(file: str) -> str:
    """Return the default path: fixed for root, beside *file* for another user."""
    if os.geteuid() == 0:
        return OF_ROOT
    return os.path.join(_directory(file), "run", "admin.sock")


def find_socket(file: str) -> str:
    """Return the admin socket of *file*. Only ``[admin]`` is read.

    netdctl thus reaches a running daemon while its file is being edited and is not valid TOML.
    Raises OSError if the file cannot be read, and ValueError if ``[admin]`` is not valid.
    """
    with open(file, encoding="utf-8", errors="replace") as opened:
        text = opened.read()
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        part = _ADMIN.search(text) or _DOTTED.search(text)
        values = tomllib.loads(part[part.lastindex or 0]) if part is not None else {}
    table = values.get("admin", {})
    named = table.get("socket") if isinstance(table, dict) else None
    found = admin_socket(file, named if isinstance(named, str) else None)
    return found or usual_socket(file)


def _directory(file: str) -> str:
    return os.path.dirname(os.path.abspath(file))
