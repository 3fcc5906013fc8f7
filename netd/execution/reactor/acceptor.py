"""Connections that the reactor serves: taken, admitted, and given a transport and a protocol.

Twisted's own ports are not made for listeners that several processes share: they re-configure
them, shut them down, and spin once their reserve descriptor is lost. So an acceptor of our own
takes, and only what it takes becomes Twisted's.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.accept.errors import NEXT
from netd.accept.pause import Pause
from netd.admission.filter import REFUSED
from netd.admission.lists import AccessLists
from netd.execution.interfaces import Source
from netd.execution.outcome import refused, would_be_refused
from netd.execution.reactor.accounts import Accounts
from netd.execution.reactor.admission import Admission
from netd.execution.reactor.pending import Desk
from netd.execution.reactor.tls import Tls
from netd.execution.reactor.transport import Build, ListenerContext, StreamTransport, UnixTransport
from netd.execution.request import Request
from netd.listening.traffic import traffic
from netd.log.record import NOTHING
from netd.proxy.header import Header

BATCH: Final = 32
"""Connections taken a wake-up, before those inside have their turn again."""


@implementer(IReadDescriptor)
class Acceptor:
    """Takes connections from one listener, which stays as it is. In the reactor's thread."""

    def __init__(
        self,
        service: str,
        source: Source,
        build: Build,
        admission: Admission,
        accounts: Accounts,
        resting: Pause,
        reactor: Any,
        desk: Desk | None = None,
        tls: Tls | None = None,
        number: int = 0,
    ) -> None:
        """*desk* receives connections that do not begin by being served; *tls* is the service's.

        *number* is the listener's index in the service's ``listen``.
        """
        self._place = ListenerContext(
            service, source.transport.value, accounts, reactor, tls, number
        )
        self._desk = desk
        if desk is not None:
            desk.host = self
        self._accounts = accounts
        self._reactor = reactor
        self.fileno = source.fileno
        self._take = source.take
        self._build = build
        self._admission = admission
        self._resting = resting
        self._kind = UnixTransport if source.transport.is_unix else StreamTransport
        self._number = 0
        self._stopped = False

    def startReading(self) -> None:
        """Take connections, unless ``stop`` has been called."""
        if not self._stopped:
            self._reactor.addReader(self)

    def stopReading(self) -> None:
        """Leave connections in the backlog."""
        # Not there (EBADF): a handler has closed a descriptor that was not its own.
        with suppress(OSError):
            self._reactor.removeReader(self)

    def stop(self) -> None:
        """Take nothing more, until ``resume``."""
        self._stopped = True
        self.stopReading()

    def resume(self) -> None:
        """Take again."""
        self._stopped = False
        self.startReading()

    def close(self) -> None:
        """Give back what the connections needed, which have ended."""
        self._place.hangups.close()

    def recheck(self, lists: AccessLists) -> None:
        """Ask *lists* from now on, and end the connections that they do not admit."""
        self._admission = self._admission.by(
            lists,
            of_unix=self._kind is UnixTransport,
            is_proxied=self._desk is not None and self._desk.knows_proxies,
        )
        if self._admission.gate is not None:
            self._place.open.recheck(self._admission.gate)

    def disconnect(self, connection: int) -> None:
        """End the connection with this ID, if it is one of the listener's."""
        self._place.open.disconnect(connection)

    def doRead(self) -> None:
        """Take a bounded number of connections. Raises nothing."""
        for _ in range(BATCH):
            try:
                request = self._take()
            except OSError as error:
                if error.errno not in NEXT:
                    self._resting.rest(self, error)
                    return
                self._resting.works(self)
                if isinstance(error, BlockingIOError):
                    return
                continue
            except Exception as error:  # MemoryError, or a bug of ours; no user code runs here
                self._resting.rest(self, error)
                return
            self._resting.works(self)
            self._begin(request)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor complains of the listener, which somebody has shut down."""
        if not self._stopped:
            self._resting.rest(self, reason.value or OSError("shut down"))

    def logPrefix(self) -> str:
        return self._place.service

    def _begin(self, request: Request) -> None:
        since = time.monotonic()
        if self._desk is None or not self._desk.receives(request, since):
            self.admit(request, since, None)

    # Host: what the desk asks for. And below that, what becomes of those who have begun.

    def refuses_early(self, request: Request) -> str | None:
        """Ask the lists before the client has shown who it is; nobody in a dry run."""
        gate = self._admission.gate
        if gate is None or self._admission.dry_run:
            return None
        return gate.refuses_early(request.client_address, request.peer)

    def turn_away(self, request: Request, reason: str, since: float) -> None:
        """Count and log a client that has not begun, and close its connection."""
        self._place.record(request.client, refused(reason), since, traffic(request.raw))
        with suppress(OSError):
            request.raw.close()
        self._accounts.publish()

    def admit(self, request: Request, since: float, header: Header | None) -> None:
        """Ask the rules, and serve."""
        # Most connections come here, and each call from here would cost all of them something.
        accounts, gate = self._accounts, self._admission.gate
        connection = accounts.begin(self._place.number, request, since)
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
        if self._admission.filter is None:
            transport.open(self._build)
        else:
            self._ask(transport)

    def transport(self, request: Request, since: float, header: Header | None) -> StreamTransport:
        """Make the transport of a client, who is inside from now on, for its handshake."""
        connection = self._accounts.begin(self._place.number, request, since)
        self._number += 1
        return self._kind(request, connection, since, self._place, self._number, header)

    def admit_shaken(self, transport: StreamTransport) -> None:
        """Ask all rules, now that the client has shown its certificate, and serve."""
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
        """The filter has decided; in the meantime it may have written, or hung up."""
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
        """Whether a refusal is only counted and logged, which it then has been."""
        if self._admission.dry_run:
            self._place.record(request.client, would_be_refused(reason), since, NOTHING)
        return self._admission.dry_run
