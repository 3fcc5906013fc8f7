"""Where the admin socket is: what netdctl needs of a file, even if the rest of it is broken."""

from __future__ import annotations

import os
import tomllib
from typing import Final

OF_ROOT: Final = "/run/netd/admin.sock"
"""The usual place of a system's daemon (file-hierarchy(7))."""


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

    Raises OSError when the file cannot be read, and ValueError when it is not TOML at all.
    """
    with open(file, "rb") as opened:
        table = tomllib.load(opened).get("admin", {})
    named = table.get("socket") if isinstance(table, dict) else None
    found = admin_socket(file, named if isinstance(named, str) else None)
    return found or usual_socket(file)


def _directory(file: str) -> str:
    return os.path.dirname(os.path.abspath(file))
