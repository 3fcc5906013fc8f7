"""``netd.log.journald``: records in the journal's native protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.log.entry import Entry
from netd.log.journald import datagrams


def fields_of(data: bytes) -> dict[str, str]:
    """Read a datagram as the journal does: ``NAME=value``, or a name and a length before it."""
    fields = {}
    while data:
        name, end, value = data.partition(b"\n")
        data = value
        if b"=" in name:
            name, _, text = name.partition(b"=")
        else:
            length = int.from_bytes(data[:8], "little")
            text, end = data[8 : 8 + length], data[8 + length : 9 + length]
            data = data[9 + length :]
        assert end == b"\n"
        fields[name.decode()] = text.decode()
    return fields


def sent(entry: Entry) -> dict[str, str]:
    (datagram,) = datagrams(entry)
    return fields_of(datagram)


def test_said() -> None:
    """The journal's own fields, and who said it when."""
    assert sent(Entry("warn", "text", "time", "2026-01-02T03:04:05.678+00:00")) == {
        "MESSAGE": "text",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "netd",
        "SYSLOG_FACILITY": "3",
        "NETD_SERVICE": "time",
        "NETD_TIME": "2026-01-02T03:04:05.678+00:00",
    }


def test_served() -> None:
    """What is known of a request has fields that can be asked for."""
    entry = Entry("info", "x", "s", request={"client": "::1", "bytes_in": "5"})
    fields = sent(entry)
    assert (fields["NETD_CLIENT"], fields["NETD_BYTES_IN"]) == ("::1", "5")


def test_said_by_netd() -> None:
    """What nobody knows is no field."""
    assert not [name for name in sent(Entry("info", "x")) if name.startswith("NETD_")]


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", "7"), ("info", "6"), ("warn", "4"), ("error", "3"), ("critical", "2")],
)
def test_priority(level: str, priority: str) -> None:
    """As ``journalctl -p`` numbers them."""
    assert sent(Entry(level, "x"))["PRIORITY"] == priority


@given(st.text(), st.text(), st.text())
def test_any_text(message: str, service: str, client: str) -> None:
    """No value is cut, or passes for another field, whatever lines are in it."""
    fields = sent(Entry("info", message, service, request={"client": client}))
    assert fields["MESSAGE"] == message
    assert fields["NETD_SERVICE"] == service
    assert fields["NETD_CLIENT"] == client
    assert len(fields) == 6


def test_bytes_that_are_no_text() -> None:
    """What cannot be encoded is shown."""
    assert sent(Entry("info", "caf\udce9"))["MESSAGE"] == "caf\\udce9"
