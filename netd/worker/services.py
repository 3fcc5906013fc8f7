"""A service joined up in its worker: what runs, on its listeners, under its rules."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from socketserver import BaseRequestHandler
from typing import Any

from netd.admission.filter import RequestFilter
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.execution.journal import Journal
from netd.execution.serving import Serving, user_traceback
from netd.execution.sources import InetDatagram, InetStream, Source, UnixDatagram, UnixStream
from netd.execution.threads import TakingThreads
from netd.listening.inherited import ListenerSocket
from netd.values.address import Transport
from netd.values.channel import ServiceStart
from netd.values.reactor import Reactor
from netd.values.scoreboard import Scoreboard
from netd.values.service import Service
from netd.worker.importing import load
from netd.worker.log import ServiceThread
from netd.worker.server import server_for


def joined_up(
    start: ServiceStart, python_path: Sequence[str], reactor: Reactor, journal: Journal
) -> TakingThreads:
    """Import what the service runs and make the threads that serve it, not yet started.

    Takes over the listeners' descriptors, for the life of the process. Raises
    ``importing.CannotImport``.
    """
    service = start.service
    handler: type[BaseRequestHandler] = load(service.handler, python_path)
    lists = AccessLists.of(service.access)
    request_filter = _filter(service, python_path, reactor, journal)
    board = Scoreboard(start.scoreboard, service.threads)
    os.close(start.scoreboard)  # the mapping stays
    slots = [board.slot(number) for number in range(service.threads)]
    call: Any = partial(handler, **service.options) if service.options else handler

    def serving(transport: Transport, shown: ListenerSocket) -> Serving:
        gate = Gate(lists, request_filter, of_unix=transport.is_unix)
        return Serving(
            service.name,
            transport.value,
            server_for(transport, shown, handler),
            call,
            None if gate.is_open else gate,
            service.access.dry_run,
            slots,
            journal,
        )

    sources: dict[Source, Serving] = {}
    for address, descriptor in zip(service.listen, start.listeners, strict=True):
        transport = address.transport
        listener = socket.socket(transport.family, transport.type, fileno=descriptor)
        shown = ListenerSocket.copy_of(listener)
        source = _source(transport, listener, shown, service, lists)
        sources[source] = serving(transport, shown)
    return TakingThreads(
        service.name,
        sources,
        service.threads,
        reactor,
        partial(journal.say, service.name),
        partial(ServiceThread, service=service.name),
    )


def _source(
    transport: Transport,
    listener: socket.socket,
    shown: ListenerSocket,
    service: Service,
    lists: AccessLists,
) -> Source:
    if transport is Transport.UNIX:
        return UnixStream(listener, with_groups=lists.needs_credentials)
    if transport is Transport.UNIXGRAM:
        return UnixDatagram(listener, shown, service.datagram_size)
    if transport.is_datagram:
        return InetDatagram(listener, transport, shown, service.datagram_size)
    return InetStream(listener, transport)


def _filter(
    service: Service, python_path: Sequence[str], reactor: Reactor, journal: Journal
) -> RequestFilter | None:
    reference = service.access.verify_request
    if reference is None:
        return None
    function: Callable[[Any, Any], Any] = load(reference, python_path)

    def report(client: str, error: BaseException) -> None:
        text = f"{client}: refused because of {reference}\n{user_traceback(error)}"
        journal.say(service.name, "error", text)

    access = service.access
    # A dry run serves the client that a filter is too slow for.
    return RequestFilter(
        function, access.verify_timeout, reactor, report, hang_up=not access.dry_run
    )
