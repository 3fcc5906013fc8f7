"""``netd.config.messages`` and ``netd.config.text``: problems in words."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from netd.config.messages import message, unknown_key
from netd.config.schema import AccessTable, DaemonTable, MainFile, ServiceTable, Table
from netd.config.text import LONGEST, printable, quoted, shown

GOOD: dict[str, Any] = {"listen": ["tcp:1"], "handler": "m:C"}


class Needing(Table):
    """A table with keys that it must have."""

    name: str
    """a word"""
    number: int


def messages(model: type[Table], table: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(table)
    return [message(detail, model) for detail in caught.value.errors()]


def of_service(**keys: Any) -> str:
    (found,) = messages(ServiceTable, {**GOOD, **keys})
    return found


class TestMessage:
    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("threads", 0, "must be 1 or more, not 0"),
            ("threads", 10_001, "must be 10000 or less, not 10001"),
            ("threads", True, "must be a whole number, not true"),
            ("threads", 1.0, "must be a whole number, not 1.0"),
            ("enabled", "yes", 'must be true or false, not "yes"'),
            ("concurrency", "threads", 'must be "reactor", "thread" or "process", not "threads"'),
            ("access", [], "must be a table, not a list"),
            ("options", "a", 'must be a table, not "a"'),
            ("listen", [], "must not be empty"),
            ("listen", {}, "must be a list, not a table"),
            ("listen", "tcp:80", 'must be a list: ["tcp:80"], not "tcp:80"'),
            ("handler", ":time", 'must be "module:Class", not ":time"'),
            ("server", "time", 'must be "module:Class", not "time"'),
            ("handler", 5, "must be a string, not 5"),
            ("datagram_size", 0, "must be from 1 to 1048576 bytes, not 0"),
        ],
    )
    def test_says_what_would_be_right_and_what_is_there(
        self, key: str, value: object, expected: str
    ) -> None:
        """Both halves, in the same words for every key."""
        assert of_service(**{key: value}) == expected

    def test_of_a_parser_stands_as_it_is(self) -> None:
        """Who reads a description or an entry says what is there himself."""
        assert of_service(listen=["tcp:x"]) == 'port "x" is not a number from 0 to 65535'

    def test_of_a_missing_key_says_what_it_is_for(self) -> None:
        """Somebody who left a key out wants to know what to write."""
        assert messages(Needing, {}) == ["is required: a word", "is required: it has no default"]

    def test_of_an_unknown_key_knows_the_table_it_is_in(self) -> None:
        """A key is compared with those of its own table, not of the one around it."""
        assert of_service(access={"alow": []}) == 'unknown key; did you mean "allow"?'
        assert messages(MainFile, {"daemon": {"xyz": 1}}) == [
            f"unknown key; known here are {', '.join(sorted(DaemonTable.model_fields))}"
        ]

    def test_of_every_problem_of_a_table(self) -> None:
        """Nothing is left for the next try."""
        assert len(messages(AccessTable, {"allow": 1, "deny": 2, "dry_run": 3, "x": 4})) == 4

    @given(st.sampled_from(sorted(ServiceTable.model_fields)), st.integers() | st.floats())
    def test_never_shows_what_python_calls_things(self, key: str, value: float) -> None:
        """No class names, no reprs: the reader has written TOML."""
        try:
            ServiceTable.model_validate({**GOOD, key: value})
        except ValidationError as error:
            for detail in error.errors():
                assert "input" not in message(detail, ServiceTable)
                assert message(detail, ServiceTable).startswith("must be ")


class TestUnknownKey:
    @pytest.mark.parametrize("key", ["listn", "Listen", "LISTEN", "lisetn", "listens"])
    def test_suggests_the_nearest(self, key: str) -> None:
        """A typo and a capital are one word away."""
        assert unknown_key(key, ["handler", "listen"]) == 'unknown key; did you mean "listen"?'

    def test_lists_all_where_none_is_near(self) -> None:
        """In the order of the alphabet, whatever order they come in."""
        assert unknown_key("xyz", ["b", "a"]) == "unknown key; known here are a, b"


class TestShown:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (True, "true"), (False, "false"), (5, "5"), (-1.5, "-1.5"), (math.nan, "nan"),
            (math.inf, "inf"), ([1], "a list"), ({}, "a table"), ("x", '"x"'), ("", '""'),
            ('a"b\\', '"a\\"b\\\\"'), ("a\nb\0", '"a\\nb\\u0000"'), ("é😀", '"é😀"'),
            (2**64, "18446744073709551616"),
            (datetime.date(2026, 1, 2), "2026-01-02"), (datetime.time(12, 30), "12:30:00"),
        ],
    )  # fmt: skip
    def test_is_what_the_file_has(self, value: object, expected: str) -> None:
        """As TOML writes it, and never as long as a file can make it."""
        assert shown(value) == expected

    def test_does_not_write_enormous_numbers_out(self) -> None:
        """Python would refuse to, for one that a file has in hexadecimal."""
        assert shown(16**5000) == shown(-(16**5000)) == shown(10**400) == "an enormous number"

    def test_cuts_long_strings(self) -> None:
        """The rest of the message must stay in sight."""
        assert shown("x" * LONGEST) == f'"{"x" * LONGEST}"'
        assert shown("x" * (LONGEST + 1)) == f'"{"x" * LONGEST}…"'

    @given(st.text())
    def test_is_one_line_for_a_terminal(self, text: str) -> None:
        """No character of a value moves a cursor or hides another."""
        assert shown(text).isprintable()
        assert quoted(text).isprintable()
        assert printable(text).isprintable()

    @given(st.text(st.characters(categories=["L", "N", "P", "S"])))
    def test_leaves_what_can_be_seen(self, text: str) -> None:
        """Names in any script stay readable."""
        assert printable(text) == text
