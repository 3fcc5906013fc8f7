"""Connections that are accepted and not served yet: how many there may be, and how long each.

An epoll of threads or a reactor waits for them. Both count them here, so the bound is the same for
every execution.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from netd.accept.early_drop import drops_early
from netd.accept.first_bytes import FirstBytes, NotAdmitted
from netd.accept.next_step import State, Step, next_step
from netd.accept.refusal import CROWDED, TIMED_OUT, Refusal
from netd.core.deadlines import Deadlines
from netd.core.reactor import Reactor
from netd.model.peer import Credentials

LAST_CALL: Final = 3.0
"""Seconds that pending connections get once nothing more is accepted: a client whose first packet
was lost sends it again after one second, and once more after two (RFC 6298)."""


class Client(Protocol):
    """What the lists are asked about before a handshake."""

    @property
    def client_address(self) -> Any:
        """As ``socketserver`` passes it."""

    @property
    def peer(self) -> Credentials | None:
        """The credentials of a Unix peer."""


Lists = Callable[[Client], str | None]
"""The reason word if the lists refuse a client before its handshake; None in a dry run, where the
lists are only asked once, when the connection is served."""


class PendingConnection:
    """One connection between accept(2) and its handler. One thread at a time advances it.

    *peer* are the credentials of a Unix peer. With *awaits_handshake* TLS follows. A subclass says
    what the connection waits in, and what becomes of it.
    """

    __slots__ = ("_asks_lists", "_awaits_handshake", "_lists", "_peer", "ended_by", "first_bytes")

    def __init__(
        self,
        first_bytes: FirstBytes,
        peer: Credentials | None,
        lists: Lists,
        *,
        awaits_handshake: bool,
    ) -> None:
        self.first_bytes = first_bytes
        self._peer = peer
        self._lists = lists
        self._asks_lists = True
        self._awaits_handshake = awaits_handshake
        self.ended_by: str | None = None
        """Why it was given up, if it was."""

    @property
    def since(self) -> float:
        """When it was accepted (CLOCK_MONOTONIC)."""
        return self.first_bytes.since

    @property
    def client_address(self) -> Any:
        """The client's; a proxy's as long as its header has not come."""
        return self.first_bytes.client_address

    @property
    def peer(self) -> Credentials | None:
        """A Unix peer's credentials. The kernel has none for a proxied client."""
        return None if self.first_bytes.is_proxied else self._peer

    def advance(self) -> Step | Refusal:
        """Look at what the client has sent, without waiting, and say what comes next."""
        first_bytes = self.first_bytes
        has_come = False
        if self.ended_by is None:
            try:
                has_come = first_bytes.advance()
            except NotAdmitted as error:
                return error.refusal
        return self._next_step(has_come)

    def first_step(self, *, is_overdue: bool) -> Step | Refusal:
        """Say what comes first, before anything that the client has sent is looked at."""
        return self._next_step(False, is_overdue)

    def _next_step(self, has_come: bool, is_overdue: bool = False) -> Step | Refusal:
        awaits_header = self.first_bytes.awaits_header
        refused = None
        # Once, as soon as the client is known. Each packet of a slow handshake comes by here.
        if self._asks_lists and not awaits_header and not is_overdue:
            self._asks_lists = False
            refused = self._lists(self)
        awaits_byte = self._awaits_handshake and not has_come
        return next_step(
            State(
                awaits_header,
                awaits_byte,
                self._awaits_handshake,
                self.ended_by,
                is_overdue,
                refused,
            )
        )

    def end(self, why: str) -> None:
        """Give it up. Any thread that may advance one. Raises nothing."""
        self.ended_by = why
        self.give_up()

    def time_out(self) -> None:
        """Its time is over. A method of its own, because each connection keeps a reference."""
        self.end(TIMED_OUT)

    def give_up(self) -> None:
        """Act on ``ended_by``: close the connection, or have that done. Raises nothing."""
        raise NotImplementedError


class PendingConnections:
    """The pending connections of one service: at most *most*, each for *seconds*.

    From half of *most* on, a new connection may take the place of the one that has waited longest,
    by *chance*, which draws from [0, 1) (``early_drop``). A genuine client finishes within a round
    trip, so a flood of silent connections displaces itself.

    In the thread of *reactor*, unless *lock* is a lock: then in any thread.
    """

    def __init__(
        self,
        most: int,
        seconds: float,
        reactor: Reactor,
        lock: AbstractContextManager[object] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._most = most
        self._seconds = seconds
        # From the reactor's own thread a call that wakes it up is a system call for nothing.
        call = _now if lock is None else reactor.callFromThread
        self._call = call
        self._lock = nullcontext() if lock is None else lock
        self._chance = chance
        self._deadlines = Deadlines(reactor, call)
        self._open: OrderedDict[PendingConnection, None] = OrderedDict()
        """The oldest first. (A dict finds its first key only after all that were deleted.)"""
        self._ending: set[PendingConnection] = set()
        """Connections that made room. In threads they last until one is free to close them."""
        self._empty: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._open) + len(self._ending)

    def refuses(self, connection: PendingConnection) -> Refusal | None:
        """Make room for a new connection, which ``add`` follows; or say why it is refused.

        The lists come first: a client that they refuse displaces no other one.
        """
        step = connection.first_step(is_overdue=self.seconds_left(connection.since) < 0)
        if isinstance(step, Refusal):
            return step
        return None if self._make_room() else Refusal(CROWDED)

    def _make_room(self) -> bool:
        with self._lock:
            if not drops_early(len(self._open), self._most, self._chance()):
                return True
            # No thread is free to close what was dropped: more would pile up without a bound.
            if not self._open or len(self._ending) >= self._most:
                return False
            oldest, _ = self._open.popitem(last=False)
            self._ending.add(oldest)
        # Without the lock: in a reactor this closes the connection, and calls ``remove``.
        oldest.end(CROWDED)
        return True

    def seconds_left(self, since: float) -> float:
        """How long a connection may stay pending that was accepted at *since*; below 0: too late.

        The daemon may have accepted it, and spent some of its time.
        """
        return since + self._seconds - time.monotonic()

    def add(self, connection: PendingConnection) -> None:
        """Count *connection*, and end it unless it is removed in time."""
        with self._lock:
            self._open[connection] = None
        self._set_deadline(connection, max(0.0, self.seconds_left(connection.since)))

    def remove(self, connection: PendingConnection) -> None:
        """Count it no longer: it is served, or refused. Idempotent."""
        self._deadlines.met(connection)
        with self._lock:
            self._open.pop(connection, None)
            self._ending.discard(connection)
            empty = self._empty if not len(self) else None
            if empty is not None:
                self._empty = None
        if empty is not None:
            self._call(empty)

    # The reactor's thread.

    def when_empty(self, call: Callable[[], None]) -> None:
        """Give all of them their last call, and call *call* here, once, when none is left.

        Nothing more may be accepted meanwhile.
        """
        with self._lock:
            is_empty = not len(self)
            if not is_empty:
                self._empty = call
        if is_empty:
            call()
        else:
            self.last_call()

    def last_call(self) -> None:
        """End, after LAST_CALL seconds, all that are still pending then."""
        # Not those that are ending: they have been told already.
        with self._lock:
            waiting = list(self._open)
        for connection in waiting:
            self._set_deadline(connection, min(self._seconds, LAST_CALL))

    def _set_deadline(self, connection: PendingConnection, seconds: float) -> None:
        self._deadlines.set(connection, seconds, connection.time_out)


def _now(call: Callable[[], None]) -> None:
    call()
