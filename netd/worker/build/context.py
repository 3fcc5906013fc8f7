"""A service joined up in its worker: what runs, on its listeners, under its rules."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

from netd.admission.filter import RequestFilter
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.admission.proxies import Proxies
from netd.execution.interfaces import Source
from netd.execution.recycle import Recycle
from netd.execution.serving import ServedListener
from netd.execution.sources.datagram import (
    Amplification,
    InetDatagram,
    InetMessages,
    UnixDatagram,
    UnixMessages,
)
from netd.execution.sources.options import ConnectionOptions
from netd.execution.sources.proxied import ProxiedDatagrams
from netd.execution.sources.stream import HandoffSource, InetStream, UnixStream
from netd.execution.tracebacks import user_traceback
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.ipc.worker import ServiceStart
from netd.listening.handler_view import ListenerSocket
from netd.listening.replies import tells_destinations
from netd.log.buffer import LogBuffer
from netd.model.address import Address, Transport
from netd.model.service import Runs, Service
from netd.model.socket_options import of_connections
from netd.proxy.header import LONGEST
from netd.worker.build.office import Office
from netd.worker.importing import load


class BoundListener:
    """One listener of a service in this process, which it lasts for the life of."""

    def __init__(self, address: Address, descriptor: int, queue: int | None) -> None:
        """Take over *descriptor*, which is bound to *address*.

        *queue* is where connections come from that the daemon has taken from it, if it does.
        """
        self.transport = transport = address.transport
        self.is_tls = address.is_tls
        self.socket = socket.socket(transport.family, transport.type, fileno=descriptor)
        self.shown = ListenerSocket.copy_of(self.socket)
        """What the user's code finds as the server's socket."""
        self.queue = None if queue is None else _queue_of(queue)


def _queue_of(descriptor: int) -> socket.socket:
    queue = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor)
    queue.setblocking(False)
    return queue


class ServiceContext:
    """What both ways of running a service are joined up from.

    Takes over the descriptors of *start*, for the life of the process. *office* is what the
    service tells the daemon by.
    """

    def __init__(
        self,
        start: ServiceStart,
        python_path: Sequence[str],
        reactor: Any,
        log_buffer: LogBuffer,
        office: Office,
    ) -> None:
        self.service: Service = start.service
        self.python_path = python_path
        self.reactor = reactor
        self.log_buffer = log_buffer
        self.lists = AccessLists.of(self.service.access)
        self.listeners = [
            BoundListener(address, descriptor, queue)
            for address, descriptor, queue in zip(
                self.service.listen,
                start.listeners,
                start.queues or repeat(None, len(start.listeners)),
                strict=True,
            )
        ]
        for bound in self.listeners:
            self._tell_of_proxies(bound)
        if self.service.amplification is not None:
            bound_by = Amplification(self.service.amplification, self.say)
            for bound in self.listeners:
                if bound.transport.is_datagram and not bound.transport.is_unix:
                    bound.shown.allowance_of = bound_by.of
        self.board = Scoreboard(start.scoreboard, Geometry.of(self.service))
        os.close(start.scoreboard)  # the mapping stays
        self.index = start.index
        self.block = self.board.block(start.index)
        self.office = office
        self.asks_for_ancillary = False
        """Whether handlers of datagrams want to know what came with them."""
        self._is_worn = False

    def _tell_of_proxies(self, bound: BoundListener) -> None:
        """Have a server's own ``get_request()`` receive datagrams without a proxy's header."""
        if bound.transport.is_datagram and self.service.proxies:
            proxies = Proxies(self.service.proxies, of_unix=bound.transport.is_unix)
            bound.shown.is_proxy = lambda sender: proxies.has(sender, None)

    @property
    def recycle(self) -> Recycle | None:
        """What counts requests and memory, where there is a bound; one for the process."""
        service = self.service
        if not service.max_requests and service.max_memory is None:
            return None
        return Recycle(service.max_requests, service.max_memory, self._worn)

    def _worn(self, why: str) -> None:
        if not self._is_worn:
            self._is_worn = True
            self.office.worn(self.service.name, why)

    def hung(self, most: int, threads: int) -> None:
        """So many threads, of *most* at once, do not come back. The reactor's thread."""
        if most == 1:
            self.office.hung(self.service.name)
        elif threads >= self.service.spare_threads:
            self._worn(f"has {threads} handlers that do not come back")

    @property
    def handshakes(self) -> int:
        """This process's share of the connections of the service that may not have begun."""
        return self.service.handshakes_of(self.index)

    @property
    def code(self) -> Runs:
        """The service's code, if it runs code."""
        assert isinstance(self.service.runs, Runs)
        return self.service.runs

    def suspend(self) -> None:
        """Stop taking in all processes; what ``server.shutdown()`` comes to. Any thread."""
        self.office.suspend(self.service.name)

    def say(self, level: str, text: str) -> None:
        """Log a line of the service's. Any thread."""
        self.log_buffer.say(self.service.name, level, text)

    def source(self, bound: BoundListener) -> Source:
        """What takes requests from a listener as they come."""
        return self.with_options(self._source(bound), bound)

    def with_options(self, source: Source, bound: BoundListener) -> Source:
        """*source*, whose connections get the options that the service wants of them."""
        wanted = of_connections(self.service.socket, bound.transport)
        return ConnectionOptions(source, wanted, self.say) if wanted else source

    def _source(self, bound: BoundListener) -> Source:
        limit = self.service.datagram_size
        if bound.transport.is_datagram and self.service.proxies:
            proxies = Proxies(self.service.proxies, of_unix=bound.transport.is_unix)
            return ProxiedDatagrams(self._datagrams(bound, limit + LONGEST), proxies, limit)
        if bound.transport.is_datagram:
            return self._datagrams(bound, limit)
        if bound.queue is not None:
            return HandoffSource(bound.queue, bound.transport)
        if bound.transport is Transport.UNIX:
            # Always: the lists of a reload may ask for them while a client is inside.
            return UnixStream(bound.socket, with_groups=True)
        return InetStream(bound.socket, bound.transport)

    def _datagrams(self, bound: BoundListener, limit: int) -> Source:
        transport, asks = bound.transport, self.asks_for_ancillary
        if transport is Transport.UNIXGRAM:
            kind = UnixMessages if asks else UnixDatagram
            return kind(bound.socket, bound.shown, limit)
        if asks or bound.shown.allowance_of is not None or tells_destinations(bound.socket):
            return InetMessages(
                bound.socket,
                transport,
                bound.shown,
                limit,
                asked_for=asks,
                allowance_of=bound.shown.allowance_of,
            )
        return InetDatagram(bound.socket, transport, bound.shown, limit)

    def gate(self, bound: BoundListener, request_filter: RequestFilter | None) -> Gate | None:
        """The rules of a listener; None admits everybody."""
        gate = Gate(
            self.lists,
            request_filter,
            of_unix=bound.transport.is_unix,
            is_proxied=bool(self.service.proxies),
        )
        return None if gate.is_open else gate

    def served_listener(
        self, bound: BoundListener, request_filter: RequestFilter | None
    ) -> ServedListener:
        """What a listener's ``Serving`` is made of."""
        return ServedListener(
            self.service.name,
            bound.transport,
            self.gate(bound, request_filter),
            self.service.access.dry_run,
            self.block,
            self.log_buffer,
            self.listeners.index(bound),
        )

    def filter_function(self) -> Callable[[Any, Any], Any] | None:
        """The service's ``verify_request``, if it has one. Raises ``importing.CannotImport``."""
        reference = self.service.access.verify_request
        if reference is None:
            return None
        function: Callable[[Any, Any], Any] = load(reference, self.python_path)
        return function

    def say_filter_raised(self, client: str, error: BaseException) -> None:
        """Log what a filter has raised. Any thread."""
        reference = self.service.access.verify_request
        self.say("error", f"{client}: refused because of {reference}\n{user_traceback(error)}")
