"""``netd.model.environment``: what two of them differ by."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from netd.model.environment import INHERITED, ExecutionEnvironment, Limit, difference

OTHER = ExecutionEnvironment(0o27, 5, "/srv", (("TZ", "UTC"),), (Limit("core", 0, 0),))


def test_no_difference() -> None:
    """Equal ones can be those of one process."""
    assert difference(INHERITED, ExecutionEnvironment()) is None
    assert difference(OTHER, replace(OTHER)) is None


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("umask", "umask"),
        ("nice", "nice"),
        ("working_directory", "working_directory"),
        ("variables", "environment"),
        ("limits", "rlimits"),
    ],
)
def test_difference(field: str, key: str) -> None:
    """It is told by the key of the service that makes it."""
    changed: dict[str, Any] = {field: getattr(OTHER, field)}
    assert difference(INHERITED, replace(INHERITED, **changed)) == key


def test_every_field() -> None:
    """No field is left out, for each makes a difference when it is the only one."""
    for field in fields(ExecutionEnvironment):
        changed: dict[str, Any] = {field.name: getattr(OTHER, field.name)}
        assert difference(INHERITED, replace(INHERITED, **changed)) is not None
