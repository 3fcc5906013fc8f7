"""``netd.daemon.states``: the table, all of it, and what follows from it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.daemon.states import TRANSITIONS, Event, Illegal, State, after

LEADS_TO = {
    State.EMPTY: {Event.START: State.STARTING, Event.DRAIN: State.CLOSED},
    State.STARTING: {
        Event.READY: State.SERVING,
        Event.DIED: State.WAITING,
        Event.DRAIN: State.DRAINING,
    },
    State.SERVING: {Event.DIED: State.WAITING, Event.DRAIN: State.DRAINING},
    State.WAITING: {Event.START: State.STARTING, Event.DRAIN: State.CLOSED},
    State.DRAINING: {
        Event.READY: State.DRAINING,
        Event.DRAIN: State.DRAINING,
        Event.DIED: State.CLOSED,
    },
    State.CLOSED: {Event.DRAIN: State.CLOSED},
}
LEGAL = [(state, event, to) for state, events in LEADS_TO.items() for event, to in events.items()]
ILLEGAL = [
    (state, event)
    for state, event in itertools.product(State, Event)
    if event not in LEADS_TO[state]
]

WITH_A_PROCESS = {State.STARTING, State.SERVING, State.DRAINING}
LEAVING = {State.DRAINING, State.CLOSED}


def walked(events: list[Event]) -> list[State]:
    """The states that a place goes through; what is illegal changes nothing."""
    path = [State.EMPTY]
    for event in events:
        try:
            path.append(after(path[-1], event))
        except Illegal:
            path.append(path[-1])
    return path


class TestTable:
    @pytest.mark.parametrize(("state", "event", "to"), LEGAL)
    def test_leads_to(self, state: State, event: Event, to: State) -> None:
        """What can happen in a state leads where the design says."""
        assert after(state, event) is to

    @pytest.mark.parametrize(("state", "event"), ILLEGAL)
    def test_illegal(self, state: State, event: Event) -> None:
        """What cannot happen in a state is an error that names both."""
        with pytest.raises(Illegal, match=f"^{event.value} while {state.value}$"):
            after(state, event)

    def test_has_nothing_else(self) -> None:
        """The tests above have seen every row."""
        assert len(TRANSITIONS) == len(LEGAL)


class TestWalk:
    @given(st.lists(st.sampled_from(Event)))
    def test_every_place_can_be_closed(self, events: list[Event]) -> None:
        """Wherever a walk ends, a drain closes the place, once the process has gone."""
        state = after(walked(events)[-1], Event.DRAIN)
        if state is State.DRAINING:
            state = after(state, Event.DIED)
        assert state is State.CLOSED

    @given(st.lists(st.sampled_from(Event)))
    def test_who_leaves_does_not_come_back(self, events: list[Event]) -> None:
        """A place that drains or is closed never serves or starts anything again."""
        path = walked(events)
        leaves = next((n for n, state in enumerate(path) if state in LEAVING), len(path))
        assert set(path[leaves:]) <= LEAVING

    @given(st.lists(st.sampled_from(Event)))
    def test_only_what_runs_can_die(self, events: list[Event]) -> None:
        """A death is legal exactly where there is a process."""
        state = walked(events)[-1]
        assert ((state, Event.DIED) in TRANSITIONS) == (state in WITH_A_PROCESS)

    @given(st.lists(st.sampled_from(Event)))
    def test_one_process_at_a_time(self, events: list[Event]) -> None:
        """A place that has a process never starts another one."""
        path = walked(events)
        for before, later, event in zip(path, path[1:], events, strict=False):
            if event is Event.START and before in WITH_A_PROCESS:
                assert later is before
