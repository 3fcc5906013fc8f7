"""The ``verify_request`` hook of a service that the reactor runs: nobody may be kept waiting.

The same question, the same answers and the same deadline as in ``netd.admission.filter``, but it
is asked in the reactor's thread, and the answer is a Deferred.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from netd.admission.filter import RAISED, REFUSED, TOO_SLOW, Report
from netd.core.reactor import Reactor


class ReactorFilter:
    """Asks *function*, plain or ``async``, in the thread of *reactor*.

    An ``async`` function may await Deferreds. After *timeout* seconds it is cancelled and its
    client refused; a plain one cannot be interrupted, and its client is refused when it returns.
    *report* is told what a filter raises.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        timeout: float,
        reactor: Reactor,
        report: Report,
    ) -> None:
        self._function = function
        self._timeout = timeout
        self._reactor = reactor
        self._report = report

    def refuses(self, request: Any, client_address: Any, client: str) -> Deferred[str | None]:
        """Fire with the reason to refuse, or None; never fails.

        *request* is the transport, which nobody has read from yet, or ``(data, transport)``.
        """
        ends = self._reactor.seconds() + self._timeout
        try:
            verdict = self._function(request, client_address)
            if isinstance(verdict, Awaitable):
                return self._wait(verdict, client, ends)
            reason = None if verdict else REFUSED
        except BaseException as error:
            self._report(client, error)
            reason = RAISED
        return succeed(self._in_time(reason, ends))

    def _in_time(self, reason: str | None, ends: float) -> str | None:
        return TOO_SLOW if self._reactor.seconds() >= ends else reason

    def _wait(self, verdict: Awaitable[Any], client: str, ends: float) -> Deferred[str | None]:
        answer: Deferred[str | None] = Deferred()

        async def settle() -> None:
            try:
                reason = None if await verdict else REFUSED
            except BaseException as error:
                if answer.called:  # it has been cancelled
                    return
                self._report(client, error)
                reason = RAISED
            if not answer.called:
                deadline.cancel()
                answer.callback(self._in_time(reason, ends))

        def give_up() -> None:
            answer.callback(TOO_SLOW)
            running.cancel()

        left = max(0.0, ends - self._reactor.seconds())
        deadline = self._reactor.callLater(left, give_up)
        running = Deferred.fromCoroutine(settle())
        return answer
