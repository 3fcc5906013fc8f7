"""Datagrams that the reactor serves: received in batches, admitted, given to a protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.protocol import DatagramProtocol

from netd.accept.errors import Rejected
from netd.accept.loop import Accepting, AcceptLoop, abandoned_text
from netd.accept.pause import Pause
from netd.admission.lists import AccessLists
from netd.execution.interfaces import Source
from netd.execution.outcome import DROPPED, FAILED, SERVED, refused, would_be_refused
from netd.execution.reactor.accounts import Accounts
from netd.execution.reactor.admission import Admission
from netd.execution.reactor.ports import DatagramTransport
from netd.execution.request import Refused, Request, TooLong
from netd.listening import replies as senders
from netd.listening.replies import Sender
from netd.listening.traffic import traffic
from netd.proxy.datagrams import Proxied, ProxiedAddress, proxied

BATCH: Final = 64
"""Datagrams received per wake-up, before connected clients have their turn again."""

AT_ONCE: Final = 1000
"""Datagrams in progress (filters and handlers that wait) above which no more are received: the
kernel queues the next ones, and drops those that it has no room for."""


class Datagrams:
    """Receives from one listener, and serves what is admitted. In the reactor's thread."""

    def __init__(
        self,
        service: str,
        source: Source,
        admission: Admission,
        accounts: Accounts,
        pause: Pause,
        *,
        is_proxied: bool = False,
        number: int = 0,
    ) -> None:
        """*number* is the listener's index in the service's ``listen``.

        With *is_proxied* a datagram's client may differ from its sender.
        """
        self.service = service
        self._is_proxied = is_proxied
        self.name = source.transport.value
        self.accounts = accounts
        self.record = accounts.recorder(self.name)
        self._number = number
        self.transport: DatagramTransport
        self._admission = admission
        self._of_unix = source.transport.is_unix
        accepting = Accepting(source.next_request, self._begin, self._abandon, self._reject)
        # The transport is what the reactor watches: protocols know it, and may stop it.
        self._loop = AcceptLoop(accepting, self, pause, BATCH)
        self._serve: Callable[[Request], None]
        self._under_way = 0
        self._stopped = False

    def connect(self, transport: DatagramTransport, serve: Callable[[Request], None]) -> None:
        """Receive when *transport* is read, and call *serve*, which raises nothing."""
        self.transport = transport
        self._serve = serve

    def stop(self) -> None:
        """Receive nothing more until ``start``; the transport can still send."""
        self._stopped = True
        self._loop.is_open = False
        self.transport.stopReading()  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Receive. Idempotent."""
        self._stopped = False
        self._loop.is_open = True
        self.transport.startReading()

    def recheck(self, lists: AccessLists) -> None:
        """Replace the lists by *lists*."""
        self._admission = self._admission.by(
            lists, of_unix=self._of_unix, is_proxied=self._is_proxied
        )

    def may_receive(self) -> bool:
        """Whether there is room for more."""
        return not self._stopped and self._under_way < AT_ONCE

    def receive(self) -> None:
        """Receive a bounded number of datagrams. Raises nothing."""
        self._loop.run()
        self.accounts.publish()

    def dropped_by_reactor(self, error: BaseException) -> None:
        """The reactor has dropped the transport's descriptor: try again later."""
        if not self._stopped:
            self._loop.pause(error)

    # Pausable.

    def pause(self) -> None:
        self.transport.stopReading()  # type: ignore[no-untyped-call]

    def resume(self) -> None:
        self.transport.startReading()

    def say(self, level: str, text: str) -> None:
        """Log a line."""
        self.accounts.say(level, text)

    def say_raised(self, client: str, what: str, error: BaseException) -> None:
        """Log what the user's code has raised."""
        self.accounts.say_raised(self.name, client, what, error)

    def hold(self, request: Request, since: float) -> int:
        """A datagram is in progress until ``release``; return its ID."""
        self._under_way += 1
        if self._under_way == AT_ONCE:
            self.transport.stopReading()  # type: ignore[no-untyped-call]
        return self.accounts.begin(self._number, request, since)

    def release(self, connection: int) -> None:
        """A datagram that was in progress is done."""
        self._under_way -= 1
        if self._under_way == AT_ONCE - 1:
            self.transport.startReading()
        self.accounts.end(connection)

    def _begin(self, request: Request) -> None:
        admission, recycle = self._admission, self.accounts.recycle
        gate = admission.gate
        reason = None if gate is None else gate.refuses(*request.facts)
        if reason is not None and not self._passes(request, reason, time.monotonic()):
            return
        if recycle is not None:
            recycle.took()
        if admission.filter is None:
            self._serve(request)
        else:
            self._ask(request, admission)

    def _ask(self, request: Request, admission: Admission) -> None:
        since = time.monotonic()
        asked = admission.refuses(request, (request.raw[0], self.transport))
        assert asked is not None
        asked.addCallback(partial(self._answered, request, since, admission))
        if not asked.called:
            connection = self.hold(request, since)
            asked.addBoth(lambda _: self.release(connection))

    def _answered(
        self, request: Request, since: float, asked_by: Admission, reason: str | None
    ) -> None:
        """The filter has decided."""
        gate = self._admission.gate
        if reason is None and self._admission is not asked_by and gate is not None:
            reason = gate.refuses(*request.facts)
        if reason is None or self._passes(request, reason, since):
            self._serve(request)

    def _reject(self, rejected: Rejected) -> None:
        """Log and count a datagram that is too long, or lacks the header that it must have."""
        if isinstance(rejected, Refused):
            request, outcome = rejected.request, refused(rejected.refusal)
            self.record(request.client, outcome, rejected.since, traffic(request.raw))
        elif isinstance(rejected, TooLong):
            DROPPED.add_to(self.accounts.lane)
            self.accounts.say("warn", f"dropped: {rejected}")

    def _abandon(self, request: Request, error: BaseException) -> None:
        """A bug, or no memory: this datagram is lost, and the listener goes on."""
        self.accounts.say("error", abandoned_text(request.client, error))

    def _passes(self, request: Request, reason: str, since: float) -> bool:
        """Count and log a refusal; whether it is a dry run, so that the datagram is served."""
        dry = self._admission.dry_run
        outcome = would_be_refused(reason) if dry else refused(reason)
        self.record(request.client, outcome, since, traffic(request.raw))
        return dry


class ProtocolDatagrams:
    """Gives datagrams to a user's protocol: counted, and logged only if it raises.

    Only the protocol knows what a packet means, so there is no log line for each.
    """

    def __init__(self, datagrams: Datagrams, protocol: DatagramProtocol, *, of_inet6: bool) -> None:
        self._datagrams = datagrams
        self._lane = datagrams.accounts.lane
        self._protocol = protocol
        self._of_inet6 = of_inet6

    def serve(self, request: Request) -> None:
        """Call the protocol, with the address in Twisted's form."""
        (data, _), address, client, *_ = request
        if self._of_inet6 or isinstance(address, Proxied):
            address = _pair(address)
        outcome = SERVED
        self._datagrams.transport.answered = address
        try:
            self._protocol.datagramReceived(data, address)
        except BaseException as error:
            outcome = FAILED
            self._datagrams.say_raised(client, "the protocol", error)
        outcome.add_to(self._lane)


def _pair(address: Any) -> Any:
    """An IPv6 address in two parts, with the link, if it is one of a link, in the first.

    That of a proxied client may be of any family.
    """
    if isinstance(address, ProxiedAddress):
        return proxied(tuple(address[:2]), address.proxy)
    if isinstance(address, Proxied):
        return address
    host, port, _, scope = address
    pair = (f"{host}%{scope}" if scope else host), port
    return senders.like(pair, address) if isinstance(address, Sender) else pair
