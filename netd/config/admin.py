"""Where the admin socket is: what netdctl needs of a file, even if the rest of it is broken."""

from __future__ import annotations

import os
import re
import tomllib
from typing import Final

OF_ROOT: Final = "/run/netd/admin.sock"
"""The usual place of a system's daemon (file-hierarchy(7))."""

_ADMIN: Final = re.compile(
    r"^[ \t]*\[[ \t]*admin[ \t]*\].*?(?=^[ \t]*\[|\Z)", re.MULTILINE | re.DOTALL
)
"""The table ``[admin]``, up to the next header."""

_DOTTED: Final = re.compile(r"\A(?:[^\[\n][^\n]*\n|\n)*?([ \t]*admin[ \t]*[.=][^\n]*)")
"""``admin.socket = …`` or ``admin = {…}``, before the first header."""


def admin_socket(file: str, named: str | None) -> str | None:
    """The path that ``[admin] socket`` of *file* names, made absolute; None if it names none."""
    return None if named is None else os.path.join(_directory(file), named)


def usual_socket(file: str) -> str:
    """The path for a *file* that names none: root's is the system's, another user's beside it."""
    if os.geteuid() == 0:
        return OF_ROOT
    return os.path.join(_directory(file), "run", "admin.sock")


def find_socket(file: str) -> str:
    """The admin socket of *file*, of which only ``[admin]`` is looked at.

    So netdctl finds a daemon whose file somebody is in the middle of changing. Raises OSError when
    the file cannot be read, and ValueError when ``[admin]`` itself cannot.
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
