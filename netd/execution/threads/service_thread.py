"""The threads of a pool: each belongs to one service."""

from __future__ import annotations

import threading
from typing import Any


class ServiceThread(threading.Thread):
    """A pool's thread: it belongs to one service, and never delays the end of the process."""

    def __init__(self, *args: Any, service: str, **keywords: Any) -> None:
        super().__init__(*args, daemon=True, **keywords)
        self.service = service
