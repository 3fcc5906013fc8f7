"""``netd.core.timer``: one call that is due, on a clock."""

from __future__ import annotations

from twisted.internet.task import Clock

from netd.core.timer import Timer


def test_calls_once() -> None:
    clock, called = Clock(), list[int]()
    timer = Timer(clock)
    assert not timer.is_set
    timer.set(2.0, lambda: called.append(1))
    assert timer.is_set
    clock.advance(1.9)
    assert called == []
    clock.advance(0.2)
    assert called == [1]
    assert not timer.is_set
    timer.clear()


def test_set_replaces_what_was_due() -> None:
    clock, called = Clock(), list[int]()
    timer = Timer(clock)
    timer.set(1.0, lambda: called.append(1))
    timer.set(2.0, lambda: called.append(2))
    clock.advance(3.0)
    assert called == [2]


def test_clear() -> None:
    clock, called = Clock(), list[int]()
    timer = Timer(clock)
    timer.set(1.0, lambda: called.append(1))
    timer.clear()
    timer.clear()
    clock.advance(2.0)
    assert called == []
    assert clock.getDelayedCalls() == []


def test_the_call_may_set_it_again() -> None:
    clock, called = Clock(), list[float]()
    timer = Timer(clock)

    def tick() -> None:
        called.append(clock.seconds())
        timer.set(1.0, tick)

    timer.set(1.0, tick)
    for _ in range(3):
        clock.advance(1.0)
    assert called == [1.0, 2.0, 3.0]
    assert timer.is_set
