"""A service that the reactor runs, joined up: protocols, factories and asynchronous handlers."""

from __future__ import annotations

from netd.admission.filter import ReactorFilter
from netd.execution.reactor.admission import Admission
from netd.execution.reactor.runnable import is_handler
from netd.execution.reactor.service import (
    Counting,
    Listener,
    PendingBounds,
    ReactorService,
    Runnable,
)
from netd.execution.reactor.tls import Tls
from netd.execution.sources.datagram import asks
from netd.tls.peer import ClientCertificate
from netd.tls.reactor import reactor_context
from netd.worker.build.context import ServiceContext
from netd.worker.build.listener import BoundListener
from netd.worker.build.server import HandlerHost, server_of
from netd.worker.importing import CannotImport, load


def by_reactor(context: ServiceContext) -> ReactorService:
    """Import what the service runs and join it up with its listeners, not yet started.

    Raises ``importing.CannotImport``.
    """
    service = context.service
    what = load(context.code.reference, context.python_path)
    context.asks_for_ancillary = is_handler(what) and asks(what)
    request_filter = _request_filter(context)
    listeners = [
        _listener(context, bound, number, request_filter)
        for number, bound in enumerate(context.listeners)
    ]
    try:
        runs = Runnable(what, service.options, service.datagram_size, service.handler_timeout)
        counting = Counting(context.block, context.log_buffer, context.recycle)
        return ReactorService(
            service.name, runs, listeners, counting, context.reactor, _pending_bounds(context)
        )
    except Exception as error:  # a user's factory or protocol
        text = f'"{service.runs}" cannot be made: {type(error).__name__}: {error}'
        raise CannotImport(text) from error


def _listener(
    context: ServiceContext, bound: BoundListener, number: int, request_filter: ReactorFilter | None
) -> Listener:
    host = HandlerHost(context.say, context.suspend)
    server = server_of(bound.transport, bound.shown, host)
    admission = Admission(context.gate(bound, None), request_filter, context.service.access.dry_run)
    is_proxy = None
    if context.service.proxies:
        is_proxy = bound.proxies(context.service.proxies).has
    return Listener(
        context.source(bound), bound.socket, server, admission, bound.is_tls, is_proxy, number
    )


def _pending_bounds(context: ServiceContext) -> PendingBounds:
    table, timeout = context.service.tls, context.service.handshake_timeout
    if table is None:
        return PendingBounds(context.handshakes, timeout)
    asks = table.client_certificate != "none"
    tls = Tls(
        reactor_context(table),
        suppresses_ragged_eofs=table.suppress_ragged_eofs,
        certificate_of=ClientCertificate if asks else None,
        timeout=timeout,
        reactor=context.reactor,
    )
    return PendingBounds(context.handshakes, timeout, tls)


def _request_filter(context: ServiceContext) -> ReactorFilter | None:
    function = context.filter_function()
    if function is None:
        return None
    timeout = context.service.access.verify_timeout
    return ReactorFilter(function, timeout, context.reactor, context.say_filter_raised)
