"""When a connection is dropped because too many have not begun to be served."""

from __future__ import annotations

from typing import Final

FIRST_SHARE: Final = 0.3
"""Of the new ones for which another is dropped at the beginning, as with OpenSSH's ``MaxStartups
10:30:100``."""


def drops_early(under_way: int, bound: int, random: float) -> bool:
    """Whether one is dropped for a new connection, while *under_way* others have not begun.

    By the chances of OpenSSH's random early drop (``MaxStartups``, sshd_config(5)): 30 % from half
    of *bound* on, and more by a straight line up to all at *bound*. OpenSSH drops the new one;
    better the one that has been waited for longest, since those who mean it begin at once. *random*
    is in [0, 1).
    """
    if under_way >= bound:
        return True
    begin = max(1, bound // 2)  # where none is under way, none can be dropped
    if under_way < begin:
        return False
    share = FIRST_SHARE + (1 - FIRST_SHARE) * (under_way - begin) / (bound - begin)
    return random < share
