"""``netd.core.output_lines``: output cut into lines."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from netd.core.output_lines import LONGEST_LINE, Lines


def cut(*parts: bytes) -> list[str]:
    found: list[str] = []
    lines = Lines(found.append)
    for part in parts:
        lines.dataReceived(part)
    lines.finish()
    return found


@settings(deadline=None)
@given(st.binary(), st.lists(st.integers(0, 100)))
def test_whatever_the_parts(data: bytes, cuts: list[int]) -> None:
    """The lines are those of the whole; the last may lack its end."""
    places = sorted(min(cut, len(data)) for cut in cuts)
    bounds = [0, *places, len(data)]
    parts = [data[start:end] for start, end in pairwise(bounds)]
    *lines, rest = data.split(b"\n")
    expected = [line.decode(errors="replace") for line in [*lines, *([rest] if rest else [])]]
    assert cut(*parts) == expected


def test_one_that_never_ends_comes_in_pieces() -> None:
    """So nothing is kept without a bound."""
    pieces = cut(*[b"x" * 1000] * 100)
    assert sum(map(len, pieces)) == 100_000
    assert max(map(len, pieces)) <= LONGEST_LINE + 1000
