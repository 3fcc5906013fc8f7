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

from netd.admission.filter import REFUSED
from netd.admission.lists import AccessLists
from netd.execution.accounts import Accounts
from netd.execution.admitting import Admission
from netd.execution.reactor_transports import Build, Place, StreamTransport, UnixTransport
from netd.execution.resting import Resting
from netd.execution.sources import Source, Taken
from netd.listening.taking import NEXT
from netd.values.scoreboard import Slot

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
        resting: Resting,
        reactor: Any,
    ) -> None:
        self._place = Place(service, source.transport.value, accounts, reactor)
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
        self._admission = self._admission.by(lists, of_unix=self._kind is UnixTransport)
        for transport in list(self._place.open):
            reason = self._refuses(transport.taken)
            if reason is not None:
                text = f"{transport.taken.client}: ended by the new lists: {reason}"
                self._accounts.say("info", text)
                transport.abortConnection()  # type: ignore[no-untyped-call]

    def doRead(self) -> None:
        """Take a bounded number of connections. Raises nothing."""
        for _ in range(BATCH):
            try:
                taken = self._take()
            except OSError as error:
                if error.errno not in NEXT:
                    self._resting.rest(self, error)
                    return
                self._resting.works(self)
                if isinstance(error, BlockingIOError):
                    return
                continue
            except BaseException as error:  # MemoryError, or a bug of ours
                self._resting.rest(self, error)
                return
            self._resting.works(self)
            self._begin(taken)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor complains of the listener, which somebody has shut down."""
        if not self._stopped:
            self._resting.rest(self, reason.value or OSError("shut down"))

    def logPrefix(self) -> str:
        return self._place.service

    def _begin(self, taken: Taken) -> None:
        since = time.monotonic()
        accounts = self._accounts
        if accounts.wear is not None:
            accounts.wear.took()
        slot = accounts.enter(taken.client, since)
        reason = self._refuses(taken)
        if reason is not None and not self._is_dry(taken, slot, since, reason):
            slot.refused += 1
            with suppress(OSError):
                taken.request.close()
            accounts.log(self._place.name, taken.client, f"refused: {reason}", since)
            accounts.leave(slot)
            return
        self._number += 1
        transport = self._kind(taken, slot, since, self._place, self._number)
        admission = self._admission
        asked = admission.refuses(taken, transport)
        if asked is None:
            transport.open(self._build)
        else:
            asked.addCallback(partial(self._answered, taken, slot, since, transport, admission))

    def _refuses(self, taken: Taken) -> str | None:
        """Ask the lists."""
        gate = self._admission.gate
        return None if gate is None else gate.refuses(*taken)

    def _answered(
        self,
        taken: Taken,
        slot: Slot,
        since: float,
        transport: StreamTransport,
        asked_by: Admission,
        reason: str | None,
    ) -> None:
        """The filter has decided; in the meantime it may have written, or hung up."""
        if reason is None and self._admission is not asked_by:
            reason = self._refuses(taken)
        if transport.disconnected:
            return
        if transport.is_leaving():
            transport.refuse(reason or REFUSED)
        elif reason is None or self._is_dry(taken, slot, since, reason):
            transport.open(self._build)
        else:
            transport.refuse(reason)

    def _is_dry(self, taken: Taken, slot: Slot, since: float, reason: str) -> bool:
        """Whether a refusal is only counted and logged, which it then has been."""
        if self._admission.dry_run:
            slot.refused += 1
            self._accounts.log(self._place.name, taken.client, f"would be refused: {reason}", since)
        return self._admission.dry_run
