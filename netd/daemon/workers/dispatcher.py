"""The daemon accepts connections for workers that serve one connection at a time.

Such a worker must not accept a connection that has sent nothing: it would wait there behind another
client, while the next worker is idle. So the daemon accepts where connections begin with a PROXY
header or TLS, waits until the first bytes have come, and puts the connection into a queue from
which the next free worker receives it. It receives nothing but the header, and runs no user code.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from twisted.internet.interfaces import IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.accept.first_bytes import FirstBytes
from netd.accept.loop import Accepting, WatchedListener, abandoned_text
from netd.accept.next_step import Step
from netd.accept.pause import PAUSE, Pause
from netd.accept.pending import Client, PendingConnections
from netd.accept.refusal import TIMED_OUT, Refusal
from netd.accept.watched import WatchedConnection
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.admission.peers import unix_client
from netd.admission.proxies import Proxies
from netd.core.reactor import DelayedCall, DescriptorReactor
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
"""Connections accepted per wake-up, before pending connections have their turn."""

TurnedAway = Callable[[str, str, float, Traffic], None]
"""Told of a connection that was not handed over: the client, why, when it was accepted
(CLOCK_MONOTONIC), and what it has carried."""


class Dispatcher:
    """Accepts from *listener* for the workers of *service*. In the reactor's thread.

    Owns ``queue``, from which workers receive as they would accept from a listener, until
    ``close``. The listener stays the caller's. *pending* and *pause* are the service's.
    """

    def __init__(
        self,
        service: Service,
        address: Address,
        listener: socket.socket,
        pending: PendingConnections,
        pause: Pause,
        reactor: DescriptorReactor,
    ) -> None:
        self.reactor = reactor
        self.pending = pending
        self._turned_away: TurnedAway | None = None
        self.refused = 0
        """Connections that were not handed over."""
        self._is_unix = address.transport.is_unix
        self._is_tls = address.is_tls
        self._proxies = Proxies(service.proxies, of_unix=self._is_unix)
        self._gate = Gate(
            AccessLists.of(service.access), None, of_unix=self._is_unix, is_proxied=True
        )
        self._dry_run = service.access.dry_run
        self._text = client_text(address.transport)
        self.queue, self._ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._waiting: set[WatchedConnection] = set()
        """Connections whose first bytes are awaited."""
        self._ready: deque[WatchedConnection] = deque()
        """Connections for which there is no room in the queue."""
        self._room = _Room(self._ours, self._hand_over)
        self._again: DelayedCall | None = None
        """Another attempt to hand over."""
        self._is_open = False
        # A descriptor of its own: the reactor knows what it watches by the number, and during a
        # reload two dispatchers watch the same listener.
        self._listener = listener.dup()
        self.watched = WatchedListener(
            self._listener.fileno,
            Accepting(self._listener.accept, self._receive, self._abandon),
            pause,
            reactor,
            BATCH,
        )

    @property
    def is_empty(self) -> bool:
        """Whether no connection is pending, or waits to be put into the queue."""
        return not self._waiting and not self._ready

    @property
    def is_expecting(self) -> bool:
        """Whether a connection is on its way to a worker, or in the queue for one."""
        return not self.is_empty or has_queued_connections([self.queue])

    def tell(self, turned_away: TurnedAway) -> None:
        """Call *turned_away* for each connection that is not handed over."""
        self._turned_away = turned_away

    def open(self) -> None:
        """Accept connections."""
        self._is_open = True
        self._watch()

    def shut(self) -> None:
        """Stop accepting until ``open``; pending connections go on."""
        self._is_open = False
        self._watch()

    def last_call(self) -> None:
        """Stop accepting, and give pending connections a short time for their first bytes."""
        self.shut()
        self.pending.last_call()

    def close(self) -> None:
        """Close the queue, and the connections that are not in it yet."""
        self.shut()
        self.reactor.removeWriter(self._room)
        if self._again is not None and self._again.active():
            self._again.cancel()
        for connection in [*self._waiting, *self._ready]:
            connection.end(TIMED_OUT)
        self._listener.close()
        self._ours.close()
        self.queue.close()

    # Accepting.

    def _watch(self) -> None:
        """Watch the listener, unless the queue is full: then the backlog is the queue."""
        if self._is_open and not self._ready:
            self.watched.start()
        else:
            self.watched.stop()

    def _receive(self, accepted: tuple[socket.socket, Any]) -> None:
        """Wait for the first bytes of a connection, unless it is refused."""
        connection, address = accepted
        if self._is_unix:
            family, kind = connection.family, connection.type
            connection = CountedSocket(family, kind, 0, fileno=connection.detach())
        connection.setblocking(False)
        client, peer = self._describe(connection, address)
        first_bytes = FirstBytes(
            connection,
            address,
            client,
            time.monotonic(),
            awaits_header=self._proxies.has(address, peer),
            awaits_byte=self._is_tls,
        )
        pending = WatchedConnection(
            self, first_bytes, peer, self._refuses, awaits_handshake=self._is_tls
        )
        self._waiting.add(pending)
        try:
            pending.open()
        except BaseException:
            self._waiting.discard(pending)
            connection.close()  # which _abandon no longer has, if it is a Unix connection
            raise

    def _abandon(self, accepted: tuple[socket.socket, Any], error: BaseException) -> None:
        """Close a connection for which ``_receive`` has raised."""
        connection, address = accepted
        connection.close()
        client = "unix" if self._is_unix else self._text(address)
        log.error("{text}", text=abandoned_text(client, error))

    def _describe(self, connection: socket.socket, address: Any) -> tuple[str, Credentials | None]:
        """The client's name for people, and a Unix client's credentials."""
        if self._is_unix:
            return unix_client(connection, with_groups=True)
        return self._text(address), None

    def _refuses(self, client: Client) -> str | None:
        """Ask the lists; in a dry run the worker does, which logs it."""
        if self._dry_run:
            return None
        return self._gate.refuses_early(client.client_address, client.peer)

    # For a WatchedConnection.

    def begin(self, connection: WatchedConnection, step: Step) -> None:
        """Hand it over: the worker shakes hands, and serves."""
        self.pending.remove(connection)
        self._waiting.discard(connection)
        self._ready.append(connection)
        self._hand_over()

    def refuse(self, connection: WatchedConnection, refusal: Refusal) -> None:
        self._waiting.discard(connection)
        with suppress(ValueError):
            self._ready.remove(connection)
        first_bytes = connection.first_bytes
        carried = traffic(first_bytes.request)
        first_bytes.request.close()
        self.refused += 1
        if self._turned_away is not None:
            self._turned_away(first_bytes.client, str(refusal), first_bytes.since, carried)

    # Handing over.

    def _hand_over(self) -> None:
        """Put connections into the queue, and come back when there is room for the rest."""
        while self._ready:
            first_bytes = self._ready[0].first_bytes
            metadata = HandoffMetadata(
                first_bytes.client_address,
                first_bytes.client,
                first_bytes.since,
                first_bytes.is_proxied,
            )
            try:
                send_connection(self._ours, first_bytes.request, metadata)
            except OSError as error:
                # ETOOMANYREFS: so many are in the queue that the kernel bounds it (unix(7)).
                self._wait_for_room(error)
                return
            self._ready.popleft()
            first_bytes.request.close()
        self.reactor.removeWriter(self._room)
        self._watch()

    def _wait_for_room(self, error: OSError) -> None:
        """All workers are busy, and the queue is full: leave other connections in the backlog."""
        self._watch()
        if isinstance(error, BlockingIOError):
            self.reactor.addWriter(self._room)
        elif self._again is None or not self._again.active():
            self._again = self.reactor.callLater(PAUSE, self._hand_over)


@implementer(IWriteDescriptor)
class _Room:
    """The queue while it is full."""

    def __init__(self, queue: socket.socket, has_room: Callable[[], None]) -> None:
        self.fileno = queue.fileno
        self.doWrite = has_room

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "netd"
