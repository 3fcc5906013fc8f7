"""One listener of a service in its worker, and the source of requests that is built on it."""

from __future__ import annotations

import socket

from netd.admission.proxies import Proxies
from netd.execution.interfaces import Source
from netd.execution.sources.datagram import (
    Amplification,
    InetDatagram,
    InetMessages,
    UnixDatagram,
    UnixMessages,
)
from netd.execution.sources.proxied import ProxiedDatagrams
from netd.execution.sources.stream import HandoffSource, InetStream, UnixStream
from netd.listening.handler_view import ListenerSocket
from netd.listening.replies import tells_destinations
from netd.model.address import Address, Transport
from netd.proxy.header import LONGEST


class BoundListener:
    """One listener of a service in this process. It stays open as long as the process lives."""

    def __init__(self, address: Address, descriptor: int, queue: int | None) -> None:
        """Take over *descriptor*, which is bound to *address*.

        *queue* is the descriptor of the handoff queue, if the daemon accepts from this listener.
        """
        self.transport = transport = address.transport
        self.is_tls = address.is_tls
        self.socket = socket.socket(transport.family, transport.type, fileno=descriptor)
        self.shown = ListenerSocket.copy_of(self.socket)
        """What user code finds as the server's socket."""
        self.queue = None if queue is None else _queue_of(queue)

    def strip_proxy_headers(self, networks: tuple[str, ...]) -> None:
        """Let a server's own ``get_request()`` receive datagrams without the header of a proxy.

        *networks* are those of the trusted proxies. Streams need nothing: their header is read
        before a server class sees the connection.
        """
        if self.transport.is_datagram and networks:
            proxies = self.proxies(networks)
            self.shown.is_proxy = lambda sender: proxies.has(sender, None)

    def limit_amplification(self, amplification: Amplification) -> None:
        """Bound what is sent to addresses that have sent little. Unix addresses are not forged."""
        if self.transport.is_datagram and not self.transport.is_unix:
            self.shown.allowance_of = amplification.of

    def proxies(self, networks: tuple[str, ...]) -> Proxies:
        """The trusted proxies, for addresses of this listener's family."""
        return Proxies(networks, of_unix=self.transport.is_unix)

    def source(self, limit: int, networks: tuple[str, ...], asks_for_ancillary: bool) -> Source:
        """Build the source of this listener's connections or datagrams.

        *limit* is the longest datagram in bytes, *networks* are those of the trusted proxies, and
        *asks_for_ancillary* says whether handlers want the ancillary data of each datagram.
        """
        if self.transport.is_datagram and networks:
            # The header comes in front of the data, and does not count for the limit.
            datagrams = self._datagrams(limit + LONGEST, asks_for_ancillary)
            return ProxiedDatagrams(datagrams, self.proxies(networks), limit)
        if self.transport.is_datagram:
            return self._datagrams(limit, asks_for_ancillary)
        if self.queue is not None:
            return HandoffSource(self.queue, self.transport)
        if self.transport is Transport.UNIX:
            # Always with groups: a reload may bring lists that ask for those of a connection
            # that was accepted before.
            return UnixStream(self.socket, with_groups=True)
        return InetStream(self.socket, self.transport)

    def _datagrams(self, limit: int, asks: bool) -> Source:
        """The cheapest source that knows what is asked: recvmsg(2) costs more than recvfrom(2)."""
        if self.transport is Transport.UNIXGRAM:
            kind = UnixMessages if asks else UnixDatagram
            return kind(self.socket, self.shown, limit)
        if asks or self.shown.allowance_of is not None or tells_destinations(self.socket):
            return InetMessages(
                self.socket,
                self.transport,
                self.shown,
                limit,
                asked_for=asks,
                allowance_of=self.shown.allowance_of,
            )
        return InetDatagram(self.socket, self.transport, self.shown, limit)


def _queue_of(descriptor: int) -> socket.socket:
    queue = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor)
    queue.setblocking(False)
    return queue
