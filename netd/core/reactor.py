"""What netd's parts ask of a Twisted reactor, so that a test can pass a clock instead.

Each protocol names the least that a part needs. The real reactor and the fakes of the tests
satisfy all of them; none is inherited from at run time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

# Processes that never have a reactor import this module, and Twisted would cost them 150 ms.
if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IReactorFDSet,
        IReadDescriptor,
        IWriteDescriptor,
    )
    from twisted.internet.protocol import Factory, ProcessProtocol

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor


class DelayedCall(Protocol):
    """A call that is going to be made (IDelayedCall)."""

    def active(self) -> bool:
        """Whether it has been neither made nor cancelled."""

    def cancel(self) -> None:
        """Do not make it."""


class Timing(Protocol):
    """IReactorTime."""

    def seconds(self) -> float:
        """The time, of a clock that never steps."""

    def callLater(self, delay: float, call: Callable[..., Any], /, *args: Any) -> DelayedCall:
        """Call in *delay* seconds, in the reactor's thread."""


class Threading(Protocol):
    """IReactorFromThreads."""

    def callFromThread(self, call: Callable[..., Any], /, *args: Any) -> None:
        """Call soon in the reactor's thread; safe from any thread."""


class Readers(Protocol):
    """The part of IReactorFDSet that watches what can be read."""

    def addReader(self, reader: IReadDescriptor, /) -> object:
        """Call ``doRead`` when it can be read. May raise OSError (epoll_ctl(2))."""

    def removeReader(self, reader: IReadDescriptor, /) -> object:
        """Do not. May raise OSError if its descriptor was closed."""


class DescriptorReactor(Reactor, Readers, Protocol):
    """A reactor that watches descriptors, and keeps time."""

    def addWriter(self, writer: IWriteDescriptor, /) -> object:
        """Call ``doWrite`` when there is room."""

    def removeWriter(self, writer: IWriteDescriptor, /) -> object:
        """Do not."""
