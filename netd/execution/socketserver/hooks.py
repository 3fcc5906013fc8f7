"""One request under a server class of a user's: its overrides are called as ``socketserver`` does.

``verify_request``, ``process_request``, ``service_actions`` and ``handle_timeout`` are called by
one thread at a time for each server object, since there they run in the loop of ``serve_forever``.
What ``process_request`` passes on, by its ``super()``, runs when that has returned: in the thread
that took the request, outside the lock. If it is passed on later, from a thread of the user's, it
goes to netd's pool.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from socketserver import BaseServer, ThreadingMixIn
from typing import Any, Final

from netd.admission.gate import Gate
from netd.execution.request import Refused, Taken
from netd.execution.serving import HANDLER, Handler, Serving
from netd.execution.socketserver.hosting import Hooks
from netd.execution.socketserver.passed_on import HandedOver
from netd.execution.sources.datagram import handle
from netd.execution.sources.stream import peer_of
from netd.execution.tracebacks import user_traceback
from netd.ipc.scoreboard import Slot
from netd.listening.handler_view import offering
from netd.listening.traffic import traffic
from netd.log.buffer import Journal
from netd.log.record import NOTHING
from netd.model.address import Transport, client_text

REFUSED: Final = "verify_request"
RAISED: Final = "verify_request raised"
GET_REQUEST: Final = "get_request"


class HookedServing(Serving):
    """Serves what is taken from one source by its server object. The ``Host`` of that object.

    It is told of its server by ``host``, since that is made with a host. *suspend* is what
    ``shutdown()`` comes to, and *busy_processes* what ``active_children`` does.
    """

    def __init__(
        self,
        service: str,
        transport: Transport,
        gate: Gate | None,
        dry_run: bool,
        slots: Sequence[Slot],
        journal: Journal,
        suspend: Callable[[], None],
        busy_processes: Callable[[], set[int]] = set,
    ) -> None:
        super().__init__(service, transport.value, gate, dry_run, slots, journal)
        self._suspend = suspend
        self._busy_processes = busy_processes
        self._lock = threading.Lock()
        self._processing: int | None = None
        """The thread that is in ``process_request``, under the lock."""
        self._passes_on: Callable[[Any, Any], None]
        """What its ``super()`` comes to."""
        self._current = threading.local()
        self._hooks: Hooks
        self._acts = False
        """Whether ``service_actions`` is called after a request."""
        self._text = client_text(transport)
        self._gets_what_was_taken = False
        self.last_request = time.monotonic()
        self.handed = HandedOver(transport)

    def host(self, server: BaseServer) -> None:
        """Serve by *server* from now on, with the overrides that it has."""
        self._hooks = Hooks.of(server)
        self._acts = self._hooks.service_actions
        self.serve_by(server, _way_to_handle(server, self._hooks))

    def get_what_is_taken(self) -> None:
        """Call ``get_request`` for each connection that is taken, where TLS comes first on it."""
        self._gets_what_was_taken = True

    @property
    def hooks(self) -> Hooks:
        """The overrides of the server object."""
        return self._hooks

    # The thread that took the request.

    def serve(self, thread: int, taken: Taken) -> None:
        if self._gets_what_was_taken:
            self._get(thread, taken)
        else:
            super().serve(thread, taken)

    def _get(self, thread: int, taken: Taken) -> None:
        """Let ``get_request`` accept what was taken for what comes first on it."""
        since = time.monotonic()
        try:
            with offering(taken.request, taken.client_address):
                request, address = self._server.get_request()
        except BaseException as error:
            self._leave_a_fork(error)
            if not isinstance(error, OSError):  # a client that was lost, to socketserver
                self._say_raised(taken, error, "get_request()")
            self.refuse(thread, Refused(taken, GET_REQUEST, "", since))
        else:
            got = taken._replace(request=request, client_address=address)
            self._note(taken, got)
            try:
                super().serve(thread, got)
            finally:
                self._forget(taken.request)

    def _note(self, before: Taken, after: Taken) -> None:
        """An override goes on with a request: with another socket, perhaps, by which it ends."""
        if not isinstance(before.request, socket.socket):
            return
        if isinstance(after.request, socket.socket) and after.request is not before.request:
            self._became[before.request] = after.request
        else:
            self._became.pop(before.request, None)

    def _serve(self, taken: Taken, slot: Slot, started: float) -> None:
        self.last_request = started
        self._serve_as_the_server_says(taken, slot, started)
        if self._acts:
            self.act()

    def _serve_as_the_server_says(self, taken: Taken, slot: Slot, started: float) -> None:
        if not self._hooks.verify_request or self._is_verified(taken, slot, started):
            if self._hooks.process_request:
                self._process(taken, slot, started)
            else:
                self._handle(taken, slot, started)

    def begin_anew(self) -> None:
        super().begin_anew()
        # ``service_actions`` is of the loop, which the worker goes on with.
        self._acts = False

    def forked(self) -> None:
        self.last_request = time.monotonic()
        if self._acts:
            self.act()

    def serve_handed(self, thread: int, taken: Taken) -> None:
        """Serve a request that was passed on late. Raises nothing."""
        started = time.monotonic()
        slot = self._slots[thread]
        slot.enter(taken.client, started)
        self._inside[thread] = taken
        try:
            self._handle(taken, slot, started)
        finally:
            self._leave(thread, taken, slot)

    def _is_verified(self, taken: Taken, slot: Slot, started: float) -> bool:
        reason = RAISED
        try:
            with self._lock:
                is_verified = self._server.verify_request(taken.request, taken.client_address)
            self._leave_a_fork()
            if is_verified:
                return True
            reason = REFUSED
        except BaseException as error:
            self._leave_a_fork(error)
            self._report(taken, error, "verify_request()")
        slot.refused += 1
        carried = traffic(taken.request)
        self._close(taken, "shutdown_request")
        self._end(taken, f"refused: {reason}", started, carried)
        return False

    def _process(self, taken: Taken, slot: Slot, started: float) -> None:
        """Call ``process_request``, and handle what it passes on."""
        passed_on: list[Taken] = []
        try:
            with self._lock:
                self._call_process_request(taken, passed_on)
            self._leave_a_fork()
        except BaseException as error:
            self._leave_a_fork(error)
            slot.failed += 1
            self._report(taken, error, "process_request()")
            carried = traffic(taken.request)
            for one in _distinct([taken, *passed_on]):
                self._close(one, "shutdown_request")
            self._end(taken, "failed", started, carried)
            return
        for request in passed_on:
            self._note(taken, request)
            self._handle(request, slot, started)
        if not passed_on:
            # The server serves it by means of its own, or later.
            self._end(taken, "kept by process_request", started, NOTHING)

    def _call_process_request(self, taken: Taken, passed_on: list[Taken]) -> None:
        def pass_on(request: Any, client_address: Any) -> None:
            passed_on.append(taken._replace(request=request, client_address=client_address))

        self._passes_on = pass_on
        self._processing = threading.get_ident()
        try:
            self._server.process_request(taken.request, taken.client_address)
        finally:
            self._processing = None
            del self._passes_on  # or the last request would last until the next one

    def _report(self, taken: Taken, error: BaseException, what: str = HANDLER) -> None:
        if not self._hooks.handle_error:
            self._say_raised(taken, error, what)
            return
        self._current.taken = taken, what
        try:
            self._server.handle_error(taken.request, taken.client_address)
        except BaseException as worse:
            self._say_raised(taken, worse, "handle_error()")
        finally:
            self._current.taken = None

    # The thread between requests (Ticks).

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
            self._journal.say(self._service, "error", text)

    # Host: what the super() of an override reaches, in whatever thread that is.

    def process(self, server: BaseServer, request: Any, client_address: Any) -> None:
        if threading.get_ident() == self._processing:
            self._passes_on(request, client_address)
        elif self._hooks.process_request:
            self.handed.put(self._made_up(request, client_address))
        else:  # nobody takes what is handed over
            server.finish_request(request, client_address)
            server.shutdown_request(request)

    def report(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None:
            taken, what = getattr(self._current, "taken", None) or (
                self._made_up(request, client_address),
                HANDLER,
            )
            self._say_raised(taken, error, what)

    def _made_up(self, request: Any, client_address: Any) -> Taken:
        """A request that comes from a user's code."""
        return Taken(request, client_address, self._text(client_address), peer_of(request))

    def suspend(self) -> None:
        self._suspend()

    def busy_processes(self) -> set[int]:
        return self._busy_processes()


def _distinct(requests: list[Taken]) -> list[Taken]:
    return list({id(each.request): each for each in requests}.values())


def _way_to_handle(server: BaseServer, hooks: Hooks) -> Handler:
    """The first of the overrides that ``process_request`` would come to."""
    if hooks.process_request_thread and isinstance(server, ThreadingMixIn):
        return _process
    return _finish if hooks.finish_request else _handle


def _process(request: Any, client_address: Any, server: Any) -> None:
    server.process_request_thread(request, client_address)


def _handle(request: Any, client_address: Any, server: Any) -> None:
    handle(server.RequestHandlerClass, request, client_address, server)


def _finish(request: Any, client_address: Any, server: Any) -> None:
    server.finish_request(request, client_address)
