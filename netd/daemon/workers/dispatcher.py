"""Connections of which the first bytes are waited for here, before a worker is given them.

A worker that has one client at a time must not take a connection that has nothing to say yet: it
would wait there behind another client, while the next worker is idle. So the daemon takes what
begins by a PROXY header or by TLS, waits until that has begun, and puts it into a queue from which
whichever worker is free takes. It receives nothing but the header, and runs nobody's code.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.accept.errors import EXHAUSTED, NEXT
from netd.accept.first_bytes import FirstBytes, NotAdmitted
from netd.accept.pending import LAST_CALL, TIMED_OUT, Reception
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.admission.peers import credentials_of
from netd.admission.proxies import Proxies
from netd.core.reactor import DelayedCall
from netd.ipc.handoff import HandoffMetadata, send_connection
from netd.listening.counted import CountedSocket
from netd.listening.drain_filter import has_queued_connections
from netd.listening.traffic import traffic
from netd.log.record import Traffic
from netd.model.address import Address, client_text
from netd.model.peer import Credentials
from netd.model.service import Service

log = Logger()

BATCH: Final = 32
"""Connections taken a wake-up, before those that are waited for have their turn."""

PAUSE: Final = 0.1
"""Seconds without taking when the system has no descriptors left; as workers do."""


TurnedAway = Callable[[str, str, float, Traffic], None]
"""Told of a client that was not handed on, why, when it was taken (CLOCK_MONOTONIC), and what its
connection has carried."""


@implementer(IReadDescriptor)
class Dispatcher:
    """Takes from *listener* for the workers of *service*. In the reactor's thread.

    Owns ``queue``, which workers take from as they would from a listener, until ``close``. The
    listener stays the caller's.
    """

    def __init__(
        self,
        service: Service,
        address: Address,
        listener: socket.socket,
        reception: Reception,
        reactor: Any,
    ) -> None:
        # A number of its own: the reactor knows what it watches by that, and at a reload there are
        # two for the same listener.
        self._listener = listener.dup()
        self.fileno = self._listener.fileno
        self._reactor = reactor
        self._turned_away: TurnedAway | None = None
        self.refused = 0
        """How many were not handed on."""
        self._reception = reception
        self._is_unix = address.transport.is_unix
        self._is_tls = address.is_tls
        self._proxies = Proxies(service.proxies, of_unix=self._is_unix)
        self._gate = Gate(
            AccessLists.of(service.access), None, of_unix=self._is_unix, is_proxied=True
        )
        self._dry_run = service.access.dry_run
        self._text = client_text(address.transport)
        self.queue, self._ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._waiting: set[_Guest] = set()
        """Those whose first bytes are waited for."""
        self._ready: deque[_Guest] = deque()
        """Those for whom there was no room in the queue."""
        self._room = _Room(self._ours, self._hand_over)
        self._end: DelayedCall | None = None
        """Of the time that those have who have been taken last."""
        self._again: DelayedCall | None = None
        """Of another attempt to hand over."""
        self._is_open = False
        self._is_failing = False

    @property
    def is_empty(self) -> bool:
        """Whether nobody is waited for, or waits to be put into the queue."""
        return not self._waiting and not self._ready

    @property
    def is_expecting(self) -> bool:
        """Whether somebody is on the way to a worker, or waits in the queue for one."""
        return not self.is_empty or has_queued_connections([self.queue])

    def tell(self, turned_away: TurnedAway) -> None:
        """Tell of everybody who does not come to be handed on."""
        self._turned_away = turned_away

    def open(self) -> None:
        """Take connections."""
        self._is_open = True
        self._take_again()

    def shut(self) -> None:
        """Take no more, until ``open``; those who have been taken go on."""
        self._is_open = False
        self._reactor.removeReader(self)

    def last_call(self) -> None:
        """Take no more, and give those who have been taken a short time to begin."""
        self.shut()
        if self._end is None:
            self._end = self._reactor.callLater(LAST_CALL, self._turn_all_away)

    def _turn_all_away(self) -> None:
        for guest in list(self._waiting):
            self._turn_away(guest, TIMED_OUT)

    def close(self) -> None:
        """Close the queue, and whoever is still waited for."""
        self.shut()
        self._reactor.removeWriter(self._room)
        for call in (self._again, self._end):
            if call is not None and call.active():
                call.cancel()
        for guest in [*self._waiting, *self._ready]:
            self._turn_away(guest, TIMED_OUT)
        self._listener.close()
        self._ours.close()
        self.queue.close()

    # Taking.

    def doRead(self) -> None:
        """Take a bounded number of connections. Raises nothing."""
        for _ in range(BATCH):
            try:
                connection, address = self._listener.accept()
            except OSError as error:
                if error.errno not in NEXT:
                    self._rest(error)
                    return
                if isinstance(error, BlockingIOError):
                    return
                continue
            except (
                Exception
            ) as error:  # MemoryError, or a bug of ours; the daemon runs no user code
                self._rest(error)
                return
            self._works()
            self._receive(connection, address)

    def _rest(self, error: BaseException) -> None:
        """Take nothing for a while, and say so once."""
        if not self._is_failing:
            self._is_failing = True
            is_exhausted = isinstance(error, OSError) and error.errno in EXHAUSTED
            why = "out of descriptors or memory" if is_exhausted else "cannot take clients"
            log.error("{why}, they wait in the backlog: {error}", why=why, error=error)
        self._reactor.removeReader(self)
        self._reactor.callLater(PAUSE, self._take_again)

    def _take_again(self) -> None:
        if self._is_open and not self._ready:
            self._reactor.addReader(self)

    def _works(self) -> None:
        if self._is_failing:
            self._is_failing = False
            log.info("taking clients again")

    def _receive(self, connection: socket.socket, address: Any) -> None:
        """Wait for what a connection begins with, if it may come in."""
        if self._is_unix:
            family, kind = connection.family, connection.type
            connection = CountedSocket(family, kind, 0, fileno=connection.detach())
        connection.setblocking(False)
        client, peer = self._who(connection, address)
        is_proxied = self._proxies.has(address, peer)
        arrival = FirstBytes(
            connection,
            address,
            client,
            time.monotonic(),
            awaits_header=is_proxied,
            awaits_byte=self._is_tls,
        )
        guest = _Guest(arrival, peer, self._advance, self._turn_away)
        reason = None if is_proxied else self._refuses(address, peer)
        if reason is not None:
            self._turn_away(guest, reason)
            return
        self._reception.make_room()
        self._reception.enter(guest)
        self._waiting.add(guest)
        self._reactor.addReader(guest)

    def _who(self, connection: socket.socket, address: Any) -> tuple[str, Credentials | None]:
        """A client for people, and a Unix client's credentials."""
        if not self._is_unix:
            return self._text(address), None
        try:
            pid, peer = credentials_of(connection, with_groups=True)
        except OSError:
            return "unix", None
        return f"uid:{peer.uid},pid:{pid}", peer

    def _refuses(self, address: Any, peer: Credentials | None) -> str | None:
        """Ask the lists; in a dry run the worker does, who logs it."""
        return None if self._dry_run else self._gate.refuses_early(address, peer)

    # Waiting.

    def _advance(self, guest: _Guest) -> None:
        arrival = guest.arrival
        try:
            if not arrival.advance():
                return
        except NotAdmitted as error:
            reason = f"{error.reason}, {error.detail}" if error.detail else error.reason
            self._turn_away(guest, reason)
            return
        if arrival.is_proxied:
            guest.peer = None  # of whom the kernel knows nothing
            reason_now = self._refuses(arrival.client_address, None)
            if reason_now is not None:
                self._turn_away(guest, reason_now)
                return
        self._reactor.removeReader(guest)
        self._waiting.discard(guest)
        self._reception.leave(guest)
        self._ready.append(guest)
        self._hand_over()

    def _turn_away(self, guest: _Guest, reason: str) -> None:
        self._reactor.removeReader(guest)
        self._waiting.discard(guest)
        self._reception.leave(guest)
        with suppress(ValueError):
            self._ready.remove(guest)
        arrival = guest.arrival
        carried = traffic(arrival.request)
        self._let_go(guest)
        self.refused += 1
        if self._turned_away is not None:
            self._turned_away(arrival.client, reason, arrival.since, carried)

    def _let_go(self, guest: _Guest) -> None:
        guest.arrival.request.close()

    # Handing over.

    def _hand_over(self) -> None:
        """Put whoever is ready into the queue, and come back when there is room for the rest."""
        while self._ready:
            guest = self._ready[0]
            arrival = guest.arrival
            handed = HandoffMetadata(
                arrival.client_address, arrival.client, arrival.since, arrival.is_proxied
            )
            try:
                send_connection(self._ours, arrival.request, handed)
            except OSError as error:
                # ETOOMANYREFS: so many are in the queue that the kernel bounds it (unix(7)).
                self._wait_for_room(error)
                return
            self._ready.popleft()
            self._let_go(guest)
        self._reactor.removeWriter(self._room)
        self._take_again()

    def _wait_for_room(self, error: OSError) -> None:
        """All workers are busy, and many wait: others are left in the backlog meanwhile."""
        self._reactor.removeReader(self)
        if isinstance(error, BlockingIOError):
            self._reactor.addWriter(self._room)
        else:
            self._again = self._reactor.callLater(PAUSE, self._hand_over)

    # For the reactor.

    def connectionLost(self, reason: Failure) -> None:
        """The reactor complains of the listener, or is ending."""

    def logPrefix(self) -> str:
        return "netd"


@implementer(IReadDescriptor)
class _Guest:
    """A connection that is waited for."""

    def __init__(
        self,
        arrival: FirstBytes,
        peer: Credentials | None,
        advance: Callable[[_Guest], None],
        turn_away: Callable[[_Guest, str], None],
    ) -> None:
        self.arrival = arrival
        self.peer = peer
        self._advance = advance
        self._turn_away = turn_away

    def give_up(self, why: str) -> None:
        """It is waited for no more (``netd.accept.pending.Beginner``)."""
        self._turn_away(self, why)

    def fileno(self) -> int:
        return self.arrival.request.fileno()

    def doRead(self) -> None:
        self._advance(self)

    def connectionLost(self, reason: Failure) -> None:
        """The client has gone, as is found by looking; or the reactor is ending."""
        self._advance(self)

    def logPrefix(self) -> str:
        return "netd"


@implementer(IWriteDescriptor)
class _Room:
    """The queue, when there is no room in it."""

    def __init__(self, queue: socket.socket, there_is: Callable[[], None]) -> None:
        self.fileno = queue.fileno
        self.doWrite = there_is

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "netd"
