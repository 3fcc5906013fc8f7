"""The ``verify_request`` hook: a user's function that is asked about every client.

``socketserver`` asks a method of the server class, and an exception in it ends the server. Here
the function stands in the configuration, and whatever it does costs at most its own client: an
exception refuses, and so does taking longer than ``verify_timeout``.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Final

from twisted.internet.defer import Deferred

from netd.core.deadlines import Deadlines
from netd.core.reactor import Reactor
from netd.core.shutting_down import shut_down

REFUSED: Final = "verify_request"
RAISED: Final = "verify_request raised"
TOO_SLOW: Final = "verify_timeout"

DEEPEST: Final = 10
"""Frames shown of a function that does not come back, the innermost ones."""

Report = Callable[[str, BaseException], None]
"""Told the client and what its filter raised; called in the thread that serves the client."""


class RequestFilter:
    """Asks *function*, plain or ``async``, in the thread that serves the client.

    An ``async`` function runs on *reactor*, whose thread must be another one, and may await
    Deferreds. *report* is told what a filter raises. Without *hang_up* the socket of a client
    whose filter is too slow stays as it is, for a dry run that serves it after all.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        timeout: float,
        reactor: Reactor,
        report: Report,
        hang_up: bool = True,
    ) -> None:
        self._function = function
        self._timeout = timeout
        self._reactor = reactor
        self._deadlines = Deadlines(reactor)
        self._report = report
        self._hangs_up = hang_up
        self._running: set[int] = set()
        """Threads that are inside a plain function."""

    def refuses(self, request: Any, client_address: Any, client: str) -> str | None:
        """Return the reason to refuse, or None; *request* is what ``socketserver`` passes.

        A stream's socket is shut down as soon as the deadline is over, also while a plain
        function is still running; its thread is free again when the function returns.
        """
        started = time.monotonic()
        thread = threading.get_ident()
        self._deadlines.set(
            id(request), self._timeout, lambda: self._overdue(request, client, thread)
        )
        try:
            verdict = self._ask(request, client_address)
        except TimeoutError as error:
            if time.monotonic() - started < self._timeout:
                self._report(client, error)
                return RAISED
            return TOO_SLOW
        except BaseException as error:
            self._report(client, error)
            return RAISED
        finally:
            self._deadlines.met(id(request))
        if time.monotonic() - started >= self._timeout:
            return TOO_SLOW
        return None if verdict else REFUSED

    def _overdue(self, request: Any, client: str, thread: int) -> None:
        """Hang up; say where a plain function is, for it holds its thread until it returns."""
        if self._hangs_up and isinstance(request, socket.socket):
            shut_down(request)
        if thread in self._running:
            frames = sys._current_frames().get(thread)
            error = TimeoutError(f"not back after {self._timeout:g} s, and holds its thread")
            error.add_note("".join(traceback.format_stack(frames)[-DEEPEST:]).rstrip())
            self._report(client, error)

    def _ask(self, request: Any, client_address: Any) -> bool:
        self._running.add(threading.get_ident())
        try:
            verdict = self._function(request, client_address)
        finally:
            self._running.discard(threading.get_ident())
        if isinstance(verdict, Awaitable):
            verdict = self._await(verdict)
        return bool(verdict)

    def _await(self, awaitable: Awaitable[Any]) -> Any:
        """Run *awaitable* on the reactor and wait, not longer than the deadline."""
        future: Future[Any] = Future()
        running: list[Deferred[None]] = []

        async def settle() -> None:
            try:
                verdict = await awaitable
            except BaseException as error:
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(verdict)

        def give_up() -> None:
            future.cancel()
            running[0].cancel()

        self._reactor.callFromThread(lambda: running.append(Deferred.fromCoroutine(settle())))
        try:
            error = future.exception(self._timeout)
        except TimeoutError:
            self._reactor.callFromThread(give_up)
            raise
        if error is not None:
            # Not from the future's own frames, which say nothing to who reads the traceback.
            raise error
        return future.result()
