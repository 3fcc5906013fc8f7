"""``netd.execution.reception``: those who have not begun."""

from __future__ import annotations

from netd.execution.reception import LAST_CALL, Reception
from tests.reactors import HandReactor


class One:
    """A connection that may come too late."""

    is_overdue = False

    def overdue(self) -> None:
        self.is_overdue = True


def test_time_is_over() -> None:
    reactor = HandReactor()
    reception = Reception(10, 5.0, reactor)
    quick, slow = One(), One()
    reception.enter(quick)
    reception.enter(slow)
    reception.leave(quick)
    reactor.advance(5)
    assert (quick.is_overdue, slow.is_overdue) == (False, True)


def test_crowded() -> None:
    """From half of the bound on, by chance, and surely at the bound."""
    chances = iter([0.0, 0.29, 0.31, 0.999])
    reception = Reception(4, 5.0, HandReactor(), lambda: next(chances))
    reception.enter(One())
    assert not reception.is_crowded()
    reception.enter(One())
    assert reception.is_crowded()
    assert not reception.is_crowded()
    reception.enter(One())
    reception.enter(One())
    assert reception.is_crowded()


class TestStop:
    def test_nobody_is_here(self) -> None:
        told: list[str] = []
        reception = Reception(4, 5.0, HandReactor())
        reception.when_empty(lambda: told.append("empty"))
        assert told == ["empty"]

    def test_the_last_one_begins(self) -> None:
        told: list[str] = []
        reception = Reception(4, 5.0, HandReactor())
        one = One()
        reception.enter(one)
        reception.when_empty(lambda: told.append("empty"))
        assert told == []
        reception.leave(one)
        assert (told, one.is_overdue) == (["empty"], False)

    def test_no_longer_than_a_while(self) -> None:
        """However long they would have had."""
        told: list[str] = []
        reactor = HandReactor()
        reception = Reception(4, 500.0, reactor)
        one = One()
        reception.enter(one)
        reception.when_empty(lambda: told.append("empty"))
        reactor.advance(LAST_CALL)
        assert (told, one.is_overdue) == (["empty"], True)
