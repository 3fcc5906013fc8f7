"""One reload at a time. Requests that come meanwhile are answered by the next reload.

Not by the one under way: it may have read the file before the edit that the request is about.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netd.daemon.generations.reload import Outcome
from netd.model.problem import ConfigurationError
from netd.model.service import Configuration

log = Logger()


class Reloads:
    """Runs reloads one after another. In the reactor's thread.

    *check* reads the configuration, and fails with ConfigurationError; *begin* runs it.
    """

    def __init__(
        self,
        check: Callable[[], Deferred[Configuration]],
        begin: Callable[[Configuration], Deferred[Outcome]],
    ) -> None:
        self._check = check
        self._begin = begin
        self._is_under_way = False
        self._next: list[Deferred[Outcome]] = []
        """The requests that came while a reload was under way."""

    def ask(self) -> Deferred[Outcome]:
        """Reload now, or after the reload under way. Fires with the outcome; never fails."""
        asked: Deferred[Outcome] = Deferred()
        if self._is_under_way:
            self._next.append(asked)
        else:
            self._start([asked])
        return asked

    def _start(self, asked: list[Deferred[Outcome]]) -> None:
        self._is_under_way = True

        def ended(outcome: Outcome) -> None:
            _log_outcome(outcome)
            # Before the answers: a request that they lead to has to start a reload.
            self._is_under_way = False
            waiting, self._next = self._next, []
            if waiting:
                self._start(waiting)
            # Last, because an answer may ask for another reload.
            for one in asked:
                one.callback(outcome)

        # maybeDeferred, because the check may raise before it has a thread, and a reload that never
        # ends would hold up all later ones.
        checked = maybeDeferred(self._check)
        checked.addCallback(self._begin).addErrback(_refused).addCallback(ended)


def _refused(failure: Failure) -> Outcome:
    """The outcome of an invalid configuration, or of a bug of netd's."""
    error = failure.value
    if isinstance(error, ConfigurationError):
        return Outcome(False, None, tuple(map(str, error.problems)))
    log.failure("the reload failed", failure)
    return Outcome(False, None, (f"{type(error).__name__}: {error}",))


def _log_outcome(outcome: Outcome) -> None:
    for problem in outcome.problems:
        log.error("{problem}", problem=problem)
    if not outcome.done:
        log.error("not reloaded: the running configuration stays as it is")
        return
    if outcome.plan is not None:
        for step in (*outcome.plan.steps, *outcome.plan.settings):
            log.info("{step}", step=str(step))
    log.info("reloaded")
