"""What precedes the requests of a service whose handlers may wait: proxies' headers, and TLS."""

from __future__ import annotations

import threading
from functools import partial
from socketserver import BaseServer
from typing import Final

from netd.accept.next_step import Opening, left_for_worker, opening
from netd.accept.pending import PendingConnections
from netd.execution.blocking_tls import Handshakes, remember_name
from netd.execution.forks.handshake import HandshakeFirst
from netd.execution.interfaces import Service, Source
from netd.execution.serving import Serving
from netd.execution.threads.pending import HandshakeSource
from netd.handlers.starttls import provide
from netd.tls.blocking import blocking_context
from netd.tls.peer import ClientCertificate
from netd.worker.build.context import ServiceContext
from netd.worker.build.listener import BoundListener

PATIENCE: Final = 0.2
"""Seconds that a worker with one client at a time waits for that client's next packet, before it
accepts another: a round trip to anywhere. So a stalled handshake cannot keep it busy."""


class PendingBuilder:
    """Makes the sources of one service, which share one bound on pending connections."""

    def __init__(self, context: ServiceContext) -> None:
        service = context.service
        self._context = context
        self._timeout = service.handshake_timeout
        self._handshakes = handshakes_of(context)
        self.pending: PendingConnections | None = None
        """None if every connection is served as soon as it is accepted."""

    def opening(self, bound: BoundListener) -> Opening:
        """What connections to a listener begin with."""
        proxies = self._context.service.proxies
        return opening(bound.transport, is_tls=bound.is_tls, proxies=proxies)

    def source(self, bound: BoundListener, serving: Serving) -> Source:
        """The source for a listener; *serving* is asked as soon as a client is known."""
        plain = self._context.source(bound)
        service = self._context.service
        is_dispatched = bound.queue is not None
        left = left_for_worker(
            self.opening(bound), is_dispatched=is_dispatched, forks=service.forks
        )
        if left.is_plain:
            return plain
        if self.pending is None:
            context = self._context
            self.pending = PendingConnections(
                context.handshakes, self._timeout, context.reactor, threading.Lock()
            )
        is_proxy = bound.proxies(service.proxies).has if left.header else None
        handshakes = self._handshakes if left.handshake else None
        patience = PATIENCE if is_dispatched else 0.0
        lists = serving.refuses_early
        return HandshakeSource(plain, self.pending, lists, is_proxy, handshakes, patience)

    def provide(self, server: BaseServer, serving: Serving) -> None:
        """Let handlers under *server* start TLS on their connections (STARTTLS)."""
        if self._handshakes is not None:
            provide(server, partial(serving.start_tls, self._handshakes, self._timeout))

    def in_child(self, bound: BoundListener, serving: Serving) -> Service:
        """What serves in a process per request, which does the handshake first if there is TLS."""
        if not bound.is_tls or self._handshakes is None:
            return serving
        return HandshakeFirst(serving, self._handshakes, self._timeout)


def handshakes_of(context: ServiceContext) -> Handshakes | None:
    """What the handshakes of a service have in common; None without TLS."""
    tls = context.service.tls
    if tls is None:
        return None
    asks = tls.client_certificate != "none"
    # A handler can ask its connection for the name; a program cannot.
    tls_context = blocking_context(tls, None if context.service.is_code else remember_name)
    return Handshakes(tls_context, tls.suppress_ragged_eofs, ClientCertificate if asks else None)
