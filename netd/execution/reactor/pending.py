"""What connections of the reactor begin with, before they are served: a header, a handshake.

Until its first byte has come, a client costs a descriptor and a Newcomer; only then is a transport
made, and what TLS needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.accept.first_bytes import GONE, FirstBytes, NotAdmitted
from netd.accept.pending import Reception
from netd.execution.reactor.tls import Tls, TlsTransport
from netd.execution.reactor.transport import StreamTransport
from netd.execution.request import Request
from netd.model.peer import Credentials
from netd.proxy.header import Header

HANDSHAKE: Final = "handshake"
"""Why a client is not served whose handshake has failed; OpenSSL's reason follows."""


class Host(Protocol):
    """Who takes the connections, and serves them when they have begun. Raises nothing."""

    def refuses_early(self, request: Request) -> str | None:
        """Whether the lists refuse a client before its handshake, and why."""

    def turn_away(self, request: Request, reason: str, since: float) -> None:
        """Close a connection that has not begun."""

    def admit(self, request: Request, since: float, header: Header | None) -> None:
        """Ask the rules about a connection that has begun, and serve it."""

    def transport(self, request: Request, since: float, header: Header | None) -> StreamTransport:
        """Make the transport of a client, who is inside from now on, for its handshake."""

    def admit_shaken(self, transport: StreamTransport) -> None:
        """Ask the rules about a client whose handshake is done, and serve it."""


class Desk:
    """Receives the connections of one listener that do not begin by being served.

    *is_proxy* says whether a peer has to send a header; None where nobody has. *tls* is there if
    the listener has TLS.
    """

    def __init__(
        self,
        reception: Reception,
        is_proxy: Callable[[Any, Credentials | None], bool] | None,
        tls: Tls | None,
        reactor: Any,
        service: str,
    ) -> None:
        self.host: Host
        self.reactor = reactor
        self.service = service
        self.reception = reception
        self.tls = tls
        self._is_proxy = is_proxy

    @property
    def knows_proxies(self) -> bool:
        """Whether a client may be another one than its peer."""
        return self._is_proxy is not None

    def receives(self, request: Request, since: float) -> bool:
        """Take over a connection; False for one that can be served at once. Raises nothing."""
        is_proxied = self._is_proxy is not None and self._is_proxy(
            request.client_address, request.peer
        )
        if not is_proxied and self.tls is None:
            return False
        reason = None if is_proxied else self.host.refuses_early(request)
        if reason is None:
            self.reception.make_room()
            Newcomer(self, request, since, is_proxied=is_proxied).begin()
        else:
            self.host.turn_away(request, reason, since)
        return True


@implementer(IReadDescriptor)
class Newcomer:
    """A connection that has not begun: its header, its first byte and its handshake are waited for.

    In the reactor's thread.
    """

    __slots__ = ("_arrival", "_desk", "_request", "_transport", "fileno")

    def __init__(self, desk: Desk, request: Request, since: float, *, is_proxied: bool) -> None:
        request.raw.setblocking(False)
        self.fileno = request.raw.fileno
        self._desk = desk
        self._request = request
        self._transport: StreamTransport | None = None
        self._arrival = FirstBytes(
            request.raw,
            request.client_address,
            request.client,
            since,
            awaits_header=is_proxied,
            awaits_byte=desk.tls is not None,
        )

    def begin(self) -> None:
        """Wait, unless all that is waited for is there already, which it often is."""
        self._desk.reception.enter(self)
        if self._has_arrived():
            self._go_on()
        elif self.fileno() >= 0:  # it has not been turned away
            self._desk.reactor.addReader(self)

    # IReadDescriptor.

    def doRead(self) -> None:
        """Something has come. Raises nothing."""
        if self._has_arrived():
            self._desk.reactor.removeReader(self)
            self._go_on()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor complains of the descriptor, which somebody has closed."""
        self._turn_away(GONE)

    def logPrefix(self) -> str:
        return self._desk.service

    # Beginner.

    def give_up(self, why: str) -> None:
        """It is waited for no more."""
        if self._transport is None:
            self._turn_away(why)
        elif not self._transport.disconnected:
            self._transport.refuse(why, at_once=True)

    def _has_arrived(self) -> bool:
        try:
            return self._arrival.advance()
        except NotAdmitted as error:
            self._turn_away(_with_detail(error.reason, error.detail))
        except Exception as error:  # MemoryError, or a bug of ours; no user code runs here
            self._turn_away(type(error).__name__)
        return False

    def _turn_away(self, reason: str) -> None:
        self._desk.reactor.removeReader(self)
        self._desk.reception.leave(self)
        self._desk.host.turn_away(self._request, reason, self._arrival.since)

    def _go_on(self) -> None:
        arrival, desk = self._arrival, self._desk
        if arrival.is_proxied:
            self._request = self._request._replace(
                client_address=arrival.client_address, client=arrival.client, peer=None
            )
        if desk.tls is None:
            desk.reception.leave(self)
            desk.host.admit(self._request, arrival.since, arrival.header)
            return
        reason = None if arrival.header is None else desk.host.refuses_early(self._request)
        if reason is not None:
            self._turn_away(reason)
            return
        self._transport = desk.host.transport(self._request, arrival.since, arrival.header)
        self._transport.shake_hands(TlsTransport(desk.tls, self._shaken))
        if not self._transport.disconnected:
            # Something is there; what cannot be done with it now, the reactor finds again.
            self._transport.doRead()

    def _shaken(self, reason: str | None) -> None:
        """The handshake is done, or has failed."""
        self._desk.reception.leave(self)
        transport = self._transport
        assert transport is not None
        if transport.disconnected:
            return
        if reason is None:
            reason = transport.note_certificate()
        if reason is not None:
            transport.refuse(_with_detail(HANDSHAKE, reason))
            return
        self._desk.host.admit_shaken(transport)


def _with_detail(reason: str, detail: str) -> str:
    return f"{reason}, {detail}" if detail else reason
