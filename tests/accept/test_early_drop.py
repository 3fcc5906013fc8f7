"""``netd.accept.early_drop``: OpenSSH's rule, figure by figure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.accept.early_drop import drops_early

SURELY = 0.0
"""The random number that turns away whoever may be turned away."""

HARDLY = 1 - 2**-53
"""The largest one that there is."""


@given(st.integers(1, 100_000), st.data())
def test_nobody_below_the_half_everybody_at_the_bound(bound: int, data: st.DataObject) -> None:
    few = data.draw(st.integers(0, max(0, bound // 2 - 1)))
    if bound > 1:
        assert not drops_early(few, bound, SURELY)
    assert drops_early(bound, bound, HARDLY)


@given(st.integers(2, 100_000), st.data())
def test_the_more_the_likelier(bound: int, data: st.DataObject) -> None:
    fewer = data.draw(st.integers(0, bound))
    more = data.draw(st.integers(fewer, bound))
    number = data.draw(st.floats(0, 1, exclude_max=True))
    assert drops_early(more, bound, number) or not drops_early(fewer, bound, number)


@pytest.mark.parametrize(("under_way", "share"), [(50, 0.3), (75, 0.65), (99, 0.986)])
def test_a_straight_line_from_thirty_per_cent(under_way: int, share: float) -> None:
    assert drops_early(under_way, 100, share - 1e-9)
    assert not drops_early(under_way, 100, share + 1e-9)


def test_a_bound_of_one() -> None:
    """The first connection comes in, whatever the chance: there is none to drop for it."""
    assert not drops_early(0, 1, SURELY)
    assert drops_early(1, 1, HARDLY)
