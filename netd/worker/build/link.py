"""What a service in a worker can ask of the daemon; tests build services without a daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class DaemonLink(Protocol):
    """Brings requests of a worker's services to the daemon. Any thread, unless a method says so."""

    def suspend(self, service: str) -> None:
        """Stop accepting in all processes of *service*. Returns once they have stopped."""

    def recycle(self, service: str, why: str) -> None:
        """Have this process replaced; it serves until its successor is ready."""

    def handler_hung(self, service: str) -> None:
        """Have this process killed, after the log lines that are queued."""

    def relay(self, lines: str) -> None:
        """Send complete log lines, as far as there is room. The reactor's thread."""

    def after_fork(self, suspend: Callable[[], None]) -> None:
        """In a forked child: leave the channel to the worker, and suspend by *suspend* instead.

        Raises OSError.
        """
