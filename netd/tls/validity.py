"""How long a certificate is still valid, in words for an operator. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

SOON: Final = timedelta(days=14)
"""The time before the end at which netd warns. Automatic renewal happens a month before it."""

_HOUR: Final = timedelta(hours=1)


def remark(not_after: datetime, now: datetime) -> str | None:
    """The warning at *now* about a certificate that ends at *not_after*; None if there is none."""
    left = not_after - now
    if left >= SOON:
        return None
    day = f"{not_after:%Y-%m-%d}"
    if left < timedelta(0):
        return f"expired {_amount(-left)} ago, on {day}"
    return f"expires in {_amount(left)}, on {day}"


def _amount(time: timedelta) -> str:
    """Whole days; less than one day in hours."""
    number, unit = (time.days, "day") if time.days else (time // _HOUR, "hour")
    return f"{number} {unit}{'' if number == 1 else 's'}"
