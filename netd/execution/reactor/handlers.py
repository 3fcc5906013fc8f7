"""Asynchronous handlers at work: one task for each connection, or each datagram."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from netd.core.reactor import DelayedCall
from netd.execution.handler_timeout import overdue
from netd.execution.outcome import FAILED, SERVED
from netd.execution.reactor.datagrams import Datagrams
from netd.execution.reactor.task import Task
from netd.execution.reactor.transport import Build, StreamTransport
from netd.execution.request import Request
from netd.execution.sources.datagram import NAME as ANCILLARY
from netd.execution.sources.datagram import Datagram
from netd.handlers.asynchronous import AsyncRequestHandler, run
from netd.handlers.streams import StreamProtocol
from netd.listening.ancillary import values
from netd.listening.traffic import traffic

Make = Callable[[Any, Any, Any], AsyncRequestHandler]
"""A handler class, or anything that is called like one with what ``socketserver`` passes."""


class HandlerProtocol(StreamProtocol):
    """Runs a handler for its connection, which lasts until the handler is done.

    *connection* is told what becomes of the handler. Where it is lost before that, whatever the
    handler awaits fails, so that it ends. What the handler has written is sent before the
    connection is closed; if the handler has a ``timeout``, the client must not for so long take
    nothing of it.
    """

    def __init__(
        self, make: Make, server: Any, handler_timeout: float | None, connection: StreamTransport
    ) -> None:
        self._handler_timeout = handler_timeout
        self._reactor: Any = connection.reactor
        self._make = make
        self._server = server
        self._connection = connection
        self._task: Task | None = None
        self._deadline: DelayedCall | None = None
        self._lost = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self._connection.hold()
        self._task = Task(self._serve())
        seconds = self._handler_timeout
        if seconds is not None and not self._task.ended:
            self._deadline = self._reactor.callLater(seconds, self._overdue, self._task, seconds)

    def _overdue(self, task: Task, seconds: float) -> None:
        """The handler has run for too long: its connection ends, and whatever it awaits."""
        self._deadline = None
        self._connection.say_overdue(task.where(), seconds)
        self._connection.abortConnection()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self._stop_watching()
        task = self._task
        awaited = None if task is None else task.awaited
        super().connectionLost(reason)
        if task is not None and not task.ended and task.awaited is awaited:
            # It waits for something else than the client, and has heard nothing yet.
            task.cancel()

    async def _serve(self) -> None:
        try:
            await run(
                self._make(self.transport, self._connection.request.client_address, self._server)
            )
        except BaseException as error:
            if self._lost and isinstance(error, ConnectionError | CancelledError):
                self._connection.say_lost()
            else:
                self._connection.say_raised("the handler", error)
        self._stop_watching()
        self._close()
        self._connection.release()

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self.wfile.release()
        assert self.transport is not None
        self.transport.loseConnection()
        if self.wfile.timeout is not None and not self._lost:
            self._watch(self.wfile.timeout, self._connection.pending())

    def _watch(self, timeout: float, pending: int) -> None:
        self._deadline = self._reactor.callLater(timeout, self._look, timeout, pending)

    def _look(self, timeout: float, before: int) -> None:
        """Whether the client has taken something in the meantime; it is given up if not."""
        self._deadline = None  # made, so it only holds everything here
        pending = self._connection.pending()
        if pending < before:
            self._watch(timeout, pending)
        elif pending:  # else only TLS's good-bye is waited for, which has a time of its own
            self._connection.say_lost()
            self._connection.abortConnection()  # type: ignore[no-untyped-call]


def build_handlers(make: Make, server: Any, handler_timeout: float | None) -> Build:
    """Return what makes a handler for every connection of one listener."""
    return lambda connection: HandlerProtocol(make, server, handler_timeout, connection)


class HandlerDatagrams:
    """Runs a handler for each datagram, and logs it as a request."""

    def __init__(
        self, datagrams: Datagrams, make: Make, server: Any, handler_timeout: float | None
    ) -> None:
        self._handler_timeout = handler_timeout
        self._datagrams = datagrams
        self._accounts = datagrams.accounts
        self._make = make
        self._server = server

    def serve(self, request: Request) -> None:
        """Start the handler. Most are done at once; the others are listed until they are."""
        since = time.monotonic()
        stay = _Stay()
        task = Task(self._serve(request, since, stay))
        if task.ended:
            return
        stay.connection = self._datagrams.hold(request, since)
        seconds = self._handler_timeout
        if seconds is not None:
            reactor: Any = self._datagrams.transport.reactor
            stay.deadline = reactor.callLater(seconds, self._overdue, task, request, seconds, stay)

    def _overdue(self, task: Task, request: Request, seconds: float, stay: _Stay) -> None:
        """The handler has run for too long: what it awaits is cancelled."""
        stay.deadline = None
        stay.is_overdue = True
        self._accounts.say("error", overdue(request.client, seconds, task.where()))
        task.cancel()

    async def _serve(self, request: Request, since: float, stay: _Stay) -> None:
        transport = self._datagrams.transport
        transport.answered = request.client_address
        shown = (request.raw[0], transport)
        outcome = SERVED
        try:
            handler = self._make(shown, request.client_address, self._server)
            if isinstance(request.raw, Datagram):
                setattr(handler, ANCILLARY, values(request.raw.messages))
            await run(handler)
        except BaseException as error:
            outcome = FAILED
            if not (stay.is_overdue and isinstance(error, CancelledError)):
                self._datagrams.say_raised(request.client, "the handler", error)
        self._datagrams.record(request.client, outcome, since, traffic(request.raw))
        if stay.connection is not None:
            if stay.deadline is not None:
                stay.deadline.cancel()
            self._datagrams.release(stay.connection)


class _Stay:
    """What there is of a datagram whose handler was not done at once."""

    __slots__ = ("connection", "deadline", "is_overdue")

    def __init__(self) -> None:
        self.connection: int | None = None
        self.deadline: DelayedCall | None = None
        self.is_overdue = False
