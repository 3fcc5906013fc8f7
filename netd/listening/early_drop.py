"""Which new connections are turned away while too many have not begun to be served."""

from __future__ import annotations

from typing import Final

FIRST_SHARE: Final = 0.3
"""Of the new ones that are turned away at the beginning, as OpenSSH's ``MaxStartups 10:30:100``."""


def drops_early(under_way: int, bound: int, random: float) -> bool:
    """Whether a new connection is turned away while *under_way* others have not begun.

    OpenSSH's random early drop (``MaxStartups``, sshd_config(5)): 30 % from half of *bound* on,
    and more by a straight line up to all at *bound*. So a flood of silent clients takes its
    places from itself, and an honest one gets in at its second or third try. *random* is in
    [0, 1).
    """
    if under_way >= bound:
        return True
    begin = bound // 2
    if under_way < begin:
        return False
    share = FIRST_SHARE + (1 - FIRST_SHARE) * (under_way - begin) / (bound - begin)
    return random < share
