"""``netd.config.toml``: whatever is written is read again as it was."""

from __future__ import annotations

import datetime
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.config.toml import WIDTH, comment, table

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1)
VALUES = SCALARS | st.lists(SCALARS, max_size=6)
TABLES = st.recursive(
    st.dictionaries(TEXT, VALUES, max_size=4),
    lambda inner: st.dictionaries(TEXT, VALUES | inner, max_size=4),
    max_leaves=8,
)


class TestTable:
    @given(st.lists(TEXT, min_size=1, max_size=3), TABLES)
    def test_a_reader_of_toml_finds_the_same(self, path: list[str], keys: dict[str, Any]) -> None:
        """With any characters in names and values."""
        found: Any = tomllib.loads("\n".join(table(tuple(path), keys)))
        for name in path:
            found = found[name]
        assert found == keys

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            ("plain", '"plain"'),
            ('exec -a "$0"', "'exec -a \"$0\"'"),
            ('it\'s "both"', '"it\'s \\"both\\""'),
            ("tab\there", '"tab\\u0009here"'),
            ("\U000e0001", '"\\U000e0001"'),
            (True, "true"),
            (7, "7"),
            (["a", 1], '["a", 1]'),
            (1.5, "1.5"),
            (float("-inf"), "-inf"),
            (datetime.date(2026, 1, 2), "2026-01-02"),
            (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00+00:00"),
            ([{"a b": [1, {}]}], '[{"a b" = [1, {}]}]'),
        ],
    )
    def test_values_are_written_as_people_write_them(self, value: Any, written: str) -> None:
        """A string that has quotes as a literal one, if it can be."""
        assert list(table(("t",), {"key": value})) == ["[t]", f"key = {written}"]

    def test_a_long_list_has_a_line_for_each_element(self) -> None:
        """A table of networks is to be read."""
        networks = [f"10.{number}.0.0/16" for number in range(20)]
        lines = list(table(("a b",), {"allow": networks}))
        assert lines[:3] == ['["a b"]', "allow = [", '    "10.0.0.0/16",']
        assert lines[-1] == "]"

    def test_tables_come_after_the_keys(self) -> None:
        """A key that came after an inner table's header would belong to that."""
        lines = table(("t",), {"inner": {"a": 1}, "b": 2})
        assert list(lines) == ["[t]", "b = 2", "", "[t.inner]", "a = 1"]


class TestComment:
    @given(TEXT)
    def test_nothing_in_it_gets_out_of_it(self, text: str) -> None:
        """A file's words stand in comments; they must never become keys."""
        lines = list(comment(text))
        assert tomllib.loads("\n".join(lines)) == {}
        assert all(line.startswith("# ") for line in lines)

    def test_is_broken_between_words(self) -> None:
        """The lines after the first are set in."""
        lines = list(comment("word " * 40, hanging="  "))
        assert len(lines) == 3
        assert lines[1].startswith("#   word")
        assert all(len(line) <= WIDTH + 2 for line in lines)
