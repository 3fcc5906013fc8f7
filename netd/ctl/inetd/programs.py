"""Programs as netd's ``program`` starts them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

_NAMED: Final = ("/bin/bash", "-c", 'exec -a "$0" -- "$@"')
"""Runs a program under another name, which is the first argument. Every Debian machine has bash;
dash cannot do this, and env(1) only in recent versions."""


def command(path: str, argv: Sequence[str]) -> tuple[list[str], bool]:
    """Return netd's ``program`` for the program at *path* with *argv*, and whether it needs bash.

    netd starts a program with its path as ``argv[0]``. tcpd(8) reads there which program to run, so
    if *argv* starts with another name, bash sets it.
    """
    name, *arguments = argv
    if name in (path, os.path.basename(path)):
        return [path, *arguments], False
    return [*_NAMED, name, path, *arguments], True


def renamed(name: str) -> str:
    """Return the remark for a program that needs bash."""
    return f"Bash starts it, since its own name is to be {name} and not its path."
