"""Connections of the reactor that are not served yet: their header, their first byte, TLS.

Until its first byte has come, a client costs a descriptor and a ``ReactorConnection``. Only then is
a transport made, and what TLS needs.
"""

from __future__ import annotations

from typing import Protocol

from netd.accept.first_bytes import FirstBytes
from netd.accept.next_step import Step
from netd.accept.pending import Client, Lists, PendingConnections
from netd.accept.refusal import HANDSHAKE, Refusal
from netd.accept.watched import WatchedConnection
from netd.admission.proxies import IsProxy
from netd.core.reactor import Reading
from netd.execution.reactor.shared import ServiceParts
from netd.execution.reactor.tls import Tls, TlsTransport
from netd.execution.reactor.transport import StreamTransport
from netd.execution.request import Refused, Request, first_bytes_of
from netd.proxy.header import Header


class Host(Protocol):
    """What accepts the connections, and serves them once nothing precedes that."""

    def refuses_early(self, client: Client) -> str | None:
        """The reason word if the lists refuse a client before its handshake."""

    def refuse(self, error: Refused) -> None:
        """Log, count and close a connection that is not served. Raises nothing."""

    def admit(self, request: Request, since: float, header: Header | None) -> None:
        """Ask the rules about a connection, and serve it."""

    def transport(self, request: Request, since: float, header: Header | None) -> StreamTransport:
        """Make the transport of a client for its handshake. It is listed as connected."""

    def admit_shaken(self, transport: StreamTransport) -> None:
        """Ask the rules about a client whose handshake is done, and serve it."""


class PendingStage:
    """Takes the connections of one listener through what precedes their first request.

    *is_proxy* is None if the service trusts no proxy. *tls* is None if the listener has no TLS.
    """

    def __init__(
        self, parts: ServiceParts, host: Host, is_proxy: IsProxy | None, tls: Tls | None
    ) -> None:
        self.pending: PendingConnections = parts.pending
        self.reactor: Reading = parts.reactor
        self._host = host
        self.lists: Lists = host.refuses_early
        """Bound once, because each pending connection keeps a reference. It asks the lists of that
        moment: a reload may have replaced those of the beginning."""
        self._is_proxy = is_proxy
        self._tls = tls

    def opens(self, request: Request, since: float) -> bool:
        """Take a connection over; False for one that can be served immediately."""
        first_bytes = first_bytes_of(request, since, self._is_proxy, is_tls=self.has_tls)
        if first_bytes is None:
            return False
        ReactorConnection(self, request, first_bytes).open()
        return True

    # For a ReactorConnection.

    @property
    def has_tls(self) -> bool:
        """Whether a handshake follows the first bytes."""
        return self._tls is not None

    def begin(self, connection: WatchedConnection, step: Step) -> None:
        """Shake hands, or serve."""
        assert isinstance(connection, ReactorConnection)
        first_bytes = connection.first_bytes
        request = connection.request = connection.request.proxied_by(first_bytes)
        if step is Step.SERVE:
            self.pending.remove(connection)
            self._host.admit(request, first_bytes.since, first_bytes.header)
            return
        assert self._tls is not None
        transport = self._host.transport(request, first_bytes.since, first_bytes.header)
        connection.transport = transport
        transport.shake_hands(TlsTransport(self._tls, connection.shaken))
        if not transport.disconnected:
            # Something is there. What cannot be done with it now, the reactor reports again.
            transport.doRead()

    def refuse(self, connection: WatchedConnection, refusal: Refusal) -> None:
        assert isinstance(connection, ReactorConnection)
        transport = connection.transport
        if transport is None:
            request = connection.request.proxied_by(connection.first_bytes)
            self._host.refuse(Refused(request, refusal, connection.since))
        elif not transport.disconnected:
            # What TLS has written may take its time to send, which the client has used up.
            transport.refuse(str(refusal), at_once=True)

    def shaken(self, connection: ReactorConnection, reason: str | None) -> None:
        """The handshake is done, or has failed because of *reason*."""
        self.pending.remove(connection)
        transport = connection.transport
        assert transport is not None
        if transport.disconnected:
            return
        if reason is None:
            reason = transport.note_certificate()
        if reason is not None:
            transport.refuse(str(Refusal(HANDSHAKE, reason)))
            return
        self._host.admit_shaken(transport)


class ReactorConnection(WatchedConnection):
    """A pending connection that becomes a transport of the reactor."""

    __slots__ = ("_stage", "request", "transport")

    def __init__(self, stage: PendingStage, request: Request, first_bytes: FirstBytes) -> None:
        super().__init__(
            stage,
            first_bytes,
            request.peer,
            stage.lists,
            awaits_handshake=stage.has_tls,
        )
        self._stage = stage
        self.request = request
        self.transport: StreamTransport | None = None

    def shaken(self, reason: str | None) -> None:
        """The handshake is over (``TlsTransport``)."""
        self._stage.shaken(self, reason)
