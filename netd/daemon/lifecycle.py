"""A lifecycle that a table declares, and its present state."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Generic, TypeVar

from twisted.logger import Logger

log = Logger()

CALLERS: Final = 6
"""Frames that are logged with an error."""

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)

Table = Mapping[S, Mapping[E, S]]
"""For each state the events that can happen in it, and the state that each leads to."""


class Lifecycle(Generic[S, E]):
    """Keeps the *state* of *what*, which changes only as *table* allows."""

    def __init__(self, what: str, table: Table[S, E], state: S) -> None:
        self.state = state
        self._what = what
        self._table = table

    def may(self, event: E) -> bool:
        """Whether *event* can happen now."""
        return event in self._table[self.state]

    def on(self, event: E) -> bool:
        """Record *event*. Return whether it could happen.

        If not, that is a bug of netd's: it is logged with its callers, and the state stays. Raising
        instead would end whatever the caller does, such as a stop, half done.
        """
        if self.may(event):
            self.state = self._table[self.state][event]
            return True
        # The event alone does not tell which of several callers was wrong.
        callers = "".join(traceback.format_stack(limit=CALLERS + 1)[:-1])
        log.critical(
            "{what}: {event} while {state}, which is an error in netd; it is ignored\n{callers}",
            what=self._what,
            event=event.value,
            state=self.state.value,
            callers=callers,
        )
        return False
