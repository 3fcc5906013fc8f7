"""What netd uses of a Twisted reactor, as protocols, so that a test can pass a clock instead.

Twisted's own interfaces are zope.interface's, which mypy cannot check arguments against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class DelayedCall(Protocol):
    """A scheduled call (IDelayedCall)."""

    def active(self) -> bool:
        """Whether it was neither made nor cancelled yet."""

    def cancel(self) -> None:
        """Do not make the call. Raises if it is not active."""


class Reactor(Protocol):
    """The parts of IReactorTime and IReactorFromThreads that netd uses."""

    def seconds(self) -> float:
        """The time of the reactor's clock. Twisted's follows the system's clock, which may step."""

    def callLater(self, delay: float, call: Callable[..., object], /, *args: object) -> DelayedCall:
        """Call after *delay* seconds, in the reactor's thread."""

    def callFromThread(self, call: Callable[..., object], /, *args: object) -> None:
        """Call soon in the reactor's thread. Safe from any thread, whose calls keep their order."""
