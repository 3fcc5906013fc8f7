"""What every way of running a service needs of its process: listeners, scoreboard, log, rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

from netd.admission.filter import RequestFilter
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.core.reactor import ProcessReactor
from netd.execution.interfaces import Source
from netd.execution.recycle import Recycle
from netd.execution.serving import ServedListener
from netd.execution.sources.datagram import Amplification
from netd.execution.sources.options import ConnectionOptions
from netd.execution.tracebacks import user_traceback
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.ipc.worker import ServiceStart
from netd.log.buffer import LogBuffer
from netd.model.service import Runs, Service
from netd.model.socket_options import of_connections
from netd.worker.build.link import DaemonLink
from netd.worker.build.listener import BoundListener
from netd.worker.build.recycle_request import RecycleRequest
from netd.worker.importing import load


class ServiceContext:
    """One service in one process, before what it runs is known: ``by_threads`` and its siblings
    build an execution from this.

    It owns the descriptors of *start*, as long as the process lives. *link* brings the service's
    requests to the daemon.
    """

    def __init__(
        self,
        start: ServiceStart,
        python_path: Sequence[str],
        reactor: ProcessReactor,
        log_buffer: LogBuffer,
        link: DaemonLink,
    ) -> None:
        self.service: Service = start.service
        self.python_path = python_path
        self.reactor = reactor
        self.log_buffer = log_buffer
        self.link = link
        self.lists = AccessLists.of(self.service.access)
        self.listeners = self._listeners(start)
        self.board = Scoreboard(start.scoreboard, Geometry.of(self.service))
        os.close(start.scoreboard)  # the mapping stays
        self.index = start.index
        self.block = self.board.block(start.index)
        self._recycle_request = RecycleRequest(self.service, link)
        self.asks_for_ancillary = False
        """Whether handlers of datagrams want their ancillary data. Set once the handler is
        imported, and before a source is built: the sources without it are cheaper."""

    def _listeners(self, start: ServiceStart) -> list[BoundListener]:
        service = self.service
        queues = start.queues or repeat(None, len(start.listeners))
        listeners = [
            BoundListener(address, descriptor, queue)
            for address, descriptor, queue in zip(
                service.listen, start.listeners, queues, strict=True
            )
        ]
        # One for all listeners: a client may send to each of them.
        amplification = None
        if service.amplification is not None:
            amplification = Amplification(service.amplification, self.say)
        for bound in listeners:
            bound.strip_proxy_headers(service.proxies)
            if amplification is not None:
                bound.limit_amplification(amplification)
        return listeners

    @property
    def code(self) -> Runs:
        """What names the service's code; only for services that run code."""
        assert isinstance(self.service.runs, Runs)
        return self.service.runs

    @property
    def handshakes(self) -> int:
        """This process's share of ``limits.handshakes``: connections still in their handshake."""
        return self.service.handshakes_of(self.index)

    # Admission.

    def gate(self, bound: BoundListener, request_filter: RequestFilter | None) -> Gate | None:
        """The admission rules of a listener; None if they admit every client."""
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
        """Import the service's ``verify_request``. Raises ``importing.CannotImport``."""
        reference = self.service.access.verify_request
        if reference is None:
            return None
        function: Callable[[Any, Any], Any] = load(reference, self.python_path)
        return function

    def say_filter_raised(self, client: str, error: BaseException) -> None:
        """Log an exception of ``verify_request``, which refuses the client. Any thread."""
        reference = self.service.access.verify_request
        self.say("error", f"{client}: refused because of {reference}\n{user_traceback(error)}")

    # Sources.

    def source(self, bound: BoundListener) -> Source:
        """Build what accepts or receives from a listener, with the service's socket options."""
        service = self.service
        source = bound.source(service.datagram_size, service.proxies, self.asks_for_ancillary)
        return self.with_options(source, bound)

    def with_options(self, source: Source, bound: BoundListener) -> Source:
        """Return *source* with the socket options that connections do not inherit."""
        requested = of_connections(self.service.socket, bound.transport)
        return ConnectionOptions(source, requested, self.say) if requested else source

    # The process.

    @property
    def recycle(self) -> Recycle | None:
        """Make what counts requests and memory, if the service bounds them. One for a process."""
        return self._recycle_request.bounds()

    def hung(self, most: int, count: int) -> None:
        """*count* handlers, of *most* at a time, hang. In the reactor's thread."""
        self._recycle_request.handlers_hung(most, count)

    def suspend(self) -> None:
        """Stop accepting in all processes: ``server.shutdown()``. Any thread."""
        self.link.suspend(self.service.name)

    def say(self, level: str, text: str) -> None:
        """Log a line of the service's. Any thread."""
        self.log_buffer.say(self.service.name, level, text)
