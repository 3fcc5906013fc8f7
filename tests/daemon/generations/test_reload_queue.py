"""``netd.daemon.generations.reload_queue``: one at a time, and the last one asked for wins."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from netd.config.plan import Action, Plan, Step
from netd.daemon.generations.reload import Outcome
from netd.daemon.generations.reload_queue import Reloads
from netd.model.problem import ConfigurationError, Problem
from tests.daemon.estates import configuration
from tests.daemon.fakes import texts

NEW = configuration()
DONE = Outcome(True, Plan((Step("a", Action.CHANGE, ("threads",)),)))


class Scene:
    """What is asked for, and what comes of it, when a test says so."""

    def __init__(self) -> None:
        self.checks: list[Deferred[Any]] = []
        self.begun: list[Deferred[Outcome]] = []
        self.reloads = Reloads(self._check, self._begin)
        self.answers: list[tuple[str, Outcome]] = []

    def _check(self) -> Deferred[Any]:
        self.checks.append(Deferred())
        return self.checks[-1]

    def _begin(self, new: object) -> Deferred[Outcome]:
        assert new is NEW
        self.begun.append(Deferred())
        return self.begun[-1]

    def ask(self, who: str) -> None:
        self.reloads.ask().addCallback(lambda outcome: self.answers.append((who, outcome)))


def test_one_after_the_other() -> None:
    """Requests during a reload are answered by one more reload, which reads the file again."""
    scene = Scene()
    for who in ("first", "second", "third"):
        scene.ask(who)
    assert len(scene.checks) == 1
    scene.checks[0].callback(NEW)
    scene.ask("fourth")
    assert len(scene.checks) == 1
    scene.begun[0].callback(DONE)
    assert scene.answers == [("first", DONE)]
    assert len(scene.checks) == 2
    scene.checks[1].callback(NEW)
    refused = Outcome(False, None, ("no",))
    scene.begun[1].callback(refused)
    assert scene.answers[1:] == [(who, refused) for who in ("second", "third", "fourth")]
    assert len(scene.checks) == 2


def test_a_configuration_with_problems() -> None:
    """They are the answer and in the log, and the next one may be better."""
    scene = Scene()
    problems = [Problem("f", 1, "a", "is wrong"), Problem("f", 2, "b", "is wrong, too")]
    with capturedLogs() as logged:
        scene.ask("first")
        scene.checks[0].errback(ConfigurationError(problems))
    assert scene.answers == [("first", Outcome(False, None, tuple(map(str, problems))))]
    assert texts(logged) == [
        *(f"error: {problem}" for problem in problems),
        "error: not reloaded: the running configuration stays as it is",
    ]
    scene.ask("second")
    scene.checks[1].callback(NEW)
    scene.begun[0].callback(DONE)
    assert scene.answers[1] == ("second", DONE)


def test_what_is_done_is_said() -> None:
    scene = Scene()
    with capturedLogs() as logged:
        scene.ask("first")
        scene.checks[0].callback(NEW)
        scene.begun[0].callback(DONE)
    assert texts(logged) == ["info: change a: threads", "info: reloaded"]


def test_an_error_of_ours() -> None:
    """A bug fails one reload, even if it raises immediately."""
    answers: list[Outcome] = []

    def check() -> Deferred[Any]:
        raise RuntimeError("no thread")

    reloads = Reloads(check, lambda new: Deferred())
    with capturedLogs() as logged:
        reloads.ask().addCallback(answers.append)
        reloads.ask().addCallback(answers.append)
    assert [outcome.problems for outcome in answers] == [("RuntimeError: no thread",)] * 2
    assert sum("the reload failed" in text for text in texts(logged)) == 2
