"""The ``verify_request`` hook: a user's function that decides about every client.

``socketserver`` calls a method of the server class, and an exception in that method ends the
server. Here the configuration names the function. If it raises or is too slow, only the client it
was asked about is refused.

There is one question and there are two ways to wait for its answer. ``RequestFilter`` blocks the
thread that serves the client; ``ReactorFilter`` returns a Deferred, since the reactor's thread must
not block. What an answer means is decided once, in ``_Question``.
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

from twisted.internet.defer import Deferred, succeed

from netd.core.deadlines import Deadlines
from netd.core.reactor import Reactor
from netd.core.shutting_down import shut_down

REFUSED: Final = "verify_request"
RAISED: Final = "verify_request raised"
TOO_SLOW: Final = "verify_timeout"

DEEPEST: Final = 10
"""Frames shown of a function that has not returned in time: the innermost ones."""

Function = Callable[[Any, Any], Any]
"""A user's ``verify_request(request, client_address)``, plain or ``async``."""

Report = Callable[[str, BaseException], None]
"""Called with the client and with what its filter raised, in the thread that asked the filter."""


class _Question:
    """What the answer about one client means: a reason to refuse it, or None to admit it.

    Knows neither threads nor the reactor; time comes from *clock*.
    """

    def __init__(
        self, client: str, timeout: float, clock: Callable[[], float], report: Report
    ) -> None:
        self._client = client
        self._clock = clock
        self._report = report
        self._due = clock() + timeout

    @property
    def left(self) -> float:
        """Seconds until the deadline; never negative."""
        return max(0.0, self._due - self._clock())

    def returned(self, verdict: object) -> str | None:
        """The function has returned *verdict*. True counts only before the deadline."""
        try:
            # The truth of a user's object is the user's code, too.
            is_admitted = bool(verdict)
        except BaseException as error:
            return self.raised(error)
        if self._clock() >= self._due:
            return TOO_SLOW
        return None if is_admitted else REFUSED

    def raised(self, error: BaseException) -> str:
        """The function has raised. Reported even after the deadline: the operator needs it."""
        self._report(self._client, error)
        return RAISED


class _Awaiting:
    """An awaitable that runs in the reactor's thread, until it ends or is given up.

    Exactly one of *returned* and *raised* is called when it ends, and neither after ``give_up``:
    an answer that is late changes nothing, and an error of a cancelled function is expected.
    """

    def __init__(
        self,
        awaitable: Awaitable[object],
        returned: Callable[[object], object],
        raised: Callable[[BaseException], object],
    ) -> None:
        self._returned = returned
        self._raised = raised
        self._is_given_up = False
        self._running = Deferred.fromCoroutine(self._run(awaitable))

    async def _run(self, awaitable: Awaitable[object]) -> None:
        try:
            verdict = await awaitable
        except BaseException as error:
            if not self._is_given_up:
                self._raised(error)
        else:
            if not self._is_given_up:
                self._returned(verdict)

    def give_up(self) -> None:
        """Cancel the awaitable."""
        # The flag first: cancelling runs the user's ``except`` and ``finally`` immediately.
        self._is_given_up = True
        self._running.cancel()


class RequestFilter:
    """Asks *function* and blocks the thread that serves the client. Safe from any thread.

    An ``async`` function runs on *reactor*, whose thread must be another one, and may await
    Deferreds. With *hang_up* the client's socket is shut down at the deadline; a dry run serves the
    client in spite of it, and leaves the socket alone.
    """

    def __init__(
        self,
        function: Function,
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

    def refuses(self, request: object, client_address: object, client: str) -> str | None:
        """Return the reason to refuse, or None; *request* is what ``socketserver`` passes.

        A stream's socket is shut down at the deadline, even while a plain function is still
        running; the thread is free again when that function returns.
        """
        question = _Question(client, self._timeout, time.monotonic, self._report)
        thread = threading.get_ident()
        self._deadlines.set(
            id(request), self._timeout, lambda: self._overdue(request, client, thread)
        )
        try:
            verdict = self._call(request, client_address)
            if isinstance(verdict, Awaitable):
                return self._wait(verdict, question)
        except BaseException as error:
            return question.raised(error)
        finally:
            self._deadlines.met(id(request))
        return question.returned(verdict)

    def _call(self, request: object, client_address: object) -> object:
        self._running.add(threading.get_ident())
        try:
            return self._function(request, client_address)
        finally:
            self._running.discard(threading.get_ident())

    def _overdue(self, request: object, client: str, thread: int) -> None:
        """Hang up. Log where a plain function is, since it keeps its thread until it returns."""
        if self._hangs_up and isinstance(request, socket.socket):
            shut_down(request)
        # An async function does not keep its thread: it is cancelled, and needs no traceback.
        if thread in self._running:
            frames = sys._current_frames().get(thread)
            error = TimeoutError(f"not back after {self._timeout:g} s, and holds its thread")
            error.add_note("".join(traceback.format_stack(frames)[-DEEPEST:]).rstrip())
            self._report(client, error)

    def _wait(self, awaitable: Awaitable[object], question: _Question) -> str | None:
        """Run *awaitable* on the reactor and block until it ends or the deadline is over."""
        ended: Future[tuple[object, BaseException | None]] = Future()
        awaiting: list[_Awaiting] = []

        def begin() -> None:
            awaiting.append(
                _Awaiting(
                    awaitable,
                    lambda verdict: ended.set_result((verdict, None)),
                    lambda error: ended.set_result((None, error)),
                )
            )

        self._reactor.callFromThread(begin)
        try:
            verdict, error = ended.result(question.left)
        except TimeoutError:  # the Future's own: an error of the function is part of its result
            # Calls from one thread run in order, so *begin* has run by then.
            self._reactor.callFromThread(lambda: awaiting[0].give_up())
            return TOO_SLOW
        # Reported as it is. Raised here, it would gain frames of netd's in its traceback.
        return question.returned(verdict) if error is None else question.raised(error)


class ReactorFilter:
    """Asks *function* in the thread of *reactor*, and answers by a Deferred.

    An ``async`` function may await Deferreds. It is cancelled after *timeout* seconds. A plain
    function cannot be interrupted: its client is refused when it returns.
    """

    def __init__(
        self, function: Function, timeout: float, reactor: Reactor, report: Report
    ) -> None:
        self._function = function
        self._timeout = timeout
        self._reactor = reactor
        self._report = report

    def refuses(self, request: object, client_address: object, client: str) -> Deferred[str | None]:
        """Fire with the reason to refuse, or None; never fails.

        *request* is the transport, before anything is read from it, or ``(data, transport)``.
        """
        question = _Question(client, self._timeout, self._reactor.seconds, self._report)
        try:
            verdict = self._function(request, client_address)
            if isinstance(verdict, Awaitable):
                return self._wait(verdict, question)
        except BaseException as error:
            return succeed(question.raised(error))
        return succeed(question.returned(verdict))

    def _wait(self, awaitable: Awaitable[object], question: _Question) -> Deferred[str | None]:
        answer: Deferred[str | None] = Deferred()

        def end(reason: str | None) -> None:
            # What *answer* starts at the deadline may let the function end before it is given up.
            if not answer.called:
                deadline.cancel()
                answer.callback(reason)

        def give_up() -> None:
            # The answer first: what the function does when it is cancelled must not delay it.
            answer.callback(TOO_SLOW)
            awaiting.give_up()

        # The timer exists before the function runs, which may end immediately and cancel it.
        deadline = self._reactor.callLater(question.left, give_up)
        awaiting = _Awaiting(
            awaitable,
            lambda verdict: end(question.returned(verdict)),
            lambda error: end(question.raised(error)),
        )
        return answer
