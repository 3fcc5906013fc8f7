"""``netd.core.deadlines``: what is not done in time, by a clock that the test moves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.core.deadlines import Deadlines
from tests.reactors import PATIENCE, HandReactor, ThreadReactor


class Missed(list[str]):
    """The names of the things that were not done in time, in that order."""

    def miss(self, name: str) -> Callable[[], None]:
        return partial(self.append, name)


class TestDeadlines:
    """One thing after another, in one thread."""

    def test_missed(self) -> None:
        """The action is called when the time is over, not before, and once."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        deadlines.set("a", 5.0, missed.miss("a"))
        reactor.run()
        reactor.advance(4.9)
        assert missed == []
        reactor.advance(0.1)
        assert missed == ["a"]
        reactor.advance(100)
        assert missed == ["a"]

    def test_met(self) -> None:
        """What was done in time is forgotten."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        deadlines.set("a", 5.0, missed.miss("a"))
        reactor.run()
        reactor.advance(4.9)
        deadlines.met("a")
        reactor.advance(100)
        assert missed == []

    def test_met_too_late_or_never_set(self) -> None:
        """Telling of what nobody waits for is no error."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        deadlines.met("a")
        deadlines.set("a", 1.0, missed.miss("a"))
        reactor.run()
        reactor.advance(1)
        deadlines.met("a")
        assert missed == ["a"]

    def test_an_earlier_one_set_later(self) -> None:
        """Deadlines are called in their own order, not in that in which they were set."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
            deadlines.set(name, seconds, missed.miss(name))
            reactor.run()
        for expected in (["a"], ["a", "b"], ["a", "b", "c"]):
            reactor.advance(1)
            assert missed == expected

    def test_set_again(self) -> None:
        """A second deadline for the same thing replaces the first."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        deadlines.set("a", 1.0, missed.miss("first"))
        deadlines.set("a", 2.0, missed.miss("second"))
        reactor.run()
        reactor.advance(1.5)
        assert missed == []
        reactor.advance(0.5)
        assert missed == ["second"]

    def test_set_by_an_action(self) -> None:
        """An action may set a deadline."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        deadlines.set("a", 1.0, lambda: deadlines.set("b", 1.0, missed.miss("b")))
        reactor.run()
        reactor.advance(1)
        reactor.run()
        reactor.advance(1)
        assert missed == ["b"]

    def test_an_action_that_raises(self) -> None:
        """The other deadlines, those due as well and those to come, are called."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        deadlines.set("a", 1.0, partial(missed.remove, "not there"))
        deadlines.set("b", 1.0, missed.miss("b"))
        deadlines.set("c", 2.0, missed.miss("c"))
        reactor.run()
        with pytest.raises(ValueError, match="not in list"):
            reactor.advance(1)
        reactor.advance(0)
        assert missed == ["b"]
        deadlines.set("d", 2.0, missed.miss("d"))
        reactor.run()
        reactor.advance(2)
        assert missed == ["b", "c", "d"]

    def test_no_time_at_all(self) -> None:
        """A deadline that is over when it is set is called at once."""
        reactor, missed = HandReactor(), Missed()
        Deadlines(reactor).set("a", 0.0, missed.miss("a"))
        reactor.run()
        reactor.advance(0)
        assert missed == ["a"]


class TestWakes:
    """The reactor is left alone as far as possible."""

    def test_nothing_to_watch_for(self) -> None:
        """Without deadlines there is no call, neither now nor later."""
        reactor = HandReactor()
        Deadlines(reactor).met("a")
        assert reactor.woken == 0
        assert reactor.getDelayedCalls() == []

    def test_deadlines_that_are_met(self) -> None:
        """Many that are set and met at once wake the reactor for the first, and once in a while."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        for number in range(1000):
            deadlines.set(number, 5.0, missed.miss("any"))
            deadlines.met(number)
            reactor.run()
            reactor.advance(0.001)
        assert reactor.woken == 1
        assert len(reactor.getDelayedCalls()) == 1

    def test_nothing_more_to_watch_for(self) -> None:
        """After the last deadline, met or not, the process sleeps again."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        for number in range(3):
            deadlines.set(number, 1.0 + number, missed.miss(str(number)))
        deadlines.met(2)
        reactor.run()
        reactor.advance(1)
        reactor.advance(1)
        reactor.advance(1)
        assert missed == ["0", "1"]
        assert reactor.getDelayedCalls() == []

    def test_many_that_are_pending(self) -> None:
        """Those that are due after the first need no call of their own."""
        reactor, missed = HandReactor(), Missed()
        deadlines = Deadlines(reactor)
        for number in range(100):
            deadlines.set(number, 5.0, missed.miss("any"))
            reactor.run()
            reactor.advance(0.01)
        assert reactor.woken == 1
        assert len(reactor.getDelayedCalls()) == 1
        for _ in range(100):
            reactor.advance(0.1)
        assert len(missed) == 100


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 4), st.integers(0, 9)),
        st.tuples(st.just("met"), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("advance"), st.just(0), st.integers(0, 5)),
        st.tuples(st.just("run"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


class TestModel:
    """Any sequence of calls does what a plain table of times would."""

    @given(STEPS)
    def test_any_sequence(self, steps: list[tuple[str, int, int]]) -> None:
        """Exactly those are missed that were not met, none early and none late."""
        reactor = HandReactor()
        deadlines = Deadlines(reactor)
        table: dict[int, tuple[int, str]] = {}
        missed, expected = Missed(), []
        now = 0
        for index, (kind, key, amount) in enumerate(steps):
            if kind == "set":
                name = f"{key} at step {index}"
                table[key] = now + amount, name
                deadlines.set(key, float(amount), missed.miss(name))
            elif kind == "met":
                table.pop(key, None)
                deadlines.met(key)
            elif kind == "advance":
                # A real reactor has run what threads asked for long before a second is over.
                reactor.run()
                for _ in range(amount):
                    now += 1
                    reactor.advance(1)
                    for each, (when, name) in sorted(table.items()):
                        if when <= now:
                            expected.append(name)
                            del table[each]
            else:
                reactor.run()
                reactor.advance(0)
                for each, (when, name) in sorted(table.items()):
                    if when <= now:
                        expected.append(name)
                        del table[each]
            assert sorted(missed) == sorted(expected)


class TestThreads:
    """Deadlines set and met by many threads, watched by another."""

    def test_all_but_the_missed_ones(self) -> None:
        """Each one that is not met is called once, and no other."""
        lock = threading.Lock()
        late: list[tuple[int, int]] = []
        all_there = threading.Event()
        threads, each = 4, 200

        def miss(key: tuple[int, int]) -> None:
            with lock:
                late.append(key)
                if len(late) == threads * each // 10:
                    all_there.set()

        with ThreadReactor() as reactor:
            deadlines = Deadlines(reactor)

            def work(thread: int) -> None:
                for number in range(each):
                    key = thread, number
                    meets = number % 10 > 0
                    deadlines.set(key, PATIENCE if meets else 0.001, partial(miss, key))
                    if meets:
                        deadlines.met(key)

            workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            assert all_there.wait(PATIENCE)
            reactor.let_pass(0.02)
        assert sorted(late) == [
            (thread, n) for thread in range(threads) for n in range(0, each, 10)
        ]
