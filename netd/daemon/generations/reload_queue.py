"""Reloads one at a time: who asks while one is under way is answered by the next one."""

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
    """*check* reads the configuration, and fails with ConfigurationError; *begin* runs it.

    In the reactor's thread.
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
        """Those who asked while a reload was under way."""
        self.last: Outcome | None = None

    def ask(self) -> Deferred[Outcome]:
        """Reload now, or next. Fires with what came of it; never fails."""
        asked: Deferred[Outcome] = Deferred()
        if self._is_under_way:
            self._next.append(asked)
        else:
            self._start([asked])
        return asked

    def _start(self, asked: list[Deferred[Outcome]]) -> None:
        self._is_under_way = True

        def ended(outcome: Outcome) -> None:
            self.last = outcome
            _say(outcome)
            self._is_under_way = False
            waiting, self._next = self._next, []
            if waiting:
                self._start(waiting)
            for one in asked:
                one.callback(outcome)

        checked = maybeDeferred(self._check)
        checked.addCallback(self._begin).addErrback(_refused).addCallback(ended)


def _refused(failure: Failure) -> Outcome:
    """What stands in the way, or an error of ours: the running configuration stays."""
    error = failure.value
    if isinstance(error, ConfigurationError):
        return Outcome(False, None, tuple(map(str, error.problems)))
    log.failure("the reload failed", failure)
    return Outcome(False, None, (f"{type(error).__name__}: {error}",))


def _say(outcome: Outcome) -> None:
    for problem in outcome.problems:
        log.error("{problem}", problem=problem)
    if not outcome.done:
        log.error("not reloaded: the running configuration stays as it is")
        return
    if outcome.plan is not None:
        for step in (*outcome.plan.steps, *outcome.plan.settings):
            log.info("{step}", step=str(step))
    log.info("reloaded")
