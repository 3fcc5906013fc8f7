"""``netd.model.log``: levels and their order."""

from __future__ import annotations

import pytest
from twisted.logger import LogLevel

from netd.model.log import LEVELS, Level, is_enabled


def test_the_levels_are_twisted_s() -> None:
    """By name and in their order, so that an event's level is one of the log."""
    assert [LogLevel.lookupByName(name) for name in LEVELS] == list(LogLevel.iterconstants())


@pytest.mark.parametrize("least", LEVELS)
def test_a_level_is_reached_by_itself_and_all_above(least: Level) -> None:
    """And by none below."""
    reaching = [level for level in LEVELS if is_enabled(level, least)]
    assert reaching == list(LEVELS[LEVELS.index(least) :])
