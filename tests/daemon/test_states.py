"""``netd.daemon.states``: what follows from the tables, whatever happens in which order."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.daemon.lifecycle import Table
from netd.daemon.states import (
    DAEMON,
    NOT_ACCEPTING,
    SERVICE,
    WORKER,
    DaemonEvent,
    DaemonState,
    ServiceEvent,
    ServiceState,
    WorkerEvent,
    WorkerState,
)

TABLES: Final[list[tuple[type[StrEnum], type[StrEnum], Table[Any, Any], StrEnum, StrEnum]]] = [
    (WorkerState, WorkerEvent, WORKER, WorkerState.NEW, WorkerState.CLOSED),
    (ServiceState, ServiceEvent, SERVICE, ServiceState.STARTING, ServiceState.STOPPED),
    (DaemonState, DaemonEvent, DAEMON, DaemonState.BOUND, DaemonState.STOPPED),
]
"""States, events, the table, its first and its last state."""

WITH_A_PROCESS: Final = {WorkerState.STARTING, WorkerState.SERVING, WorkerState.DRAINING}


def walked(table: Table[Any, Any], state: Any, events: Iterable[StrEnum]) -> list[Any]:
    """The states along *events*; an event that cannot happen changes nothing."""
    path = [state]
    for event in events:
        path.append(table[path[-1]].get(event, path[-1]))
    return path


def reached(table: Table[Any, Any], *states: Any) -> set[Any]:
    """All states that can follow *states*, with these."""
    found: set[Any] = set()
    new = set(states)
    while new:
        found |= new
        new = {to for state in new for to in table[state].values()} - found
    return found


@pytest.mark.parametrize(("states", "events", "table", "first", "last"), TABLES)
class TestAll:
    def test_speak_of_all_states_and_events(
        self, states: Any, events: Any, table: Table[Any, Any], first: StrEnum, last: StrEnum
    ) -> None:
        """None is there for nothing."""
        assert set(table) == set(states)
        assert {event for row in table.values() for event in row} == set(events)

    def test_reach_all_states(
        self, states: Any, events: Any, table: Table[Any, Any], first: StrEnum, last: StrEnum
    ) -> None:
        """From the first, and the last from all."""
        assert reached(table, first) == set(states)
        assert all(last in reached(table, state) for state in states)

    def test_end_for_good(
        self, states: Any, events: Any, table: Table[Any, Any], first: StrEnum, last: StrEnum
    ) -> None:
        """What has come to its end stays there."""
        assert reached(table, last) == {last}


class TestWorker:
    @given(st.lists(st.sampled_from(WorkerEvent)))
    def test_every_worker_can_be_closed(self, events: list[WorkerEvent]) -> None:
        """From every state a drain closes the worker, once its process has ended."""
        state = WORKER[walked(WORKER, WorkerState.NEW, events)[-1]][WorkerEvent.DRAIN]
        if state is WorkerState.DRAINING:
            state = WORKER[state][WorkerEvent.EXITED]
        assert state is WorkerState.CLOSED

    def test_draining_is_final(self) -> None:
        """A draining or closed worker never serves or starts again."""
        leaving = {WorkerState.DRAINING, WorkerState.CLOSED}
        assert reached(WORKER, *leaving) == leaving

    def test_only_what_runs_can_die(self) -> None:
        """A death is possible exactly where there is a process."""
        assert {state for state in WorkerState if WorkerEvent.EXITED in WORKER[state]} == (
            WITH_A_PROCESS
        )

    def test_one_process_at_a_time(self) -> None:
        """A worker that has a process never starts another one."""
        assert not any(WorkerEvent.START in WORKER[state] for state in WITH_A_PROCESS)


class TestService:
    @given(st.lists(st.sampled_from(ServiceEvent)))
    def test_only_resume_ends_a_suspension(self, events: list[ServiceEvent]) -> None:
        """Workers may die and come up as often as they like."""
        path = walked(SERVICE, ServiceState.STARTING, events)
        for before, event, after in zip(path, events, path[1:], strict=False):
            if before in NOT_ACCEPTING and after not in NOT_ACCEPTING:
                assert event in (ServiceEvent.RESUME, ServiceEvent.DRAIN)

    @pytest.mark.parametrize("state", ServiceState)
    def test_accepts_commands_in_every_state(self, state: ServiceState) -> None:
        """An administrator does not know the state when he sends a command."""
        told = {ServiceEvent.SUSPEND, ServiceEvent.RESUME, ServiceEvent.DRAIN}
        assert told <= SERVICE[state].keys()

    def test_draining_is_final(self) -> None:
        """Another generation does."""
        leaving = {ServiceState.DRAINING, ServiceState.STOPPED}
        assert reached(SERVICE, *leaving) == leaving


class TestDaemon:
    @pytest.mark.parametrize("event", [DaemonEvent.RELOAD, DaemonEvent.UPGRADE])
    def test_one_change_at_a_time(self, event: DaemonEvent) -> None:
        """And none on the way out."""
        allowed = {state for state in DaemonState if event in DAEMON[state]}
        assert allowed == {DaemonState.STARTING, DaemonState.RUNNING}

    def test_can_always_be_stopped(self) -> None:
        """From its start to its stop."""
        cannot = {state for state in DaemonState if DaemonEvent.STOP not in DAEMON[state]}
        assert cannot == {DaemonState.BOUND, DaemonState.STOPPING, DaemonState.STOPPED}

    def test_a_stop_is_final(self) -> None:
        """Whatever was under way ends as it likes."""
        leaving = {DaemonState.DELAYING, DaemonState.STOPPING, DaemonState.STOPPED}
        assert reached(DAEMON, *leaving) == leaving
