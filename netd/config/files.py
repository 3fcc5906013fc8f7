"""Which configuration file is taken when none is named."""

from __future__ import annotations

import os
from typing import Final

DEFAULT_FILES: Final = ("netd.toml", "conf/netd.toml", "/etc/netd/netd.toml")
"""Where a configuration is looked for; the first that exists is taken."""

NONE_THERE: Final = f"no configuration: there is no {', '.join(DEFAULT_FILES)}"
"""What is said when there is none of them."""


def default_file() -> str | None:
    """The configuration file that is taken when none is named; None if there is none."""
    return next((file for file in DEFAULT_FILES if os.path.exists(file)), None)
