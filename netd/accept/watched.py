"""Pending connections that a reactor watches: those of reactor services, and the daemon's."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.accept.first_bytes import FirstBytes
from netd.accept.next_step import AWAIT, Step
from netd.accept.pending import Lists, PendingConnection, PendingConnections
from netd.accept.refusal import GONE, UNWATCHED, Refusal
from netd.core.reactor import Reading
from netd.model.peer import Credentials


class Owner(Protocol):
    """What a watched connection is handed to. In the reactor's thread."""

    @property
    def pending(self) -> PendingConnections:
        """What counts it."""

    @property
    def reactor(self) -> Reading:
        """What watches it."""

    def begin(self, connection: WatchedConnection, step: Step) -> None:
        """Nothing more is awaited: shake hands, or serve. It is still counted."""

    def refuse(self, connection: WatchedConnection, refusal: Refusal) -> None:
        """Log, count and close it; it is not counted as pending any longer. Raises nothing."""


@implementer(IReadDescriptor)
class WatchedConnection(PendingConnection):
    """A pending connection whose first bytes a reactor waits for."""

    __slots__ = ("_is_watched", "_owner")

    def __init__(
        self,
        owner: Owner,
        first_bytes: FirstBytes,
        peer: Credentials | None,
        lists: Lists,
        *,
        awaits_handshake: bool,
    ) -> None:
        super().__init__(first_bytes, peer, lists, awaits_handshake=awaits_handshake)
        self._owner = owner
        self._is_watched = False

    def open(self) -> None:
        """Wait for the first bytes, unless they have come already, which they often have."""
        owner = self._owner
        refusal = owner.pending.refuses(self)
        if refusal is not None:
            owner.refuse(self, refusal)
            return
        # Counted first: what has come may already lead to its end, which removes it.
        owner.pending.add(self)
        if self._advance():
            return
        try:
            owner.reactor.addReader(self)
        except OSError as error:  # ENOSPC, ENOMEM: epoll_ctl(2)
            self._refuse(Refusal(UNWATCHED, str(error)))
        else:
            self._is_watched = True

    def close(self) -> None:
        """Neither watch nor count it."""
        # Before its descriptor is closed: epoll would keep the number, which is reused.
        self._stop_watching()
        self._owner.pending.remove(self)

    def give_up(self) -> None:
        assert self.ended_by is not None
        self._refuse(Refusal(self.ended_by))

    def fileno(self) -> int:
        return self.first_bytes.request.fileno()

    def doRead(self) -> None:
        """Something has come. Raises nothing."""
        self._advance()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has dropped the descriptor, or is ending."""
        self._refuse(Refusal(GONE))

    def logPrefix(self) -> str:
        return "netd"

    def _advance(self) -> bool:
        """Advance as far as possible without waiting; whether it is not to be watched further."""
        try:
            step = self.advance()
            if isinstance(step, Refusal):
                self._refuse(step)
            elif step in AWAIT:
                return False
            else:
                self._stop_watching()
                self._owner.begin(self, step)
        except Exception as error:  # MemoryError, or a bug; no user code runs here
            self._refuse(Refusal(type(error).__name__, str(error)))
        return True

    def _stop_watching(self) -> None:
        # Most connections have sent their first bytes by the time they are accepted, and were
        # never watched: that saves two system calls each.
        if self._is_watched:
            self._is_watched = False
            self._owner.reactor.removeReader(self)

    def _refuse(self, refusal: Refusal) -> None:
        self.close()
        self._owner.refuse(self, refusal)
