"""``netd.log.entry``: lines read as fields, whatever has written them."""

from __future__ import annotations

import json
import syslog
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.log.entry import SEVERITIES, Entry, entry_of, rewritten
from netd.log.format import JsonLines, TextLines, escape_controls
from netd.log.record import AccessRecord, Traffic
from netd.model.log import LEVELS, Level

WHEN = 1_700_000_000.25

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
KEYS = ("time", "level", "service", "message", "client", "seconds", "bytes_in", "more")
ALMOST = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, ANYTHING))


@given(st.text(), st.none() | st.text(), st.sampled_from(LEVELS))
def test_said(text: str, service: str | None, level: str) -> None:
    """A text is read back, with its control characters escaped."""
    entry = entry_of(JsonLines().said(WHEN, service, level, text))
    assert entry.time is not None
    assert entry == Entry(
        level,
        escape_controls(text),
        None if service is None else escape_controls(service),
        entry.time,
    )


def test_served() -> None:
    """A request's known fields are read back as they were written."""
    carried = Traffic(None, 2**70)
    record = AccessRecord(0.0, "s", "tcp", "::1", "refused: not allowed", 2e-6, carried)
    line = JsonLines().served(WHEN, record)
    entry = entry_of(line)
    assert (entry.level, entry.service) == ("info", "s")
    assert entry.message.startswith("::1 tcp refused: not allowed ")
    assert entry.request == {
        "client": "::1",
        "transport": "tcp",
        "verdict": "refused",
        "reason": "not allowed",
        "seconds": "0.000002",
        "bytes_out": str(2**70),
    }


@pytest.mark.parametrize(
    "line",
    [
        "no form at all",
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "{}",
        '{"message": true}',
        '{"message": null, "level": "error"}',
        "[" * 100_000,
        '{"message": {"message": "x"}}',
    ],
    ids=lambda line: line[:20],
)
def test_another_form(line: str) -> None:
    """A line of another form becomes one message of netd."""
    assert entry_of(line) == Entry("info", line)


def test_another_form_steers_no_terminal() -> None:
    """The control characters of such a line are escaped, too."""
    assert entry_of("\x1b[2J") == Entry("info", r"\x1b[2J")


@pytest.mark.parametrize("level", ["loud", 5, None, [], "INFO"])
def test_another_level(level: Any) -> None:
    """An unknown level becomes info."""
    assert entry_of(json.dumps({"message": "x", "level": level})).level == "info"


def test_an_enormous_number() -> None:
    """A number that Python's int() refuses stays a text."""
    assert entry_of('{"message": ' + "9" * 10_000 + "}").message == "9" * 10_000


@given(ALMOST)
def test_anything(values: dict[str, Any]) -> None:
    """Whatever a worker sends, the entry consists of texts."""
    entry = entry_of(json.dumps(values))
    assert entry.level in LEVELS
    texts = [entry.message, entry.service or "", entry.time or "", *entry.request.values()]
    assert all(isinstance(text, str) for text in texts)


class TestRewritten:
    """Lines of one form in the other."""

    @given(st.lists(st.tuples(st.text(), st.sampled_from(LEVELS)), max_size=5))
    def test_as_text(self, said: list[tuple[str, Level]]) -> None:
        """JSON has everything that a line of text has."""
        lines = [JsonLines().said(WHEN, "s", level, text) for text, level in said]
        expected = [TextLines().said(WHEN, "s", level, text) for text, level in said]
        assert rewritten("".join(lines), TextLines(), 0.0) == "".join(expected)

    @given(st.lists(st.text(), max_size=5))
    def test_as_json(self, said: list[str]) -> None:
        """A line of text and its continuation lines become the message of one object."""
        lines = [TextLines().said(WHEN, "s", "info", text) for text in said]
        objects = [
            json.loads(line) for line in rewritten("".join(lines), JsonLines(), 5.0).splitlines()
        ]
        assert [each["message"].partition("] ")[2] for each in objects] == list(
            map(escape_controls, said)
        )

    def test_no_lines(self) -> None:
        """No lines become no lines."""
        assert rewritten("", JsonLines(), 0.0) == rewritten("\n", TextLines(), 0.0) == ""


def test_severities() -> None:
    """Each level has a severity of syslog; a graver one has a lower number."""
    numbers = [SEVERITIES[level] for level in LEVELS]
    assert numbers == sorted(numbers, reverse=True)
    assert (numbers[0], numbers[-1]) == (syslog.LOG_DEBUG, syslog.LOG_CRIT)
