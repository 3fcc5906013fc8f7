"""``netd.daemon.lifecycle``: what a table allows happens, and nothing else."""

from __future__ import annotations

from enum import StrEnum

import pytest
from twisted.logger import capturedLogs

from netd.daemon.lifecycle import Lifecycle, Table
from tests.daemon.fakes import texts


class Light(StrEnum):
    ON = "on"
    OFF = "off"


class Hand(StrEnum):
    PRESS = "press"
    WAIT = "wait"


TABLE: Table[Light, Hand] = {
    Light.OFF: {Hand.PRESS: Light.ON},
    Light.ON: {Hand.PRESS: Light.OFF, Hand.WAIT: Light.ON},
}


@pytest.fixture
def lamp() -> Lifecycle[Light, Hand]:
    """One that is off."""
    return Lifecycle("the lamp", TABLE, Light.OFF)


def test_goes_where_the_table_says(lamp: Lifecycle[Light, Hand]) -> None:
    """From state to state."""
    seen = [lamp.state]
    for event in (Hand.PRESS, Hand.WAIT, Hand.PRESS):
        assert lamp.may(event)
        assert lamp.on(event)
        seen.append(lamp.state)
    assert seen == [Light.OFF, Light.ON, Light.ON, Light.OFF]


def test_goes_nowhere_else(lamp: Lifecycle[Light, Hand]) -> None:
    """An event that cannot happen is logged with its callers, and ignored."""
    assert not lamp.may(Hand.WAIT)
    with capturedLogs() as events:
        assert not lamp.on(Hand.WAIT)
    assert lamp.state is Light.OFF
    (said,) = texts(events)
    assert said.startswith("critical: the lamp: wait while off, which is an error in netd; it is")
    assert "test_goes_nowhere_else" in said
