"""``netd.accept.pending``: those who have not begun."""

from __future__ import annotations

from netd.accept.pending import CROWDED, LAST_CALL, TIMED_OUT, Reception
from tests.reactors import HandReactor


class One:
    """A connection that may come too late."""

    ended_by: str | None = None

    def give_up(self, why: str) -> None:
        self.ended_by = why


def test_time_is_over() -> None:
    reactor = HandReactor()
    reception = Reception(10, 5.0, reactor)
    quick, slow = One(), One()
    reception.enter(quick)
    reception.enter(slow)
    reception.leave(quick)
    reactor.advance(5)
    assert (quick.ended_by, slow.ended_by) == (None, TIMED_OUT)


def test_crowded() -> None:
    """From half of the bound on, by chance, and surely at the bound; who was first goes first."""
    chances = iter([0.0, 0.0, 0.31, 0.29, 0.999, 0.999, 0.999])
    reception = Reception(4, 5.0, HandReactor(), lambda: next(chances))
    ones = [One() for _ in range(7)]
    for one in ones:
        reception.make_room()
        reception.enter(one)
    assert [one.ended_by for one in ones] == [CROWDED] * 3 + [None] * 4


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
        assert (told, one.ended_by) == (["empty"], None)

    def test_no_longer_than_a_while(self) -> None:
        """However long they would have had."""
        told: list[str] = []
        reactor = HandReactor()
        reception = Reception(4, 500.0, reactor)
        one = One()
        reception.enter(one)
        reception.when_empty(lambda: told.append("empty"))
        reactor.advance(LAST_CALL)
        assert (told, one.ended_by) == (["empty"], TIMED_OUT)
