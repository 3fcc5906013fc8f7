"""The configuration file to read when the command line names none."""

from __future__ import annotations

import os
from typing import Final

DEFAULT_FILES: Final = ("netd.toml", "conf/netd.toml", "/etc/netd/netd.toml")
"""The files to try, in this order."""

NONE_THERE: Final = f"no configuration: there is no {', '.join(DEFAULT_FILES)}"
"""The message if none of them exists."""


def default_file() -> str | None:
    """Return the first of ``DEFAULT_FILES`` that exists; None if none does."""
    return next((file for file in DEFAULT_FILES if os.path.exists(file)), None)
