"""What the connections of a service begin with, for services whose handlers may wait."""

from __future__ import annotations

from functools import partial
from socketserver import BaseServer
from typing import Final

from netd.admission.proxies import Proxies
from netd.execution.blocking_tls import Handshakes, remember_name
from netd.execution.forks.handshake import HandshakeFirst
from netd.execution.interfaces import Service, Source
from netd.execution.request import Request
from netd.execution.serving import Serving
from netd.execution.threads.pending import Beginnings, HandshakeSource, Lists
from netd.handlers.starttls import provide
from netd.model.tls import HANDSHAKE_TIMEOUT
from netd.tls.blocking import blocking_context
from netd.tls.peer import ClientCertificate
from netd.worker.build.context import ServiceContext
from netd.worker.build.listener import BoundListener

PATIENCE: Final = 0.2
"""Seconds that a worker with one client each waits for that client's next words, before it takes
another: a round trip to anywhere. So nobody can keep it busy by a handshake that stands still."""


class PendingBuilder:
    """Makes the sources of one service, and knows who waits at all of them together."""

    def __init__(self, context: ServiceContext) -> None:
        service = context.service
        self._context = context
        self._timeout = HANDSHAKE_TIMEOUT if service.tls is None else service.tls.handshake_timeout
        self._handshakes = handshakes_of(context)
        self.waiting: Beginnings | None = None
        """None where requests are all that connections begin with."""

    def source(self, bound: BoundListener, lists: Lists) -> Source:
        """What takes from a listener; *lists* are asked as soon as it is known who comes."""
        plain = self._context.source(bound)
        proxies = self._context.service.proxies
        if not self.begin(bound):
            return plain
        if self._context.service.forks:  # the rest is for the child
            return plain
        if bound.queue is not None and not bound.is_tls:  # the daemon has read the header
            return plain
        if self.waiting is None:
            context = self._context
            self.waiting = Beginnings(context.handshakes, self._timeout, context.reactor)
        is_proxy = None
        if proxies and bound.queue is None:
            is_proxy = partial(_is_proxy, Proxies(proxies, of_unix=bound.transport.is_unix))
        handshakes = self._handshakes if bound.is_tls else None
        patience = 0.0 if bound.queue is None else PATIENCE
        return HandshakeSource(plain, self.waiting, lists, is_proxy, handshakes, patience)

    def begin(self, bound: BoundListener) -> bool:
        """Whether connections to a listener begin by something else than a request."""
        is_stream = not bound.transport.is_datagram
        return is_stream and (bound.is_tls or bool(self._context.service.proxies))

    def provide(self, server: BaseServer, serving: Serving) -> None:
        """Let handlers under *server* start TLS on their connections (STARTTLS)."""
        if self._handshakes is not None:
            provide(server, partial(serving.start_tls, self._handshakes, self._timeout))

    def in_child(self, bound: BoundListener, serving: Serving) -> Service:
        """What serves in a process of its own, where that has the handshake to do first."""
        if not bound.is_tls or self._handshakes is None:
            return serving
        return HandshakeFirst(serving, self._handshakes, self._timeout)


def _is_proxy(proxies: Proxies, request: Request) -> bool:
    return proxies.has(request.client_address, request.peer)


def handshakes_of(context: ServiceContext) -> Handshakes | None:
    """What the handshakes of a service have in common; None where it has no TLS."""
    tls = context.service.tls
    if tls is None:
        return None
    asks = tls.client_certificate != "none"
    # Only a program cannot ask its connection.
    tls_context = blocking_context(tls, None if context.service.is_code else remember_name)
    return Handshakes(tls_context, tls.suppress_ragged_eofs, ClientCertificate if asks else None)
