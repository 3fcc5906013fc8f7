"""For how long a certificate is good, in words for an operator. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

SOON: Final = timedelta(days=14)
"""Before its end a certificate is spoken of: who renews by a machine does so a month before."""

_HOUR: Final = timedelta(hours=1)


def remark(not_after: datetime, now: datetime) -> str | None:
    """What is to be said at *now* of a certificate that ends at *not_after*; None for nothing."""
    left = not_after - now
    if left >= SOON:
        return None
    day = f"{not_after:%Y-%m-%d}"
    if left < timedelta(0):
        return f"expired {_amount(-left)} ago, on {day}"
    return f"expires in {_amount(left)}, on {day}"


def _amount(time: timedelta) -> str:
    """Whole days, or the hours of the last one."""
    number, unit = (time.days, "day") if time.days else (time // _HOUR, "hour")
    return f"{number} {unit}{'' if number == 1 else 's'}"
