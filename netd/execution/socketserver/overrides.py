"""One request under a user's server class: calls its overrides as ``socketserver`` does.

``verify_request``, ``process_request``, ``service_actions`` and ``handle_timeout`` are called by
one thread at a time for each server object, since in ``socketserver`` the loop of
``serve_forever`` calls them. A request that ``process_request`` passes on, by its ``super()``, is
handled after that has returned: in the thread that accepted the request, outside the lock. A
request that is passed on later, from a thread of the user's, goes to netd's pool.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from socketserver import BaseServer, ThreadingMixIn
from typing import Any, Final

from netd.accept.refusal import Refusal
from netd.execution.outcome import KEPT, UNSERVED, refused
from netd.execution.request import Refused, Request
from netd.execution.serving import HANDLER, Handler, ServedListener, Serving
from netd.execution.socketserver.hosting import Overrides
from netd.execution.socketserver.passed_on import PassedOnRequests
from netd.execution.sources.datagram import handle
from netd.execution.sources.stream import peer_of
from netd.execution.tracebacks import user_traceback
from netd.ipc.scoreboard import Lane
from netd.listening.handler_view import offering
from netd.listening.traffic import traffic
from netd.log.record import NOTHING
from netd.model.address import client_text

REFUSED: Final = "verify_request"
RAISED: Final = "verify_request raised"
GET_REQUEST: Final = "get_request"


class OverridingServing(Serving):
    """Serves the requests of one listener by its server object. The ``Host`` of that object.

    ``host`` sets the server, since a server is made with its host. ``shutdown()`` calls *suspend*,
    and ``active_children`` calls *busy_processes*.
    """

    def __init__(
        self,
        listener: ServedListener,
        suspend: Callable[[], None],
        busy_processes: Callable[[], set[int]] = set,
    ) -> None:
        super().__init__(listener)
        self._suspend = suspend
        self._busy_processes = busy_processes
        self._lock = threading.Lock()
        self._processing: int | None = None
        """The thread that is in ``process_request``, under the lock."""
        self._passes_on: Callable[[Any, Any], None]
        """What the ``super()`` of ``process_request`` calls."""
        self._current = threading.local()
        self._overrides: Overrides
        self._acts = False
        """Whether ``service_actions`` is called after a request."""
        self._text = client_text(listener.transport)
        self._gets_what_was_taken = False
        self.last_request = time.monotonic()
        self.handed = PassedOnRequests(listener.transport)

    def host(self, server: BaseServer) -> None:
        """Serve by *server* from now on, with the overrides that it has."""
        self._overrides = Overrides.of(server)
        self._acts = self._overrides.service_actions
        self.serve_by(server, _way_to_handle(server, self._overrides))

    def get_what_is_taken(self) -> None:
        """Call ``get_request`` for each accepted connection, once its TLS handshake is done."""
        self._gets_what_was_taken = True

    @property
    def overrides(self) -> Overrides:
        """The overrides of the server object."""
        return self._overrides

    # The thread that accepted the request.

    def serve(self, thread: int, request: Request, is_admitted: bool = False) -> None:
        if self._gets_what_was_taken:
            self._get(thread, request)
        else:
            super().serve(thread, request)

    def _get(self, thread: int, request: Request) -> None:
        """Let ``get_request`` accept a connection that netd has accepted already."""
        since = time.monotonic()
        try:
            with offering(request.raw, request.client_address):
                raw, address = self._server.get_request()
        except BaseException as error:
            self._leave_a_fork(error)
            if not isinstance(error, OSError):  # a client that was lost, to socketserver
                self._say_raised(request, error, "get_request()")
            self.refuse(thread, Refused(request, Refusal(GET_REQUEST), since))
        else:
            got = request._replace(raw=raw, client_address=address)
            self._note(request, got)
            try:
                super().serve(thread, got)
            finally:
                self._forget(request.raw)

    def _note(self, before: Request, after: Request) -> None:
        """Follow a request whose socket an override has replaced: netd closes the new socket."""
        if not isinstance(before.raw, socket.socket):
            return
        if isinstance(after.raw, socket.socket) and after.raw is not before.raw:
            self._became[before.raw] = after.raw
        else:
            self._became.pop(before.raw, None)

    def _serve(self, request: Request, lane: Lane, started: float) -> None:
        self.last_request = started
        self._serve_by_overrides(request, lane, started)
        if self._acts:
            self.act()

    def _serve_by_overrides(self, request: Request, lane: Lane, started: float) -> None:
        if not self._overrides.verify_request or self._is_verified(request, lane, started):
            if self._overrides.process_request:
                self._process(request, lane, started)
            else:
                self._handle(request, lane, started)

    def after_fork(self) -> None:
        super().after_fork()
        # ``service_actions`` belongs to the loop, which goes on in the worker.
        self._acts = False

    def child_forked(self) -> None:
        self.last_request = time.monotonic()
        if self._acts:
            self.act()

    def serve_handed(self, thread: int, request: Request) -> None:
        """Serve a request that was passed on late. Raises nothing."""
        super().serve(thread, request, is_admitted=True)

    def _is_verified(self, request: Request, lane: Lane, started: float) -> bool:
        reason = RAISED
        try:
            with self._lock:
                is_verified = self._server.verify_request(request.raw, request.client_address)
            self._leave_a_fork()
            if is_verified:
                return True
            reason = REFUSED
        except BaseException as error:
            self._leave_a_fork(error)
            self._report(request, error, "verify_request()")
        carried = traffic(request.raw)
        self._close(request, "shutdown_request")
        self._record(lane, request.client, refused(reason), started, carried)
        return False

    def _process(self, request: Request, lane: Lane, started: float) -> None:
        """Call ``process_request``, and handle what it passes on."""
        passed_on: list[Request] = []
        try:
            with self._lock:
                self._call_process_request(request, passed_on)
            self._leave_a_fork()
        except BaseException as error:
            self._leave_a_fork(error)
            self._report(request, error, "process_request()")
            carried = traffic(request.raw)
            for one in _distinct([request, *passed_on]):
                self._close(one, "shutdown_request")
            self._record(lane, request.client, UNSERVED, started, carried)
            return
        for one in passed_on:
            self._note(request, one)
            self._handle(one, lane, started)
        if not passed_on:
            # The server serves it itself, or passes it on later.
            self._record(lane, request.client, KEPT, started, NOTHING)

    def _call_process_request(self, request: Request, passed_on: list[Request]) -> None:
        def pass_on(raw: Any, client_address: Any) -> None:
            passed_on.append(request._replace(raw=raw, client_address=client_address))

        self._passes_on = pass_on
        self._processing = threading.get_ident()
        try:
            self._server.process_request(request.raw, request.client_address)
        finally:
            self._processing = None
            del self._passes_on  # or the last request would last until the next one

    def _report(self, request: Request, error: BaseException, what: str = HANDLER) -> None:
        if not self._overrides.handle_error:
            self._say_raised(request, error, what)
            return
        self._current.request = request, what
        try:
            self._server.handle_error(request.raw, request.client_address)
        except BaseException as worse:
            self._say_raised(request, worse, "handle_error()")
        finally:
            self._current.request = None

    # The thread that calls the loop hooks.

    def act(self) -> None:
        """Call ``service_actions``. Raises nothing."""
        self._call_alone("service_actions")

    def time_out(self) -> None:
        """Call ``handle_timeout``. Raises nothing."""
        self._call_alone("handle_timeout")

    def _call_alone(self, method: str) -> None:
        try:
            with self._lock:
                getattr(self._server, method)()
            self._leave_a_fork()
        except BaseException as error:
            self._leave_a_fork(error)
            text = f"{method}() raised\n{user_traceback(error)}"
            self._log_buffer.say(self._service, "error", text)

    # Host: what the super() of an override reaches, in whatever thread that is.

    def process(self, server: BaseServer, request: Any, client_address: Any) -> None:
        if threading.get_ident() == self._processing:
            self._passes_on(request, client_address)
        elif self._overrides.process_request:
            self.handed.put(self._made_up(request, client_address))
        else:  # no thread of netd's waits for it
            server.finish_request(request, client_address)
            server.shutdown_request(request)

    def report(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None:
            request, what = getattr(self._current, "request", None) or (
                self._made_up(request, client_address),
                HANDLER,
            )
            self._say_raised(request, error, what)

    def _made_up(self, request: Any, client_address: Any) -> Request:
        """Make a request of what user code passed on."""
        return Request(request, client_address, self._text(client_address), peer_of(request))

    def suspend(self) -> None:
        self._suspend()

    def busy_processes(self) -> set[int]:
        return self._busy_processes()


def _distinct(requests: list[Request]) -> list[Request]:
    return list({id(each.raw): each for each in requests}.values())


def _way_to_handle(server: BaseServer, overrides: Overrides) -> Handler:
    """The first override that ``process_request`` would call."""
    if overrides.process_request_thread and isinstance(server, ThreadingMixIn):
        return _process
    return _finish if overrides.finish_request else _handle


def _process(request: Any, client_address: Any, server: Any) -> None:
    server.process_request_thread(request, client_address)


def _handle(request: Any, client_address: Any, server: Any) -> None:
    handle(server.RequestHandlerClass, request, client_address, server)


def _finish(request: Any, client_address: Any, server: Any) -> None:
    server.finish_request(request, client_address)
