"""One request from accepted to closed: admission, handler, traffic, scoreboard, log."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from socketserver import BaseServer
from typing import Any, Final

from netd.accept.pending import Client
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.core.shutting_down import shut_down
from netd.execution.active_connections import ActiveConnections
from netd.execution.blocking_tls import Handshakes, TlsSocket, end_stream
from netd.execution.outcome import (
    DROPPED,
    FAILED,
    SERVED,
    Outcome,
    Outcomes,
    refused,
    would_be_refused,
)
from netd.execution.request import Refused, Request, TooLong
from netd.execution.tracebacks import end_fork, user_traceback
from netd.ipc.scoreboard import Lane, WorkerBlock
from netd.listening.traffic import traffic
from netd.log.buffer import LogBuffer
from netd.log.record import NOTHING
from netd.model.address import Transport

Handler = Callable[[Any, Any, BaseServer], object]
"""A request handler class, or anything that is called like one and returns when it is done."""


HANDLER: Final = "the handler"


@dataclass(frozen=True)
class ServedListener:
    """What a ``Serving`` knows of its listener and its service."""

    service: str
    transport: Transport
    gate: Gate | None
    """None admits every client."""
    dry_run: bool
    """Whether a client that the gate refuses is only logged and counted, and served."""
    block: WorkerBlock
    """The scoreboard's, with a lane for each thread, the same for all listeners of a service."""
    log_buffer: LogBuffer
    number: int = 0
    """The listener's index in the service's ``listen``."""


class Serving:
    """Serves the requests of one listener, each in the thread that accepted it.

    What leaves a handler is logged, once, with its traceback.
    """

    _server: BaseServer
    _handler: Handler

    def __init__(self, listener: ServedListener) -> None:
        self._service = listener.service
        self._transport = listener.transport.value
        self._gate = listener.gate
        self._dry_run = listener.dry_run
        self._number = listener.number
        self._block = listener.block
        self._lanes = listener.block.lanes
        self._log_buffer = listener.log_buffer
        self._outcomes = Outcomes(self._service, self._transport, self._log_buffer)
        self._record = self._outcomes.record
        self._is_unix = listener.transport.is_unix
        self._pid = os.getpid()
        self._active = ActiveConnections(_itself, self._expel)
        self._add_active = self._active.add
        self._remove_active = self._active.remove
        self._begin_record = self._block.begin
        self._finish_record = self._block.finish
        self._accepting: dict[int, int] = {}
        """By thread, the ID of the record that marks it as busy (``mark_busy``)."""
        self._became: dict[socket.socket, socket.socket] = {}
        """Sockets that have given their descriptor to another one, because a handler or an override
        has started TLS, and the sockets that have it now."""
        self._admitted: Callable[[], None] | None = None
        # So that a connection is not ended by a socket that is just giving its descriptor away.
        self._becoming = threading.Lock()

    def serve_by(self, server: BaseServer, handler: Handler) -> None:
        """Set the handler, and the server object that it sees, which closes every connection.

        Not a parameter of the constructor: the server is made with an object that needs this one.
        """
        self._server = server
        self._handler = handler

    def count_by(self, admitted: Callable[[], None]) -> None:
        """Call *admitted* for each request that the lists admit, before user code sees it."""
        self._admitted = admitted

    def serve(self, thread: int, request: Request, is_admitted: bool = False) -> None:
        """Admit and serve one request, close it, count it, log it. Raises nothing of a user's.

        *is_admitted*: a server has passed the request on late, after it was admitted.
        """
        started = time.monotonic()
        lane = self._lanes[thread]
        if self._accepting:
            self._end_accepting(thread)
        number = self._begin_record(
            thread, self._number, request[1], request[2], request[3], started
        )
        # Before the lists are asked, so that ``recheck`` finds a client that the old lists admit.
        self._add_active(number, request)
        try:
            if is_admitted:
                self._handle(request, lane, started)
            elif self._admits(request, lane, started):
                self._serve(request, lane, started)
        finally:  # no memory for a line of log, say
            self._remove_active(number, None)
            if self._became:
                self._forget(request.raw)
            self._finish_record(number, lane)

    def _end_accepting(self, thread: int) -> None:
        number = self._accepting.pop(thread, None)
        if number is not None:
            self._block.end(number)

    def _admits(self, request: Request, lane: Lane, started: float) -> bool:
        """Ask the rules; count a request that user code is going to see, be it only the filter."""
        gate, reason = self._gate, None
        if gate is not None:
            reason = gate.refuses_by_lists(
                request.client_address, request.peer, request.certificate
            )
            if reason is not None and not self._passes_dry(request, lane, started, reason):
                return False
        if self._admitted is not None:
            self._admitted()
        if gate is None or reason is not None:
            return True
        reason = gate.refuses_by_filter(request.raw, request.client_address, request.client)
        return reason is None or self._passes_dry(request, lane, started, reason)

    def refuses_early(self, client: Client) -> str | None:
        """Ask the lists before the client has shown its certificate. Any thread.

        A dry run asks them only afterwards, so that a client is logged once.
        """
        if self._gate is None or self._dry_run:
            return None
        return self._gate.refuses_early(client.client_address, client.peer)

    def refuse(self, thread: int, error: Refused) -> None:
        """Count and log a client that was refused before it could be served; close it."""
        request = error.request
        carried = traffic(request.raw)
        if not isinstance(request.raw, tuple):  # a datagram has no connection
            request.raw.close()
        outcome = refused(error.refusal)
        self._record(self._lanes[thread], request.client, outcome, error.since, carried)
        self.mark_idle(thread)

    def _passes_dry(self, request: Request, lane: Lane, started: float, reason: str) -> bool:
        """Count and log a refusal; close the connection unless this is a dry run."""
        if self._dry_run:
            self._record(lane, request.client, would_be_refused(reason), started, NOTHING)
            return True
        # Not nothing: the client may have been sent something by a filter, or sent a header.
        carried = traffic(request.raw)
        self._close(request, "close_request")
        self._record(lane, request.client, refused(reason), started, carried)
        return False

    def _serve(self, request: Request, lane: Lane, started: float) -> None:
        """Serve a request that was admitted; overridden where a server's overrides are called."""
        self._handle(request, lane, started)

    def _handle(self, request: Request, lane: Lane, started: float) -> None:
        """Run the handler, and close, count and log the request."""
        outcome: Outcome = SERVED
        try:
            self._handler(request.raw, request.client_address, self._server)
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too: a handler can end its own connection only.
            self._leave_a_fork(error)
            outcome = FAILED
            # Whatever the error, or an override that is told of it, is like.
            with suppress(BaseException):
                self._report(request, error)
        self._leave_a_fork()
        if self._became:
            request = request._replace(raw=self._now(request.raw))
        end_stream(request.raw)
        carried = traffic(request.raw)
        self._close(request, "shutdown_request")
        if isinstance(request.raw, TlsSocket) and request.raw.is_truncated:
            outcome = outcome.truncated()
        self._record(lane, request.client, outcome, started, carried)

    def start_tls(
        self, handshakes: Handshakes, seconds: float, connection: socket.socket
    ) -> TlsSocket:
        """Start TLS on a connection that a handler serves, and has this thread.

        It is the new socket's from now on. Raises OSError or ValueError, with it closed.
        """
        until = time.monotonic() + seconds
        with self._becoming:
            tls = handshakes.begin(connection)
            self._became[connection] = tls
        # The client may be ended from here on, while its handshake is waited for.
        handshakes.finish(tls, until)
        return tls

    def _now(self, request: Any) -> Any:
        """The socket that a request has by now."""
        while isinstance(request, socket.socket) and request in self._became:
            request = self._became[request]
        return request

    def _forget(self, request: Any) -> None:
        """A request is over, with all sockets that it has had."""
        while isinstance(request, socket.socket) and request in self._became:
            request = self._became.pop(request)

    def _leave_a_fork(self, error: BaseException | None = None) -> None:
        """End this process if it is one that a user's code has forked, and come back from."""
        if os.getpid() != self._pid:
            end_fork(error)

    def _close(self, request: Request, method: str) -> None:
        """Close a connection by a method of the server, and if that raises, by the socket's."""
        try:
            getattr(self._server, method)(request.raw)
        except BaseException as error:  # an override's
            self._say_raised(request, error, f"{method}()")
            with suppress(BaseException):
                request.raw.close()

    def mark_busy(self, thread: int) -> None:
        """Count the thread as busy: accepting a client may take long (``get_request``)."""
        self._accepting[thread] = self._block.accepting(thread, time.monotonic())

    def mark_idle(self, thread: int) -> None:
        """Count the thread as free again."""
        self._lanes[thread].publish()
        self._end_accepting(thread)

    def drop(self, thread: int, why: TooLong) -> None:
        """Count and log a datagram that was too long."""
        DROPPED.add_to(self._lanes[thread])
        self._log_buffer.say(self._service, "warn", f"dropped: {why}")
        self.mark_idle(thread)

    def recheck(self, lists: AccessLists) -> None:
        """Change to *lists*, and end the connections that they do not admit. Any thread."""
        by_lists = Gate(lists, None, of_unix=self._is_unix, is_proxied=True)
        self._gate = by_lists if self._gate is None else self._gate.by(lists)
        self._dry_run = False
        self._active.recheck(by_lists)

    def disconnect(self, connection: int) -> None:
        """End the connection with this ID, if it is one of these. Any thread."""
        self._active.disconnect(connection)

    def _expel(self, request: Request, why: str) -> None:
        """End the connection of a client, and say why."""
        if isinstance(request.raw, socket.socket):
            with self._becoming:
                shut_down(self._now(request.raw))
            self._say_expelled(request, why)

    def _say_expelled(self, request: Request, why: str) -> None:
        text = f"{request.client} {self._transport}: {why}"
        self._log_buffer.say(self._service, "info", text)

    def after_fork(self) -> None:
        """In a fork of the worker: it is this process that serves now."""
        self._pid = os.getpid()

    def child_forked(self) -> None:
        """In the worker: a fork of it serves a request. Raises nothing."""

    def take_away(self, request: socket.socket) -> int:
        """Take a request's descriptor from the socket that the handler uses; -1: it has none."""
        with self._becoming:
            connection: socket.socket = self._now(request)
            return connection.detach()

    def lost(self, thread: int) -> None:
        """The connection of a handler that does not return is closed, so it is not active."""
        # If the handler returns after all, its thread ends the same record, which does nothing.
        self._block.end_lane(thread)

    def _report(self, request: Request, error: BaseException, what: str = HANDLER) -> None:
        """Say what left the handler, or *what*; called while it is being handled."""
        self._say_raised(request, error, what)

    def _say_raised(self, request: Request, error: BaseException, what: str = HANDLER) -> None:
        text = f"{request.client} {self._transport}: {what} raised\n{user_traceback(error)}"
        self._log_buffer.say(self._service, "error", text)


def _itself(request: Request) -> Request:
    return request


class WithServing:
    """What a pool asks of a service, answered by *serving* in all but how a request is served.

    ``serve`` is the subclass's.
    """

    def __init__(self, serving: Serving) -> None:
        self.drop = serving.drop
        self.refuse = serving.refuse
        self.mark_busy = serving.mark_busy
        self.mark_idle = serving.mark_idle
        self.after_fork = serving.after_fork
        self.child_forked = serving.child_forked
        self.take_away = serving.take_away
        self.count_by = serving.count_by
        self.lost = serving.lost
