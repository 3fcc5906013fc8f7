"""Connections that the reactor serves: accepted, admitted, and given a transport and a protocol.

Twisted's own ports are not made for listeners that several processes share: they re-configure
them, shut them down, and spin once their reserve descriptor is lost. So netd's accept loop accepts,
and Twisted gets connections only.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import Final

from netd.accept.loop import Accepting, WatchedListener, abandoned_text
from netd.accept.pending import Client
from netd.admission.filter import REFUSED
from netd.admission.lists import AccessLists
from netd.admission.proxies import IsProxy
from netd.execution.interfaces import Source
from netd.execution.outcome import refused, would_be_refused
from netd.execution.reactor.admission import Admission
from netd.execution.reactor.pending import PendingStage
from netd.execution.reactor.shared import ServiceParts
from netd.execution.reactor.transport import Build, ListenerContext, StreamTransport, UnixTransport
from netd.execution.request import Refused, Request
from netd.listening.traffic import traffic
from netd.log.record import NOTHING
from netd.proxy.header import Header

BATCH: Final = 32
"""Connections accepted per wake-up, before connected clients have their turn again."""


class Acceptor:
    """Accepts connections from one listener, which stays as it is. In the reactor's thread."""

    def __init__(
        self,
        parts: ServiceParts,
        source: Source,
        build: Build,
        admission: Admission,
        is_proxy: IsProxy | None,
        *,
        is_tls: bool,
        number: int = 0,
    ) -> None:
        """*number* is the listener's index in the service's ``listen``."""
        name, reactor = parts.name, parts.reactor
        self._place = ListenerContext(
            name, source.transport.value, parts.accounts, reactor, parts.tls, number
        )
        self._accounts = parts.accounts
        self._build = build
        self._admission = admission
        self._kind = UnixTransport if source.transport.is_unix else StreamTransport
        self._number = 0
        self._knows_proxies = is_proxy is not None
        tls = parts.tls if is_tls else None
        is_plain = is_proxy is None and tls is None
        self._stage = None if is_plain else PendingStage(parts, self, is_proxy, tls)
        accepting = Accepting(source.next_request, self._begin, self._abandon)
        self._listener = WatchedListener(
            source.fileno, accepting, parts.pause, reactor, BATCH, name
        )

    def start(self) -> None:
        """Accept connections. Idempotent."""
        self._listener.start()

    def stop(self) -> None:
        """Leave connections in the backlog until ``start``."""
        self._listener.stop()

    def close(self) -> None:
        """Give back what the connections needed. All of them have ended."""
        self._place.hangups.close()

    def recheck(self, lists: AccessLists) -> None:
        """Replace the lists by *lists*, and end the connections that they do not admit."""
        self._admission = self._admission.by(
            lists,
            of_unix=self._kind is UnixTransport,
            is_proxied=self._knows_proxies,
        )
        if self._admission.gate is not None:
            self._place.open.recheck(self._admission.gate)

    def disconnect(self, connection: int) -> None:
        """End the connection with this ID, if it is one of the listener's."""
        self._place.open.disconnect(connection)

    def _begin(self, request: Request) -> None:
        since = time.monotonic()
        if self._stage is None or not self._stage.opens(request, since):
            self.admit(request, since, None)

    def _abandon(self, request: Request, error: BaseException) -> None:
        """Close a connection for which ``_begin`` has raised: a bug, or no memory to watch it."""
        with suppress(OSError):
            request.raw.close()
        self._accounts.say("error", abandoned_text(request.client, error))

    # Host: what the stage asks for. And below that, what becomes of connections that are served.

    def refuses_early(self, client: Client) -> str | None:
        """Ask the lists before the handshake; in a dry run they are asked once, by ``admit``."""
        gate = self._admission.gate
        if gate is None or self._admission.dry_run:
            return None
        return gate.refuses_early(client.client_address, client.peer)

    def refuse(self, error: Refused) -> None:
        """Log, count and close a connection that is not served."""
        request, outcome = error.request, refused(error.refusal)
        self._place.record(request.client, outcome, error.since, traffic(request.raw))
        with suppress(OSError):
            request.raw.close()
        self._accounts.publish()

    def admit(self, request: Request, since: float, header: Header | None) -> None:
        """Ask the rules, and serve."""
        # Most connections come here, and each call from here would cost all of them something.
        accounts, gate = self._accounts, self._admission.gate
        connection = accounts.begin(self._place.number, request, since)
        try:
            reason = None if gate is None else gate.refuses(*request.facts)
            if reason is not None and not self._is_dry(request, since, reason):
                carried = traffic(request.raw)
                with suppress(OSError):
                    request.raw.close()
                self._place.record(request.client, refused(reason), since, carried)
                accounts.end(connection)
                return
            if accounts.recycle is not None:
                accounts.recycle.took()
            self._number += 1
            transport = self._kind(request, connection, since, self._place, self._number, header)
        except BaseException:
            # No transport has the record, which would count as a connected client for ever.
            accounts.end(connection)
            raise
        if self._admission.filter is None:
            transport.open(self._build)
        else:
            self._ask(transport)

    def transport(self, request: Request, since: float, header: Header | None) -> StreamTransport:
        """Make the transport of a client for its handshake. It is listed as connected."""
        connection = self._accounts.begin(self._place.number, request, since)
        self._number += 1
        return self._kind(request, connection, since, self._place, self._number, header)

    def admit_shaken(self, transport: StreamTransport) -> None:
        """Ask all rules, now that the client's certificate is known, and serve."""
        reason = self._refuses(transport.request)
        if reason is None or self._is_dry(transport.request, transport.since, reason):
            if self._accounts.recycle is not None:
                self._accounts.recycle.took()
            self._ask(transport)
        else:
            transport.refuse(reason)

    def _refuses(self, request: Request) -> str | None:
        """Ask the lists."""
        gate = self._admission.gate
        return None if gate is None else gate.refuses(*request.facts)

    def _ask(self, transport: StreamTransport) -> None:
        """Ask the filter, and serve."""
        admission = self._admission
        asked = admission.refuses(transport.request, transport.shown)
        if asked is None:
            transport.open(self._build)
        else:
            if not asked.called:
                transport.wait()
            asked.addCallback(partial(self._answered, transport, admission))

    def _answered(
        self, transport: StreamTransport, asked_by: Admission, reason: str | None
    ) -> None:
        """The filter has decided; meanwhile it may have written, or closed the connection."""
        request = transport.request
        if reason is None and self._admission is not asked_by:
            reason = self._refuses(request)
        if transport.disconnected:
            return
        if transport.is_leaving():
            transport.refuse(reason or REFUSED)
        elif reason is None or self._is_dry(request, transport.since, reason):
            transport.open(self._build)
        else:
            transport.refuse(reason)

    def _is_dry(self, request: Request, since: float, reason: str) -> bool:
        """Whether a refusal is only counted and logged, which is then done."""
        if self._admission.dry_run:
            self._place.record(request.client, would_be_refused(reason), since, NOTHING)
        return self._admission.dry_run
