"""How a process ended, in words."""

from __future__ import annotations

import signal


def ending(code: int) -> str:
    """The end of a process: *code* is its exit status, or the negative number of a signal."""
    if code >= 0:
        return f"status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have no name
        return f"signal {-code}"
