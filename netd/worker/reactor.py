"""What a worker asks of its Twisted reactor beyond ``core.reactor``."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.internet.protocol import Factory

from netd.core.reactor import Reactor


class WorkerReactor(Reactor, Protocol):
    """The parts of IReactorCore, IReactorSocket and IReactorFDSet that a worker uses."""

    def callWhenRunning(self, call: Callable[..., object], /, *args: object) -> object:
        """Call once the reactor runs, or immediately if it does."""

    def stop(self) -> None:
        """End the reactor's loop. Raises ReactorNotRunning."""

    def adoptStreamConnection(
        self, descriptor: int, family: socket.AddressFamily, factory: Factory[Any], /
    ) -> object:
        """Connect a protocol of *factory* to a copy of *descriptor*, which the caller closes."""

    def addReader(self, reader: IReadDescriptor, /) -> None:
        """Call the reader's ``doRead`` whenever its descriptor is readable."""

    def removeReader(self, reader: IReadDescriptor, /) -> None:
        """Stop that; does nothing for a reader that was not added."""

    def addWriter(self, writer: IWriteDescriptor, /) -> None:
        """Call the writer's ``doWrite`` whenever its descriptor is writable."""

    def removeWriter(self, writer: IWriteDescriptor, /) -> None:
        """Stop that; does nothing for a writer that was not added."""
