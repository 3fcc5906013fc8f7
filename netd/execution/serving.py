"""One request from taken to closed: admission, handler, traffic, scoreboard, journal."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from socketserver import BaseServer
from typing import Any, Final

from netd.accept.pending import Client
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.core.shutting_down import shut_down
from netd.execution.blocking_tls import Handshakes, TlsSocket, end_stream
from netd.execution.request import Refused, Request, TooLong
from netd.execution.tracebacks import _end_fork, user_traceback
from netd.ipc.scoreboard import Slot
from netd.listening.traffic import traffic
from netd.log.buffer import LogBuffer
from netd.log.record import NOTHING, AccessRecord, Traffic

Handler = Callable[[Any, Any, BaseServer], object]
"""A request handler class, or anything that is called like one and returns when it is done."""


HANDLER: Final = "the handler"

BY_LISTS: Final = "ended by the new lists"
DISCONNECTED: Final = "disconnected by an administrator"
"""Why a connection was ended, beside what its handler does."""

TRUNCATED: Final = "truncated"
"""What has become of a TLS stream that ended without TLS's own end."""


class Serving:
    """Serves what is taken from one source, in the thread that took it.

    What leaves a handler is logged, once, with its traceback. With *dry_run* a client that *gate*
    refuses is logged and counted, and served. *slots* are the scoreboard's, one a thread, and the
    same for all sources of a service.
    """

    _server: BaseServer
    _handler: Handler

    def __init__(
        self,
        service: str,
        transport: str,
        gate: Gate | None,
        dry_run: bool,
        slots: Sequence[Slot],
        log_buffer: LogBuffer,
    ) -> None:
        self._service = service
        self._transport = transport
        self._gate = gate
        self._dry_run = dry_run
        self._slots = slots
        self._log_buffer = log_buffer
        self._is_unix = transport.startswith("unix")
        self._pid = os.getpid()
        self._inside: dict[int, Request] = {}
        """Whom each thread serves."""
        self._became: dict[socket.socket, socket.socket] = {}
        """Sockets that have given their descriptor to another one, since TLS was started on it by a
        handler or an override; and to which."""
        self._admitted: Callable[[], None] | None = None
        # So that a connection is not ended by a socket that is just giving its descriptor away.
        self._becoming = threading.Lock()

    def serve_by(self, server: BaseServer, handler: Handler) -> None:
        """Serve by *handler* from now on, under the *server* object that it sees.

        The server ends every connection.
        """
        self._server = server
        self._handler = handler

    def count_by(self, admitted: Callable[[], None]) -> None:
        """Call *admitted* for each request that the lists admit, before user code sees it."""
        self._admitted = admitted

    def serve(self, thread: int, request: Request) -> None:
        """Admit and serve one request, close it, count it, log it. Raises nothing of a user's."""
        started = time.monotonic()
        slot = self._slots[thread]
        slot.enter(request.client, started)
        # Before the lists are asked: whoever is asked by the old ones is found by ``recheck``.
        self._inside[thread] = request
        try:
            if self._admits(request, slot, started):
                self._serve(request, slot, started)
        finally:  # no memory for a line of log, say
            self._leave(thread, request, slot)

    def _admits(self, request: Request, slot: Slot, started: float) -> bool:
        """Ask the rules; count a request that user code is going to see, be it only the filter."""
        gate, reason = self._gate, None
        if gate is not None:
            reason = gate.refuses_by_lists(
                request.client_address, request.peer, request.certificate
            )
            if reason is not None and not self._comes_in_all_the_same(
                request, slot, started, reason
            ):
                return False
        if self._admitted is not None:
            self._admitted()
        if gate is None or reason is not None:
            return True
        reason = gate.refuses_by_filter(request.raw, request.client_address, request.client)
        return reason is None or self._comes_in_all_the_same(request, slot, started, reason)

    def _leave(self, thread: int, request: Request, slot: Slot) -> None:
        del self._inside[thread]
        if self._became:
            self._forget(request.raw)
        slot.leave()

    def refuses_early(self, client: Client) -> str | None:
        """Ask the lists before the client has shown who it is. Any thread.

        In a dry run they are only asked when it has, so that it is logged once.
        """
        if self._gate is None or self._dry_run:
            return None
        return self._gate.refuses_early(client.client_address, client.peer)

    def refuse(self, thread: int, refused: Refused) -> None:
        """Count and log a client that does not come to be served, and close its connection."""
        slot = self._slots[thread]
        slot.refused += 1
        slot.leave()
        request, detail = refused.request, refused.detail
        reason = f"{refused.reason}, {detail}" if detail else refused.reason
        carried = traffic(request.raw)
        if not isinstance(request.raw, tuple):  # of a datagram there is nothing to close
            request.raw.close()
        self._end(request, f"refused: {reason}", refused.since, carried)

    def _comes_in_all_the_same(
        self, request: Request, slot: Slot, started: float, reason: str
    ) -> bool:
        """Count and log a refusal, and unless that is all, close the connection."""
        slot.refused += 1
        if self._dry_run:
            self._end(request, f"would be refused: {reason}", started, NOTHING)
            return True
        # Not nothing: the client may have been sent something by a filter, or sent a header.
        carried = traffic(request.raw)
        self._close(request, "close_request")
        self._end(request, f"refused: {reason}", started, carried)
        return False

    def _serve(self, request: Request, slot: Slot, started: float) -> None:
        """Serve a request that was admitted; overridden where the server has a say in that."""
        self._handle(request, slot, started)

    def _handle(self, request: Request, slot: Slot, started: float) -> None:
        """Run the handler, and close, count and log the request."""
        slot.served += 1
        verdict = "served"
        try:
            self._handler(request.raw, request.client_address, self._server)
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too: a handler can end its own connection only.
            self._leave_a_fork(error)
            slot.failed += 1
            verdict = "failed"
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
            slot.truncated += 1
            verdict = f"{verdict}: {TRUNCATED}"
        self._end(request, verdict, started, carried)

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
            _end_fork(error)

    def _close(self, request: Request, method: str) -> None:
        """End a connection by a method of the server; if that raises, end it all the same."""
        try:
            getattr(self._server, method)(request.raw)
        except BaseException as error:  # an override's
            self._say_raised(request, error, f"{method}()")
            with suppress(BaseException):
                request.raw.close()

    def mark_busy(self, thread: int) -> None:
        """Count the thread as busy: a client that is being taken may keep it for long."""
        self._slots[thread].enter("unknown", time.monotonic())

    def mark_idle(self, thread: int) -> None:
        """Count it as free again."""
        self._slots[thread].leave()

    def drop(self, thread: int, why: TooLong) -> None:
        """Count and log a datagram that was too long."""
        slot = self._slots[thread]
        slot.dropped += 1
        slot.leave()
        self._log_buffer.say(self._service, "warn", f"dropped: {why}")

    def recheck(self, lists: AccessLists) -> None:
        """Ask *lists* from now on, and end the connections that they do not admit. Any thread."""
        by_lists = Gate(lists, None, of_unix=self._is_unix, is_proxied=True)
        self._gate = by_lists if self._gate is None else self._gate.by(lists)
        self._dry_run = False
        for request in list(self._inside.values()):
            reason = by_lists.refuses(*request.facts)
            if reason is not None:
                self._expel(request, f"{BY_LISTS}: {reason}")

    def disconnect(self, thread: int, stamp: int) -> None:
        """End the connection that a thread serves, if it is that of *stamp*. Any thread."""
        request = self._inside.get(thread)
        # In this order: whoever is inside has written the slot before he was.
        if request is not None and self._slots[thread].stamp == stamp:
            self._expel(request, DISCONNECTED)

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
        """The connection of a handler that does not come back is closed: nobody is inside."""
        # The thread's own slot, but that is in the handler; it will say the same if it comes back.
        self._slots[thread].leave()

    def _report(self, request: Request, error: BaseException, what: str = HANDLER) -> None:
        """Say what left the handler, or *what*; called while it is being handled."""
        self._say_raised(request, error, what)

    def _say_raised(self, request: Request, error: BaseException, what: str = HANDLER) -> None:
        text = f"{request.client} {self._transport}: {what} raised\n{user_traceback(error)}"
        self._log_buffer.say(self._service, "error", text)

    def _end(self, request: Request, verdict: str, started: float, carried: Traffic) -> None:
        now = time.monotonic()
        self._log_buffer.add(
            AccessRecord(
                now, self._service, self._transport, request.client, verdict, now - started, carried
            )
        )


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
