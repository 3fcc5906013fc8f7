"""A client that was taken and does not come to be served."""

from __future__ import annotations

import time

from netd.execution.sources import Taken


class Refused(Exception):
    """Why, in a word for the log and the metrics, and perhaps more; whoever is told closes it."""

    def __init__(
        self, taken: Taken, reason: str, detail: str = "", since: float | None = None
    ) -> None:
        super().__init__(reason)
        self.taken = taken
        self.reason = reason
        self.detail = detail
        self.since = time.monotonic() if since is None else since
        """When it was taken."""
