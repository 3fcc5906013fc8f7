"""A lifecycle that is declared as a table, and what is somewhere in it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Generic, TypeVar

from twisted.logger import Logger

log = Logger()

CALLERS: Final = 6
"""Frames that are logged of an error."""

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)

Table = Mapping[S, Mapping[E, S]]
"""For each state, what can happen in it, and which state that leads to."""


class Lifecycle(Generic[S, E]):
    """Keeps the *state* of *what*, which goes where *table* says and nowhere else."""

    def __init__(self, what: str, table: Table[S, E], state: S) -> None:
        self.state = state
        self._what = what
        self._table = table

    def may(self, event: E) -> bool:
        """Whether *event* can happen now."""
        return event in self._table[self.state]

    def on(self, event: E) -> bool:
        """*event* has happened; whether it could.

        If not, that is an error of netd's own: it is logged, and the state stays what it is.
        """
        if self.may(event):
            self.state = self._table[self.state][event]
            return True
        callers = "".join(traceback.format_stack(limit=CALLERS + 1)[:-1])
        text = "{what}: {event} while {state}, which is an error in netd; it is left out\n{callers}"
        said = {"event": event.value, "state": self.state.value, "callers": callers}
        log.critical(text, what=self._what, **said)
        return False
