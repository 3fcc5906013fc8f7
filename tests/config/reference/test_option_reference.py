"""``netd.config.reference.option_reference``: the table of socket options for people."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Final

import pytest

from netd.config.load import load
from netd.config.reference.option_reference import as_json, as_lines, page
from netd.listening.options.table import IMPOSSIBLE, OPTIONS, Level, Option

PAGE: Final = Path(__file__).parents[3] / "docs" / "socket-options.md"

PREFIXES: Final = ("SO_", "IP_", "IPV6_", "TCP_")


class TestPage:
    def test_is_shipped_as_it_is(self) -> None:
        """``python -m netd.config.reference.option_reference`` makes the page."""
        assert PAGE.read_text() == page()

    def test_has_an_example_that_netd_takes(self, tmp_path: Path) -> None:
        """Whoever copies it has a configuration."""
        (example,) = re.findall(r"^```toml\n(.*?)^```$", page(), re.MULTILINE | re.DOTALL)
        (tmp_path / "netd.toml").write_text(example)
        (service,) = load(str(tmp_path / "netd.toml")).services
        assert len(service.socket) == 4

    def test_has_rows_of_the_table_s_width(self) -> None:
        rows = [line for line in page().splitlines() if line.startswith("| `SO_")]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6, 3}


def test_lines() -> None:
    """One for each option, and their heads."""
    head, *lines = as_lines(OPTIONS.values()).splitlines()
    assert head.split() == ["OPTION", "LEVEL", "VALUE", "FOR", "SET", "MEANING"]
    assert [line.split()[0] for line in lines] == list(OPTIONS)


def test_json() -> None:
    """What a program needs to know of an option."""
    (found,) = json.loads(as_json([OPTIONS["SO_KEEPALIVE"]]))
    assert found == {
        "name": "SO_KEEPALIVE",
        "level": "SOL_SOCKET",
        "number": 9,
        "value": "true or false",
        "examples": [True],
        "for": "tcp",
        "set": "on the listener",
        "meaning": OPTIONS["SO_KEEPALIVE"].meaning,
        "source": "socket(7)",
    }


class TestTable:
    @pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
    def test_has_the_system_s_numbers(self, option: Option) -> None:
        """Wherever Python's ``socket`` has the name."""
        assert getattr(socket, option.name, option.number) == option.number
        assert getattr(socket, option.level.name, option.level) == option.level

    def test_has_whatever_python_has(self) -> None:
        """Or says why not."""
        named = {name for name in dir(socket) if name.startswith(PREFIXES)}
        assert named <= {*OPTIONS, *IMPOSSIBLE}

    def test_has_each_once(self) -> None:
        """Two names of one option say so."""
        assert OPTIONS.keys().isdisjoint(IMPOSSIBLE)
        numbers: dict[tuple[Level, int], list[str]] = {}
        for option in OPTIONS.values():
            numbers.setdefault((option.level, option.number), []).append(option.name)
        assert [names for names in numbers.values() if len(names) > 1] == [
            ["IP_RECVRETOPTS", "IP_RETOPTS"],
            ["IPV6_JOIN_GROUP", "IPV6_ADD_MEMBERSHIP"],
            ["IPV6_LEAVE_GROUP", "IPV6_DROP_MEMBERSHIP"],
        ]

    @pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
    def test_speaks_in_sentences(self, option: Option) -> None:
        assert option.meaning.endswith(".")
        assert option.source
