"""Datagrams that the reactor serves: received in batches, admitted, handed over."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.protocol import DatagramProtocol

from netd.accept.errors import NEXT
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
"""Datagrams received a wake-up, before those inside have their turn again."""

AT_ONCE: Final = 1000
"""Datagrams under way (filters and handlers that wait) above which no more are received: the
kernel keeps the next ones, and drops those it has no room for."""


class Datagrams:
    """Receives what one listener gets, and hands over who is admitted. In the reactor's thread."""

    def __init__(
        self,
        service: str,
        source: Source,
        admission: Admission,
        accounts: Accounts,
        resting: Pause,
        *,
        is_proxied: bool = False,
        number: int = 0,
    ) -> None:
        """*number* is the listener's index in the service's ``listen``.

        With *is_proxied* a datagram may be from another client than its sender.
        """
        self.service = service
        self._is_proxied = is_proxied
        self.name = source.transport.value
        self.accounts = accounts
        self.record = accounts.recorder(self.name)
        self._number = number
        self.transport: DatagramTransport
        self._take = source.take
        self._admission = admission
        self._of_unix = source.transport.is_unix
        self._resting = resting
        self._serve: Callable[[Request], None]
        self._under_way = 0
        self._stopped = False

    def connect(self, transport: DatagramTransport, serve: Callable[[Request], None]) -> None:
        """Receive when *transport* is read, and call *serve*, which raises nothing."""
        self.transport = transport
        self._serve = serve

    def stop(self) -> None:
        """Receive nothing more; the transport can still send."""
        self._stopped = True
        self.transport.stopReading()  # type: ignore[no-untyped-call]

    def resume(self) -> None:
        """Receive again."""
        self._stopped = False
        self.transport.startReading()

    def recheck(self, lists: AccessLists) -> None:
        """Ask *lists* from now on."""
        self._admission = self._admission.by(
            lists, of_unix=self._of_unix, is_proxied=self._is_proxied
        )

    def may_receive(self) -> bool:
        """Whether there is room for more."""
        return not self._stopped and self._under_way < AT_ONCE

    def receive(self) -> None:
        """Receive a bounded number of datagrams. Raises nothing."""
        for _ in range(BATCH):
            try:
                request = self._take()
            except TooLong as too_long:
                DROPPED.add_to(self.accounts.lane)
                self.accounts.say("warn", f"dropped: {too_long}")
                continue
            except Refused as error:
                self._refuse(error)
                continue
            except OSError as error:
                if error.errno not in NEXT:
                    self.rest(error)
                    break
                self._resting.works(self.transport)
                if isinstance(error, BlockingIOError):
                    break
                continue
            except Exception as error:  # MemoryError, or a bug of ours; no user code runs here
                self.rest(error)
                break
            self._begin(request)
        self.accounts.publish()

    def rest(self, error: BaseException) -> None:
        """The listener cannot be received from."""
        if not self._stopped:
            self._resting.rest(self.transport, error)

    def say(self, level: str, text: str) -> None:
        """Log a line."""
        self.accounts.say(level, text)

    def say_raised(self, client: str, what: str, error: BaseException) -> None:
        """Log what the user's code has raised."""
        self.accounts.say_raised(self.name, client, what, error)

    def hold(self, request: Request, since: float) -> int:
        """A datagram is under way until ``release``."""
        self._under_way += 1
        if self._under_way == AT_ONCE:
            self.transport.stopReading()  # type: ignore[no-untyped-call]
        return self.accounts.begin(self._number, request, since)

    def release(self, connection: int) -> None:
        """A datagram that was under way is done."""
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

    def _refuse(self, error: Refused) -> None:
        """Count and log a datagram that is not as it has to be."""
        request = error.request
        outcome = refused(error.reason, error.detail)
        self.record(request.client, outcome, error.since, traffic(request.raw))

    def _passes(self, request: Request, reason: str, since: float) -> bool:
        """Count and log a refusal; whether the client comes in all the same."""
        dry = self._admission.dry_run
        outcome = would_be_refused(reason) if dry else refused(reason)
        self.record(request.client, outcome, since, traffic(request.raw))
        return dry


class ProtocolDatagrams:
    """Hands datagrams to a user's protocol: counted, and logged only where it raises.

    What a packet means to a conversation only the protocol knows, so there is no line for each.
    """

    def __init__(self, datagrams: Datagrams, protocol: DatagramProtocol, *, of_inet6: bool) -> None:
        self._datagrams = datagrams
        self._lane = datagrams.accounts.lane
        self._protocol = protocol
        self._of_inet6 = of_inet6

    def serve(self, request: Request) -> None:
        """Call the protocol, with the address as Twisted has it."""
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
