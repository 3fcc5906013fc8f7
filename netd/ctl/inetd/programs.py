"""Programs, as netd starts them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

_NAMED: Final = ("/bin/bash", "-c", 'exec -a "$0" -- "$@"')
"""Runs what comes after its first argument under that name. Bash is the one program for this that
every Debian machine has: dash cannot do it, and env(1) only of late."""


def command(path: str, argv: Sequence[str]) -> tuple[list[str], bool]:
    """The program at *path* with *argv*, its own name first, as netd's ``program``.

    Netd gives a program its path as its name. Where *argv* has another, which tells tcpd(8) what
    to run, bash is put before it; the answer says whether that was needed.
    """
    name, *arguments = argv
    if name in (path, os.path.basename(path)):
        return [path, *arguments], False
    return [*_NAMED, name, path, *arguments], True


def renamed(name: str) -> str:
    """The remark for a program that needs bash."""
    return f"Bash starts it, since its own name is to be {name} and not its path."
