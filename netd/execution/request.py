"""A request on its way to a handler; why a datagram was dropped, or a connection refused."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from netd.model.peer import Credentials, PeerCertificate


class Refused(Exception):
    """Why, in a word for the log and the metrics, and perhaps more; whoever is told closes it."""

    def __init__(
        self, request: Request, reason: str, detail: str = "", since: float | None = None
    ) -> None:
        super().__init__(reason)
        self.request = request
        self.reason = reason
        self.detail = detail
        self.since = time.monotonic() if since is None else since
        """When it was taken."""


class TooLong(Exception):
    """A datagram was longer than the service takes; it has been read and is gone."""

    def __init__(self, client: str, limit: int) -> None:
        super().__init__(f"datagram from {client} is longer than {limit} bytes")


class Request(NamedTuple):
    """A request, as ``socketserver`` passes it to a handler, and what netd knows about it."""

    raw: Any
    """The connection's socket, or ``(data, socket)``. Who serves it closes the connection."""
    client_address: Any
    client: str
    """The client for people: ``192.0.2.7:4711``, ``[::1]:4711``, ``uid:1000,pid:4242``."""
    peer: Credentials | None
    """Of a Unix peer; None for everybody else, and where they are unknown."""
    certificate: PeerCertificate | None = None
    """What the client has shown in its TLS handshake; None before that, and without one."""
    since: float | None = None
    """When the daemon took it (CLOCK_MONOTONIC), where that has waited for its first bytes."""

    @property
    def facts(self) -> tuple[Any, Any, str, Credentials | None, PeerCertificate | None]:
        """What the rules are asked about."""
        return self[:5]
