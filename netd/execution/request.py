"""A request on its way to a handler, and why one is dropped or refused."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from netd.accept.errors import Rejected
from netd.accept.first_bytes import FirstBytes
from netd.accept.refusal import Refusal
from netd.admission.proxies import IsProxy
from netd.model.peer import Credentials, PeerCertificate


class Refused(Rejected):
    """A request is refused before it is served. The service that is told closes its connection."""

    def __init__(self, request: Request, refusal: Refusal, since: float | None = None) -> None:
        super().__init__(str(refusal))
        self.request = request
        self.refusal = refusal
        self.since = time.monotonic() if since is None else since
        """When it was accepted."""


class TooLong(Rejected):
    """A datagram is longer than the service accepts. It has been read and is lost."""

    def __init__(self, client: str, limit: int) -> None:
        super().__init__(f"datagram from {client} is longer than {limit} bytes")


class Request(NamedTuple):
    """A request, as ``socketserver`` passes it to a handler, and what netd knows about it."""

    raw: Any
    """The connection's socket, or ``(data, socket)``. Its service closes the connection."""
    client_address: Any
    client: str
    """The client for people: ``192.0.2.7:4711``, ``[::1]:4711``, ``uid:1000,pid:4242``."""
    peer: Credentials | None
    """The credentials of a Unix peer; None for other clients, and where they are unknown."""
    certificate: PeerCertificate | None = None
    """The client's certificate; None before the handshake, and if the client has shown none."""
    since: float | None = None
    """When the daemon accepted it (CLOCK_MONOTONIC), if that waited for its first bytes."""

    @property
    def facts(self) -> tuple[Any, Any, str, Credentials | None, PeerCertificate | None]:
        """What the rules are asked about."""
        return self[:5]

    def proxied_by(self, first_bytes: FirstBytes) -> Request:
        """The same request as its proxy's header describes it, if it has one."""
        if not first_bytes.is_proxied:
            return self
        # The kernel's credentials are the proxy's.
        return self._replace(
            client_address=first_bytes.client_address, client=first_bytes.client, peer=None
        )


def first_bytes_of(
    request: Request, since: float, is_proxy: IsProxy | None, *, is_tls: bool
) -> FirstBytes | None:
    """Prepare the wait for what precedes a request on its connection; None if nothing does.

    *is_proxy* is None if the service trusts no proxy. The connection becomes non-blocking.
    """
    is_proxied = is_proxy is not None and is_proxy(request.client_address, request.peer)
    if not (is_proxied or is_tls):
        return None
    request.raw.setblocking(False)
    return FirstBytes(
        request.raw,
        request.client_address,
        request.client,
        since,
        awaits_header=is_proxied,
        awaits_byte=is_tls,
    )
