"""The life of a worker's place, as a table."""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """What there is in a worker's place."""

    EMPTY = "empty"
    STARTING = "starting"
    """A process that has not said it is ready."""
    SERVING = "serving"
    WAITING = "waiting"
    """No process, until the delay before the next one is over."""
    DRAINING = "draining"
    """A process that takes nothing more and finishes what it has."""
    CLOSED = "closed"
    """No process, and there will be none."""


class Event(Enum):
    """What can happen to it."""

    START = "start"
    READY = "ready"
    DIED = "died"
    DRAIN = "drain"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.EMPTY, Event.START): State.STARTING,
    (State.EMPTY, Event.DRAIN): State.CLOSED,
    (State.STARTING, Event.READY): State.SERVING,
    (State.STARTING, Event.DIED): State.WAITING,
    (State.STARTING, Event.DRAIN): State.DRAINING,
    (State.SERVING, Event.DIED): State.WAITING,
    (State.SERVING, Event.DRAIN): State.DRAINING,
    (State.WAITING, Event.START): State.STARTING,
    (State.WAITING, Event.DRAIN): State.CLOSED,
    # A worker told to drain while it starts says "ready" all the same.
    (State.DRAINING, Event.READY): State.DRAINING,
    (State.DRAINING, Event.DRAIN): State.DRAINING,
    (State.DRAINING, Event.DIED): State.CLOSED,
    (State.CLOSED, Event.DRAIN): State.CLOSED,
}


class Illegal(Exception):
    """Something happened that cannot happen in this state: an error of netd's own."""


def after(state: State, event: Event) -> State:
    """The state that *event* leads to. Raises Illegal."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Illegal(f"{event.value} while {state.value}") from None
