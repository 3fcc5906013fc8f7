"""``netd.config.known``: which keys a table can have."""

from __future__ import annotations

import pytest

from netd.config.known import has_key
from netd.config.schema import MainFile, ServiceTable


class TestHasKey:
    @pytest.mark.parametrize(
        "key",
        [
            "listen",
            "access",
            "access.deny",
            "rlimits.as",
            "rlimits.RLIMIT_AS",
            "proxy_protocol.from",
            "options.anything",
            "options.anything.below",
            "environment.PATH",
        ],
    )
    def test_a_key_by_any_of_its_names(self, key: str) -> None:
        """In the service, in a table of it, or in one whose keys are free."""
        assert has_key(ServiceTable, key.split("."))

    @pytest.mark.parametrize(
        "key",
        ["", "services", "access.denied", "rlimits.as_", "proxy_protocol.from_", "user.name",
         "listen.0"],
    )  # fmt: skip
    def test_nothing_else(self, key: str) -> None:
        """The names of Python's fields, and keys below what is no table, among it."""
        assert not has_key(ServiceTable, key.split("."))

    def test_of_any_table(self) -> None:
        """The main file is one, too."""
        assert has_key(MainFile, ["log", "level"])
        assert not has_key(MainFile, ["log", "levels"])
