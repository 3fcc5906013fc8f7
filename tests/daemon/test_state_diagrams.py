"""``netd.daemon.state_diagrams``: the page that is made from the tables."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from netd.daemon.lifecycle import Table
from netd.daemon.state_diagrams import diagram, page

PAGE: Final = Path(__file__).parents[2] / "docs" / "states.md"


class Door(StrEnum):
    OPEN = "open"
    SHUT = "shut"
    GONE = "gone"


class Event(StrEnum):
    PUSH = "push"
    PULL = "pull"
    BURN = "burn"


TABLE: Table[Door, Event] = {
    Door.OPEN: {
        Event.PUSH: Door.SHUT,
        Event.PULL: Door.SHUT,
        Event.BURN: Door.GONE,
    },
    Door.SHUT: {Event.PUSH: Door.SHUT, Event.PULL: Door.OPEN},
    Door.GONE: {},
}


def test_is_shipped_as_it_is() -> None:
    """``python -m netd.daemon.state_diagrams > docs/states.md`` makes it."""
    assert PAGE.read_text() == page()


def test_draws_what_changes_something() -> None:
    """One arrow for all events that lead the same way, and none for those that lead nowhere."""
    assert list(diagram(Door, TABLE)) == [
        "stateDiagram-v2",
        "    [*] --> open",
        "    open --> shut: push, pull",
        "    open --> gone: burn",
        "    shut --> open: pull",
        "    gone --> [*]",
    ]
