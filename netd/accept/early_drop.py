"""When a pending connection is dropped because there are too many. Pure."""

from __future__ import annotations

from typing import Final

FIRST_SHARE: Final = 0.3
"""The share of new connections for which another one is dropped, from half of the bound on; as in
OpenSSH's ``MaxStartups 10:30:100``."""


def drops_early(under_way: int, bound: int, random: float) -> bool:
    """Whether a pending connection is dropped for a new one, while *under_way* are pending.

    The chances are those of OpenSSH's random early drop (``MaxStartups``, sshd_config(5)): 30 % at
    half of *bound*, and in a straight line from there to 100 % at *bound*. OpenSSH drops the new
    connection. The caller drops the oldest, because genuine clients finish within one round trip.
    *random* is in [0, 1).
    """
    if under_way >= bound:
        return True
    begin = max(1, bound // 2)  # where none is pending, none can be dropped
    if under_way < begin:
        return False
    share = FIRST_SHARE + (1 - FIRST_SHARE) * (under_way - begin) / (bound - begin)
    return random < share
