"""A service that the reactor runs, joined up: protocols, factories and asynchronous handlers."""

from __future__ import annotations

from netd.admission.proxies import Proxies
from netd.admission.reactor_filter import ReactorFilter
from netd.execution.reactor.admission import Admission
from netd.execution.reactor.runnable import is_handler
from netd.execution.reactor.service import Begins, Listener, ReactorService
from netd.execution.reactor.tls import Tls
from netd.execution.sources.datagram import asks
from netd.tls.peer import ClientCertificate
from netd.tls.reactor import reactor_context
from netd.worker.build.context import Bound, Joint
from netd.worker.build.server import HandlerHost, server_of
from netd.worker.importing import CannotImport, load


def by_reactor(joint: Joint) -> ReactorService:
    """Import what the service runs and join it up with its listeners, not yet started.

    Raises ``importing.CannotImport``.
    """
    service = joint.service
    what = load(joint.code.reference, joint.python_path)
    joint.asks_for_ancillary = is_handler(what) and asks(what)
    request_filter = _request_filter(joint)
    listeners = [_listener(joint, bound, request_filter) for bound in joint.listeners]
    try:
        return ReactorService(
            service.name,
            what,
            service.options,
            listeners,
            joint.slots,
            joint.reactor,
            joint.journal,
            service.datagram_size,
            joint.wear,
            service.handler_timeout,
            _begins(joint),
        )
    except Exception as error:  # a user's factory or protocol
        text = f'"{service.runs}" cannot be made: {type(error).__name__}: {error}'
        raise CannotImport(text) from error


def _listener(joint: Joint, bound: Bound, request_filter: ReactorFilter | None) -> Listener:
    host = HandlerHost(joint.say, joint.suspend)
    server = server_of(bound.transport, bound.shown, host)
    admission = Admission(joint.gate(bound, None), request_filter, joint.service.access.dry_run)
    is_proxy = None
    if joint.service.proxies:
        is_proxy = Proxies(joint.service.proxies, of_unix=bound.transport.is_unix).has
    return Listener(joint.source(bound), bound.socket, server, admission, bound.is_tls, is_proxy)


def _begins(joint: Joint) -> Begins:
    table = joint.service.tls
    if table is None:
        return Begins(joint.handshakes)
    asks = table.client_certificate != "none"
    tls = Tls(
        reactor_context(table),
        suppresses_ragged_eofs=table.suppress_ragged_eofs,
        certificate_of=ClientCertificate if asks else None,
        timeout=table.handshake_timeout,
        reactor=joint.reactor,
    )
    return Begins(joint.handshakes, table.handshake_timeout, tls)


def _request_filter(joint: Joint) -> ReactorFilter | None:
    function = joint.filter_function()
    if function is None:
        return None
    timeout = joint.service.access.verify_timeout
    return ReactorFilter(function, timeout, joint.reactor, joint.say_filter_raised)
