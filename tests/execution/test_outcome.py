"""``netd.execution.outcome``: each outcome is counted and logged once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from netd.accept.refusal import Refusal
from netd.execution.outcome import (
    DROPPED,
    FAILED,
    KEPT,
    LOST,
    SERVED,
    UNSERVED,
    Outcome,
    Outcomes,
    refused,
    would_be_refused,
)
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Counts, Scoreboard
from netd.log.record import NOTHING, AccessRecord, Traffic
from tests.execution.recording import Recording

GEOMETRY = Geometry(1, 1, 1)


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    descriptor = Scoreboard.make("test", GEOMETRY)
    with closing(Scoreboard(descriptor, GEOMETRY)) as made:
        os.close(descriptor)
        yield made


@pytest.mark.parametrize(
    ("outcome", "text", "counts", "accepted"),
    [
        (SERVED, "served", Counts(served=1), 1),
        (FAILED, "failed", Counts(served=1, failed=1), 1),
        (LOST, "lost", Counts(served=1), 1),
        (UNSERVED, "failed", Counts(failed=1), 1),
        (KEPT, "kept by process_request", Counts(), 1),
        (DROPPED, "dropped", Counts(dropped=1), 1),
        (refused("deny"), "refused: deny", Counts(refused=1), 1),
        (refused(Refusal("TLS", "eof")), "refused: TLS, eof", Counts(refused=1), 1),
        (would_be_refused("deny"), "would be refused: deny", Counts(refused=1), 0),
        (SERVED.truncated(), "served: truncated", Counts(served=1, truncated=1), 1),
        (FAILED.truncated(), "failed: truncated", Counts(served=1, failed=1, truncated=1), 1),
    ],
)
def test_counted_and_logged(
    board: Scoreboard, outcome: Outcome, text: str, counts: Counts, accepted: int
) -> None:
    """A dry run's refusal is not the end of its request, so that is not counted as accepted."""
    (lane,) = board.block(0).lanes
    log_buffer = Recording()
    outcomes = Outcomes("time", "tcp", log_buffer)
    outcomes.record(lane, "192.0.2.1:5", outcome, 0.0, Traffic(1, 2))
    lane.publish()
    assert (board.counts(), board.accepted()) == (counts, accepted)
    (record,) = log_buffer.records
    assert isinstance(record, AccessRecord)
    assert record.seconds == record.ended
    assert record[1:5] == ("time", "tcp", "192.0.2.1:5", text)
    assert record.traffic == Traffic(1, 2)


def test_counted_without_room_for_the_log(board: Scoreboard) -> None:
    class Full(Recording):
        def _keep(self, record: object) -> bool:
            raise MemoryError

    (lane,) = board.block(0).lanes
    with pytest.raises(MemoryError):
        Outcomes("time", "tcp", Full()).record(lane, "c", SERVED, 0.0, NOTHING)
    assert (lane.served, lane.accepted) == (1, 1)
