"""The tables of states as a page of diagrams (Mermaid's state diagrams, which forges draw).

``python -m netd.daemon.state_diagrams`` prints what ``docs/states.md`` has.
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

What the daemon, its services and its workers are about, as `netdctl status` shows it. Each goes
where its diagram says and nowhere else: anything else would be an error in netd, which the log says
and which changes nothing. Events that change nothing are not drawn.
"""

_SECTIONS: Final[list[tuple[str, type[StrEnum], type[StrEnum], Table[Any, Any]]]] = [
    ("The daemon", DaemonState, DaemonEvent, DAEMON),
    ("A service", ServiceState, ServiceEvent, SERVICE),
    ("A worker's place", WorkerState, WorkerEvent, WORKER),
]


def page() -> str:
    """The page about all three."""
    return "\n".join([_HEAD, *(line for section in _SECTIONS for line in _section(*section))])


def diagram(states: type[StrEnum], table: Table[Any, Any]) -> Iterator[str]:
    """The lines of a diagram; the first of *states* is where it begins, the last where it ends."""
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
    said = of_members(of)
    yield f"| {head} | |\n| --- | --- |"
    for member in of:
        yield f"| {member} | {said[member.name]} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
