"""What netd's parts ask of a Twisted reactor, so that a test can hand them a clock instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class DelayedCall(Protocol):
    """A call that is going to be made (IDelayedCall)."""

    def active(self) -> bool:
        """Whether it has been neither made nor cancelled."""

    def cancel(self) -> None:
        """Do not make it."""


class Reactor(Protocol):
    """The parts of IReactorTime and IReactorFromThreads that netd uses."""

    def seconds(self) -> float:
        """The time, of a clock that never steps."""

    def callLater(self, delay: float, call: Callable[..., Any], /, *args: Any) -> DelayedCall:
        """Call in *delay* seconds, in the reactor's thread."""

    def callFromThread(self, call: Callable[..., Any], /, *args: Any) -> None:
        """Call soon in the reactor's thread; safe from any thread."""
