"""The tables of states as a page of state diagrams, in Mermaid, which GitHub and GitLab draw.

``python -m netd.daemon.state_diagrams`` prints ``docs/states.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

from netd.config.docstrings import of_members
from netd.daemon.lifecycle import Table
from netd.daemon.states import (
    DAEMON,
    SERVICE,
    WORKER,
    DaemonEvent,
    DaemonState,
    ServiceEvent,
    ServiceState,
    WorkerEvent,
    WorkerState,
)

_HEAD: Final = """\
# States

<!-- Made by "python -m netd.daemon.state_diagrams" from netd/daemon/states.py. -->

The states of the daemon, of its services and of their workers, as `netdctl status` shows them. A
state changes only as its diagram shows. netd logs any other event as an error of its own and
ignores it. Events that do not change the state are not drawn.
"""

_SECTIONS: Final[list[tuple[str, type[StrEnum], type[StrEnum], Table[Any, Any]]]] = [
    ("The daemon", DaemonState, DaemonEvent, DAEMON),
    ("A service", ServiceState, ServiceEvent, SERVICE),
    ("A worker", WorkerState, WorkerEvent, WORKER),
]


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(line for section in _SECTIONS for line in _section(*section))])


def diagram(states: type[StrEnum], table: Table[Any, Any]) -> Iterator[str]:
    """The lines of a diagram, which begins in the first of *states* and ends in the last."""
    first, *_, last = states
    yield "stateDiagram-v2"
    yield f"    [*] --> {first}"
    for state, row in table.items():
        targets: dict[StrEnum, list[str]] = {}
        for event, to in row.items():
            if to is not state:
                targets.setdefault(to, []).append(event)
        for to, events in targets.items():
            yield f"    {state} --> {to}: {', '.join(events)}"
    yield f"    {last} --> [*]"


def _section(
    title: str, states: type[StrEnum], events: type[StrEnum], table: Table[Any, Any]
) -> Iterator[str]:
    yield f"## {title}\n\n{states.__doc__}\n"
    yield from ["```mermaid", *diagram(states, table), "```", ""]
    yield from _meanings("state", states)
    yield from _meanings("event", events)


def _meanings(head: str, of: type[StrEnum]) -> Iterator[str]:
    meanings = of_members(of)
    yield f"| {head} | |\n| --- | --- |"
    for member in of:
        yield f"| {member} | {meanings[member.name]} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
