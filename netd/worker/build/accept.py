"""What the connections of a service begin with, for services whose handlers may wait."""

from __future__ import annotations

from functools import partial
from socketserver import BaseServer
from typing import Final

from netd.admission.proxies import Proxies
from netd.execution.blocking_tls import Handshakes, remember_name
from netd.execution.forks.handshake import HandshakeFirst
from netd.execution.interfaces import Service, Source
from netd.execution.request import Taken
from netd.execution.serving import Serving
from netd.execution.threads.pending import Beginnings, Entrance, Lists
from netd.handlers.starttls import provide
from netd.model.tls import HANDSHAKE_TIMEOUT
from netd.tls.blocking import blocking_context
from netd.tls.peer import ClientCertificate
from netd.worker.build.context import Bound, Joint

PATIENCE: Final = 0.2
"""Seconds that a worker with one client each waits for that client's next words, before it takes
another: a round trip to anywhere. So nobody can keep it busy by a handshake that stands still."""


class Entrances:
    """Makes the sources of one service, and knows who waits at all of them together."""

    def __init__(self, joint: Joint) -> None:
        service = joint.service
        self._joint = joint
        self._timeout = HANDSHAKE_TIMEOUT if service.tls is None else service.tls.handshake_timeout
        self._handshakes = handshakes_of(joint)
        self.waiting: Beginnings | None = None
        """None where requests are all that connections begin with."""

    def source(self, bound: Bound, lists: Lists) -> Source:
        """What takes from a listener; *lists* are asked as soon as it is known who comes."""
        plain = self._joint.source(bound)
        proxies = self._joint.service.proxies
        if not self.begin(bound):
            return plain
        if self._joint.service.forks:  # the rest is for the child
            return plain
        if bound.queue is not None and not bound.is_tls:  # the daemon has read the header
            return plain
        if self.waiting is None:
            joint = self._joint
            self.waiting = Beginnings(joint.handshakes, self._timeout, joint.reactor)
        is_proxy = None
        if proxies and bound.queue is None:
            is_proxy = partial(_is_proxy, Proxies(proxies, of_unix=bound.transport.is_unix))
        handshakes = self._handshakes if bound.is_tls else None
        patience = 0.0 if bound.queue is None else PATIENCE
        return Entrance(plain, self.waiting, lists, is_proxy, handshakes, patience)

    def begin(self, bound: Bound) -> bool:
        """Whether connections to a listener begin by something else than a request."""
        is_stream = not bound.transport.is_datagram
        return is_stream and (bound.is_tls or bool(self._joint.service.proxies))

    def provide(self, server: BaseServer, serving: Serving) -> None:
        """Let handlers under *server* start TLS on their connections (STARTTLS)."""
        if self._handshakes is not None:
            provide(server, partial(serving.start_tls, self._handshakes, self._timeout))

    def in_child(self, bound: Bound, serving: Serving) -> Service:
        """What serves in a process of its own, where that has the handshake to do first."""
        if not bound.is_tls or self._handshakes is None:
            return serving
        return HandshakeFirst(serving, self._handshakes, self._timeout)


def _is_proxy(proxies: Proxies, taken: Taken) -> bool:
    return proxies.has(taken.client_address, taken.peer)


def handshakes_of(joint: Joint) -> Handshakes | None:
    """What the handshakes of a service have in common; None where it has no TLS."""
    tls = joint.service.tls
    if tls is None:
        return None
    asks = tls.client_certificate != "none"
    # Only a program cannot ask its connection.
    context = blocking_context(tls, None if joint.service.is_code else remember_name)
    return Handshakes(context, tls.suppress_ragged_eofs, ClientCertificate if asks else None)
