"""``netd.core.backoff``: the delays between one worker's death and the next worker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.core.backoff import LONGEST_DELAY, STABLE, Backoff


class TestBackoff:
    def test_the_first_replacement_comes_at_once(self) -> None:
        """A worker that dies once costs its service no pause."""
        assert Backoff().died(served=0) == 0

    def test_each_further_one_waits_twice_as_long(self) -> None:
        """Deaths in a row: at once, a tenth of a second, then doubled up to ten seconds."""
        backoff = Backoff()
        delays = [backoff.died(served=0) for _ in range(10)]
        assert delays == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])

    def test_after_stable_serving_it_is_the_first_again(self) -> None:
        """A death after ten seconds of serving starts from the beginning."""
        backoff = Backoff()
        for _ in range(6):
            backoff.died(served=0)
        assert [backoff.died(served=STABLE), backoff.died(served=0)] == [0, 0.1]

    def test_a_little_serving_changes_nothing(self) -> None:
        """A worker that always dies just before it counts as stable is slowed down, too."""
        backoff = Backoff()
        assert [backoff.died(served=STABLE - 0.01) for _ in range(3)] == [0, 0.1, 0.2]

    def test_for_days(self) -> None:
        """A worker that has died at every start for days is still restarted every ten seconds."""
        backoff = Backoff()
        for _ in range(20_000):
            delay = backoff.died(served=0)
        assert delay == LONGEST_DELAY

    def test_who_has_served_somebody_is_replaced_at_once(self) -> None:
        """It died of a client, which is no reason to let the next ones wait, however often."""
        backoff = Backoff()
        assert [backoff.died(served=0, requests=1) for _ in range(100)] == [0] * 100

    def test_serving_somebody_forgives(self) -> None:
        """The next death is the first one again."""
        backoff = Backoff()
        for _ in range(6):
            backoff.died(served=0)
        assert backoff.died(served=0, requests=1) == 0
        assert [backoff.died(served=0) for _ in range(3)] == [0, 0.1, 0.2]

    @given(st.lists(st.floats(0, 2 * STABLE), min_size=1))
    def test_bounds(self, lives: list[float]) -> None:
        """Whatever the worker does, the delay stays between nothing and the longest."""
        backoff = Backoff()
        assert all(0 <= backoff.died(served) <= LONGEST_DELAY for served in lives)
