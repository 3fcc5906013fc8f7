"""What a service in a worker asks of its process and the daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Office(Protocol):
    """What a service has to do with the daemon. For any thread, if nothing else is said."""

    def suspend(self, service: str) -> None:
        """Stop taking in all processes of *service*; returns when that is so."""

    def worn(self, service: str, why: str) -> None:
        """This process is to be replaced."""

    def hung(self, service: str) -> None:
        """This process is to be ended."""

    def relay(self, lines: str) -> None:
        """Bring lines of log to the daemon that are complete. The reactor's thread."""

    def become_child(self, suspend: Callable[[], None]) -> None:
        """In a process that was forked: leave the daemon to the worker, and ask it by *suspend*.

        Raises OSError.
        """
