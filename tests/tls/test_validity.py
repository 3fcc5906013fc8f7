"""``netd.tls.validity``: for how long a certificate is good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from netd.tls.validity import remark

END = datetime(2026, 5, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (timedelta(days=14), None),
        (timedelta(days=400), None),
        (timedelta(days=14) - timedelta(seconds=1), "expires in 13 days, on 2026-05-31"),
        (timedelta(days=1), "expires in 1 day, on 2026-05-31"),
        (timedelta(hours=23, minutes=59), "expires in 23 hours, on 2026-05-31"),
        (timedelta(minutes=1), "expires in 0 hours, on 2026-05-31"),
        (timedelta(hours=-1), "expired 1 hour ago, on 2026-05-31"),
        (timedelta(days=-2), "expired 2 days ago, on 2026-05-31"),
    ],
)
def test_remark(left: timedelta, said: str | None) -> None:
    """Nothing, as long as there is time; then the days, or the hours of the last one."""
    assert remark(END, END - left) == said
