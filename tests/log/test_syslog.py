"""``netd.log.syslog``: records as syslog(3) sends them."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.log.entry import Entry
from netd.log.syslog import LONGEST, SyslogMessages

LOCAL = datetime(2026, 2, 3, 4, 5, 6, 789_000).astimezone()


def sent(entry: Entry) -> list[str]:
    return [message.decode() for message in SyslogMessages(lambda: 4711)(entry)]


def test_said() -> None:
    """Priority (daemon, warning), local time, name and process, service, text."""
    assert sent(Entry("warn", "text", "time", LOCAL.isoformat())) == [
        "<28>Feb  3 04:05:06 netd[4711]: time: text"
    ]


def test_said_by_netd() -> None:
    """Without a service there is none."""
    assert sent(Entry("info", "text", None, LOCAL.isoformat())) == [
        "<30>Feb  3 04:05:06 netd[4711]: text"
    ]


def test_the_time_of_another_zone() -> None:
    """A worker may have a zone of its own; syslog has the machine's."""
    elsewhere = "2026-02-03T00:00:00.000+13:45"
    expected = f"{datetime.fromisoformat(elsewhere).astimezone():%H:%M:%S}"
    assert f" {expected} netd" in sent(Entry("info", "x", None, elsewhere))[0]


@pytest.mark.parametrize("time", [None, "", "yesterday", "0001-01-01T00:00:00+14:00"])
def test_no_time(time: str | None) -> None:
    """Where none is known there is none, and syslog writes its own."""
    assert sent(Entry("info", "text", None, time)) == ["<30>netd[4711]: text"]


def test_several_lines() -> None:
    """Each is a message, and further ones are indented: none of them passes for a record."""
    assert sent(Entry("error", "one\n two\n\nthree", "s")) == [
        "<27>netd[4711]: s: one",
        "<27>netd[4711]: s:    two",
        "<27>netd[4711]: s:   ",
        "<27>netd[4711]: s:   three",
    ]


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f980"])
def test_too_long(letter: str) -> None:
    """A message is cut, says so, and has whole characters only."""
    (data,) = SyslogMessages(lambda: 1)(Entry("info", letter * LONGEST))
    assert LONGEST - 4 <= len(data) <= LONGEST
    assert re.fullmatch(rf"<30>netd\[1\]: {letter}+ …", data.decode())


def test_as_long_as_can_be() -> None:
    """One of exactly the limit is whole."""
    head = "<30>netd[4711]: "
    (message,) = sent(Entry("info", "x" * (LONGEST - len(head))))
    assert message == head + "x" * (LONGEST - len(head))


@given(st.text(), st.text())
def test_any_text(message: str, service: str) -> None:
    """Whatever is said, there are messages of one line that syslog takes."""
    for text in sent(Entry("info", message, service)):
        assert text.startswith("<30>netd[4711]: ")


def test_bytes_that_are_no_text() -> None:
    """What cannot be encoded is shown."""
    assert sent(Entry("info", "caf\udce9")) == ["<30>netd[4711]: caf\\udce9"]
