"""``netd.model.units``: durations and sizes as people write them."""

from __future__ import annotations

import datetime
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.model.units import (
    BYTES,
    LARGEST,
    LONGEST,
    duration,
    duration_text,
    pattern,
    size,
    size_text,
)
from netd.model.units import SECONDS as UNITS

NO_AMOUNTS = [
    True, False, None, -1, -0.5, -1e300, math.nan, -math.inf, [], [1], {}, {"s": 1},
    datetime.date(2026, 1, 1), datetime.time(12), b"30s",
    "", " ", "s", "-1", "-1s", "+1s", "1.s", ".5s", "1,5s", "1e3", "1e3s", "0x10", "1_000",
    "1 d", "1S", "1M", "1MS", "1 min", "1s 2", " 1s", "1s ", "1s\n", "1h30m", "nan", "inf",
    "1\0s", "\N{ARABIC-INDIC DIGIT ONE}s",
]  # fmt: skip

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


class TestDuration:
    @pytest.mark.parametrize(
        ("written", "seconds"),
        [
            (0, 0.0), (30, 30.0), (2.5, 2.5), (0.0, 0.0), (1e-05, 1e-05), (LONGEST, LONGEST),
            ("0", 0.0), ("30", 30.0), ("2.5", 2.5),
            ("250ms", 0.25), ("30s", 30.0), ("5m", 300.0), ("2h", 7200.0), ("1.5h", 5400.0),
            ("30 s", 30.0), ("0ms", 0.0), ("007s", 7.0), ("876000h", LONGEST),
        ],
    )  # fmt: skip
    def test_is_read_as_seconds(self, written: object, seconds: float) -> None:
        """A number is seconds, and a text says its unit."""
        assert duration(written) == pytest.approx(seconds)
        assert type(duration(written)) is float

    @pytest.mark.parametrize("written", [*NO_AMOUNTS, "1B", "1KiB"], ids=repr)
    def test_says_what_would_be_one(self, written: object) -> None:
        """Anything else is refused with the forms that are taken, a boolean and NaN too."""
        with pytest.raises(ValueError, match=r"must be a number of seconds from 0, or a text like"):
            duration(written)

    @pytest.mark.parametrize(
        "written",
        [LONGEST + 1, 10**400, 10**5000, 1e16, 1e300, math.inf, "876001h", "9" * 5000 + "ms"],
        ids=lambda written: type(written).__name__,
    )
    def test_ends_where_nobody_waits(self, written: object) -> None:
        """What a timer cannot count, or overflows a float, is a problem and never an exception."""
        with pytest.raises(ValueError, match=r"^must be 100 years at most$"):
            duration(written)

    @given(st.integers(0, 876_000), st.sampled_from(list(SECONDS)))
    def test_is_number_times_unit(self, number: int, unit: str) -> None:
        """Whatever the number, the unit multiplies it."""
        assert duration(f"{number}{unit}") == pytest.approx(number * SECONDS[unit])


class TestSize:
    @pytest.mark.parametrize(
        ("written", "count"),
        [
            (0, 0), (8192, 8192), (8192.0, 8192), (LARGEST, LARGEST),
            ("0", 0), ("512", 512), ("512B", 512), ("64KiB", 65536), ("10MiB", 10485760),
            ("1GiB", 1073741824), ("1.5KiB", 1536), ("64 KiB", 65536),
        ],
    )  # fmt: skip
    def test_is_read_as_bytes(self, written: object, count: int) -> None:
        """A number is bytes, and a text says its unit."""
        assert size(written) == count
        assert type(size(written)) is int

    @pytest.mark.parametrize(
        "written", [*NO_AMOUNTS, "64kib", "64KB", "64K", "1TiB", "30s"], ids=repr
    )
    def test_says_what_would_be_one(self, written: object) -> None:
        """Anything else is refused, units that mean 1000 or 1024 to different people too."""
        with pytest.raises(ValueError, match=r"must be a number of bytes from 0, or a text like"):
            size(written)

    @pytest.mark.parametrize("written", [1.5, "0.5", "1.0001KiB"])
    def test_has_no_part_of_a_byte(self, written: object) -> None:
        """Nothing is rounded without a word."""
        with pytest.raises(ValueError, match=r"^must be a whole number of bytes$"):
            size(written)

    @pytest.mark.parametrize(
        "written",
        [LARGEST + 1, 10**400, 10**5000, 1e300, math.inf, "9" * 5000],
        ids=lambda written: type(written).__name__,
    )
    def test_ends_where_the_system_does(self, written: object) -> None:
        """What overflows is a problem and never an exception."""
        with pytest.raises(ValueError, match=r"^must be less than 8 EiB$"):
            size(written)


class TestText:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.0, "0s"), (0.25, "250ms"), (5.0, "5s"), (90.0, "90s"), (600.0, "10m"),
            (7200.0, "2h"), (1.5, "1500ms"), (1e-6, "0.001ms"), (float(LONGEST), "876000h"),
        ],
    )  # fmt: skip
    def test_of_a_duration(self, seconds: float, text: str) -> None:
        """The unit that a person would take."""
        assert duration_text(seconds) == text

    @pytest.mark.parametrize(
        ("count", "text"),
        [(0, "0B"), (1000, "1000B"), (8192, "8KiB"), (10 << 20, "10MiB"), (1 << 40, "1024GiB")],
    )
    def test_of_a_size(self, count: int, text: str) -> None:
        """The unit that a person would take."""
        assert size_text(count) == text

    @given(st.integers(0, LONGEST * 1000))
    def test_of_a_duration_is_read_again(self, milliseconds: int) -> None:
        """What is printed can be put into a file."""
        assert duration(duration_text(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)

    @given(st.integers(0, 2**53))
    def test_of_a_size_is_read_again(self, count: int) -> None:
        """What is printed can be put into a file."""
        assert size(size_text(count)) == count


class TestPattern:
    @given(
        st.integers(0, 1000) | st.decimals(0, 1000, places=3),
        st.sampled_from(["", " "]),
        st.sampled_from(sorted(UNITS)),
    )
    def test_has_what_is_read(self, number: object, blank: str, unit: str) -> None:
        """An editor has nothing against what netd takes."""
        text = f"{number}{blank}{unit}"
        assert duration(text) >= 0
        assert re.search(pattern(UNITS), text)

    @pytest.mark.parametrize("text", [text for text in NO_AMOUNTS if isinstance(text, str)])
    def test_has_nothing_else(self, text: str) -> None:
        """What netd refuses is underlined while it is typed."""
        for units in (UNITS, BYTES):
            assert not re.search(pattern(units).replace("$", r"\Z"), text)
