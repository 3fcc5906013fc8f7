"""``netd.ipc.worker``: messages in bytes, and bytes that are no messages."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.ipc.worker import (
    LENGTH,
    LONGEST_ORDER,
    LONGEST_REPORT,
    AllSuspended,
    ConfigureLog,
    Disconnect,
    Drain,
    HandlerHung,
    InvalidMessage,
    LogLines,
    NeedsRecycling,
    Order,
    Ready,
    Recheck,
    Report,
    Resume,
    ServiceStart,
    StartFailed,
    StartWorker,
    Stop,
    Suspend,
    Suspended,
    SuspendRequested,
    decode_order,
    decode_report,
    encode_order,
    encode_report,
)
from netd.model.address import InetAddress, Transport, UnixAddress
from netd.model.log import WorkerLog
from netd.model.service import Access, Owner, Reference, Requested, Runs, Service

SERVICE = Service(
    "time",
    (
        InetAddress(Transport.TCP6, 13, "::1"),
        UnixAddress(Transport.UNIXGRAM, "@netd/time", 0o600, 1, 2),
    ),
    Runs("server", Reference("timeserver", "TimeServer"), Reference("timeserver", "Handler")),
    "time",
    own=Requested("process", 7),
    defaults=Requested(processes=3),
    concurrency="process",
    threads=7,
    processes=3,
    reuse_port=True,
    owner=Owner(65534, 65534),
    access=Access(("10.0.0.0/8",), ("uid:7",), Reference("rules", "asks"), 1.5, True),
    options={"format": "%H:%M", "zones": ["UTC", {"offset": 3}], "nothing": None},
)
START = StartWorker(
    "time",
    (ServiceStart(SERVICE, (4, 5), 6, 14, True),),
    ("/srv/handlers",),
    30.0,
    WorkerLog("json", "warn", False),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
ALMOST = st.tuples(
    st.sampled_from(
        [
            "Ready",
            "StartFailed",
            "LogLines",
            "SuspendRequested",
            "Suspended",
            "StartWorker",
            "",
            None,
            1,
            [],
            {},
        ]
    ),
    JSON
    | st.fixed_dictionaries(
        {}, optional={"text": JSON, "service": JSON, "message": JSON, "more": JSON}
    )
    | st.sampled_from(["text", ["text"], ["service", "message"], [], "", {}]),
)
"""Values that look like a report at first sight."""


def report_or_refusal(data: bytes) -> Report | None:
    """The report in *data*; None if that is refused."""
    try:
        return decode_report(data)
    except InvalidMessage:
        return None


class TestOrders:
    """From the daemon to a worker."""

    @pytest.mark.parametrize(
        "order",
        [
            START,
            Drain(),
            Recheck("time", SERVICE.access),
            Disconnect("time", 12_500_000),
            Stop(),
            ConfigureLog(WorkerLog(level="debug")),
            Suspend("time"),
            Resume("time"),
            AllSuspended("time"),
        ],
        ids=lambda order: type(order).__name__,
    )
    def test_round_trip(self, order: Order) -> None:
        """A worker reads the order that the daemon has written."""
        assert decode_order(encode_order(order)) == order

    @pytest.mark.parametrize("value", [None, "Stop", Ready(), Stop, SERVICE, Suspended("time")])
    def test_another_value(self, value: object) -> None:
        """A value that is no order is refused."""
        with pytest.raises(InvalidMessage):
            decode_order(pickle.dumps(value))

    def test_many_rules(self) -> None:
        """A hundred thousand access rules are an order that is far from too long."""
        rules = tuple(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000))
        service = Service("s", (), Runs("handler", Reference("m", "h")), "w", access=Access(rules))
        order = StartWorker("w", (ServiceStart(service, (), 3),), (), 30.0)
        data = encode_order(order)
        assert len(data) < 4 << 20 < LONGEST_ORDER
        assert decode_order(data) == order


class TestReports:
    """From a worker to the daemon."""

    @given(
        st.just(Ready())
        | st.builds(StartFailed, service=st.text(), message=st.text())
        | st.builds(LogLines, text=st.text(st.characters()))
        | st.builds(SuspendRequested, service=st.text())
        | st.builds(Suspended, service=st.text())
        | st.builds(NeedsRecycling, service=st.text(), why=st.text())
        | st.builds(HandlerHung, service=st.text())
    )
    def test_round_trip(self, report: Report) -> None:
        """The daemon reads the report that a worker has written, whatever its letters."""
        assert decode_report(encode_report(report)) == report

    def test_lone_surrogates(self) -> None:
        """Undecodable bytes of a print, which Python keeps as lone surrogates, pass as well."""
        report = LogLines("caf\udce9\n")
        assert decode_report(encode_report(report)) == report

    def test_a_batch_of_log(self) -> None:
        """A batch of lines fits, be it made of the longest letters."""
        assert len(encode_report(LogLines("\U0010ffff" * (300 << 10)))) < LONGEST_REPORT

    def test_the_length_of_a_frame(self) -> None:
        """Both limits can be written in the bytes of a frame's length."""
        assert LONGEST_REPORT < LONGEST_ORDER < 1 << 8 * LENGTH - 1


class TestJunk:
    """A worker runs a user's code, which may write anything to the channel."""

    @pytest.mark.parametrize(
        "value",
        [
            ["StartFailed", {}],
            ["StartFailed", {"service": 1, "message": "x"}],
            ["StartFailed", {"service": "s", "message": None}],
            ["StartFailed", {"service": "s", "message": "x", "more": "y"}],
            ["StartFailed", ["service", "message"]],
            ["StartFailed", "text"],
            ["LogLines", {"text": "x"}],
            ["Ready", []],
            ["Ready", ""],
            ["Ready", {"text": "x"}],
            ["Ready", None],
            ["Ready"],
            ["StartWorker", {"worker": "time"}],
            ["StartFailed", {"service": "s"}],
            ["SuspendRequested", {}],
            ["SuspendRequested", {"service": 5}],
            ["Suspended", {"service": "s", "message": "m"}],
            ["Suspend", {"service": "s"}],
            ["NeedsRecycling", {"service": "s"}],
            ["HandlerHung", {"service": None}],
            ["Recheck", {"service": "s", "access": {}}],
            ["AllSuspended", {"service": "s"}],
            [["Ready"], {}],
            [{}, {}],
            {"Ready": 1, "StartFailed": 2},
            "ab",
            None,
            7,
            [],
        ],
        ids=str,
    )
    def test_almost_a_report(self, value: object) -> None:
        """Values without exactly the form of a report are refused."""
        with pytest.raises(InvalidMessage):
            decode_report(json.dumps(value).encode())

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xff\xfe",
            b"\x00\x00\x00",
            b"{",
            b'["Ready", {}',
            b'["Ready", {}] more',
            b"[" * 1_000_000,
            b'{"a":' * 1_000_000,
            b'["StartFailed", {"service": ' + b"9" * 10_000 + b"}]",
            b'["StartFailed", {"service": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
            b"Lcaf\xe9",
            encode_order(Stop()),
        ],
        ids=lambda data: repr(data[:20]),
    )
    def test_no_report_at_all(self, data: bytes) -> None:
        """Bytes of any kind, and JSON that would exhaust the stack, are refused."""
        with pytest.raises(InvalidMessage):
            decode_report(data)

    @given(st.binary())
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are read or refused; nothing else is raised."""
        report_or_refusal(data)

    @given(JSON)
    def test_any_json(self, value: Any) -> None:
        """Any JSON is read or refused."""
        report_or_refusal(json.dumps(value).encode())

    @given(ALMOST, st.sampled_from(["utf-8", "utf-16", "utf-32"]))
    def test_anything_like_a_report(self, value: Any, encoding: str) -> None:
        """A report that is read has texts only."""
        report = report_or_refusal(json.dumps(value).encode(encoding))
        if report is not None:
            assert [type(report).__name__, asdict(report)] == list(value)
            assert all(isinstance(part, str) for part in asdict(report).values())

    def test_error_shows_the_bytes(self) -> None:
        """The error shows the beginning of the bytes, not megabytes of them."""
        with pytest.raises(InvalidMessage) as caught:
            decode_report(b"junk" * 100_000)
        assert "junkjunk" in str(caught.value)
        assert len(str(caught.value)) < 200
