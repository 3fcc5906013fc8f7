"""``netd.core.deadlines.EqualDeadlines``: one timer for all, and none without need."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netd.core.deadlines import EqualDeadlines
from tests.reactors import HandReactor


class Watched:
    def __init__(self) -> None:
        self.reactor = HandReactor()
        self.expired: list[str] = []
        self.deadlines = EqualDeadlines[str](5.0, self.reactor, self.expired.append)


def test_each_has_its_full_time() -> None:
    watched = Watched()
    watched.deadlines.begin("a")
    watched.reactor.advance(3)
    watched.deadlines.begin("b")
    watched.reactor.advance(1.9)
    assert watched.expired == []
    watched.reactor.advance(0.1)
    assert watched.expired == ["a"]
    watched.reactor.advance(3)
    assert watched.expired == ["a", "b"]
    assert len(watched.deadlines) == 0


def test_what_is_done_does_not_expire() -> None:
    watched = Watched()
    watched.deadlines.begin("a")
    watched.deadlines.begin("b")
    watched.deadlines.end("a")
    watched.deadlines.end("unknown")
    assert len(watched.deadlines) == 1
    watched.reactor.advance(5)
    assert watched.expired == ["b"]


def test_beginning_again() -> None:
    watched = Watched()
    watched.deadlines.begin("a")
    watched.reactor.advance(3)
    watched.deadlines.begin("a")
    watched.reactor.advance(3)
    assert watched.expired == []
    watched.reactor.advance(2)
    assert watched.expired == ["a"]


def test_one_timer_and_none_when_all_is_done() -> None:
    watched = Watched()
    watched.deadlines.begin("a")
    assert len(watched.reactor.getDelayedCalls()) == 1
    watched.deadlines.begin("b")
    assert len(watched.reactor.getDelayedCalls()) == 1
    watched.deadlines.end("a")
    watched.deadlines.end("b")
    watched.reactor.advance(5)
    assert watched.reactor.getDelayedCalls() == []


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=20))
def test_any_course(steps: list[tuple[float, bool]]) -> None:
    """Whatever begins and ends when, only what was not done in time expires, and in order."""
    watched = Watched()
    due: dict[str, float] = {}
    for number, (pause, is_done) in enumerate(steps):
        watched.reactor.advance(pause)
        now = watched.reactor.seconds()
        assert watched.expired == [one for one, when in due.items() if when <= now]
        name = str(number)
        watched.deadlines.begin(name)
        if is_done:
            watched.deadlines.end(name)
        else:
            due[name] = now + 5.0
