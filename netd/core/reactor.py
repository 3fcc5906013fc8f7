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


class Reading(Protocol):
    """The half of IReactorFDSet that waits for descriptors to become readable."""

    def addReader(self, reader: IReadDescriptor, /) -> None:
        """Call ``doRead`` whenever *reader*'s descriptor is readable."""

    def removeReader(self, reader: IReadDescriptor, /) -> None:
        """Watch *reader* no longer; does nothing if it is not watched."""


class Writing(Protocol):
    """The half of IReactorFDSet that waits for descriptors to become writable."""

    def addWriter(self, writer: IWriteDescriptor, /) -> None:
        """Call ``doWrite`` whenever *writer*'s descriptor is writable."""

    def removeWriter(self, writer: IWriteDescriptor, /) -> None:
        """Watch *writer* no longer; does nothing if it is not watched."""


class Adopting(Protocol):
    """IReactorSocket, of which netd adopts connections only."""

    def adoptStreamConnection(
        self, descriptor: int, family: socket.AddressFamily, factory: Factory[Any], /
    ) -> None:
        """Give a copy of *descriptor*, a connection, to a protocol that *factory* builds."""


class Spawning(Protocol):
    """IReactorProcess."""

    def spawnProcess(
        self,
        protocol: ProcessProtocol,
        executable: str,
        args: Sequence[str],
        /,
        *,
        env: Mapping[str, str] | None,
        childFDs: Mapping[int, int | str],  # noqa: N803
    ) -> object:
        """Start a process; *protocol* gets its transport. Raises OSError."""


class Running(Protocol):
    """IReactorCore."""

    def callWhenRunning(self, call: Callable[..., Any], /, *args: Any) -> object:
        """Call when the reactor runs, or immediately if it does."""

    def stop(self) -> None:
        """Stop the services, then the reactor."""


class Reactor(Timing, Threading, Protocol):
    """Time, and a way in for other threads."""


class ReadingReactor(Timing, Reading, Protocol):
    """Time, and readable descriptors."""


class PollingReactor(Timing, Reading, Writing, Protocol):
    """Time, and readable and writable descriptors."""


class ListeningReactor(Timing, Reading, Adopting, Protocol):
    """What the owner of a listening socket needs: to see a connection come, and to adopt it."""


class ForkingReactor(PollingReactor, Spawning, Protocol):
    """What the fork server's client needs: its process, its socket, and deadlines for answers."""


class DescriptorReactor(Reactor, PollingReactor, Protocol):
    """Time, descriptors, and a way in for other threads."""


class ProcessReactor(DescriptorReactor, Adopting, Running, Protocol):
    """All that the daemon or a worker needs, save to start other processes."""


def fd_set(reactor: Reading) -> IReactorFDSet:
    """*reactor* as ``FileDescriptor`` of Twisted declares it.

    zope.interface and ``Protocol`` do not know each other, so the type checker has to be told.
    """
    return cast("IReactorFDSet", reactor)
