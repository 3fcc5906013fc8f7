"""The effective configuration as TOML, which can be read, and as JSON."""

from __future__ import annotations

import datetime
import json
import math
import tempfile
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.config.effective import Setting, settings
from netd.config.load import load, loaded
from netd.config.reference.json_schema import json_schema
from netd.config.secrets import HIDDEN
from netd.ctl.print_config import as_json, as_toml
from netd.model.service import Requested, Service
from tests.config.drawn import main_files
from tests.config.test_generated import CHARACTERS, document, scalars, unhurried

PLACE = ("conf/netd.toml", 12)

values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(CHARACTERS, max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def printed(*found: Setting) -> list[str]:
    """The lines below the head."""
    return as_toml(found, ["netd.toml"]).splitlines()[1:]


def at_once(service: Service) -> Service:
    """*service* as if the defaults that it has were its own."""
    both = {
        field.name: getattr(service.defaults, field.name)
        if getattr(service.own, field.name) is None
        else getattr(service.own, field.name)
        for field in fields(Requested)
    }
    return replace(service, own=Requested(**both), defaults=Requested(), written=frozenset())


class TestToml:
    def test_names_the_place_beside_each_value(self) -> None:
        """Where to look, or that nobody said it."""
        assert printed(
            Setting(("threads",), 50, PLACE),
            Setting(("user",), None, None),
            Setting(("backlog",), 1024, None),
            Setting(("group",), None, None),
        ) == [
            "",
            "threads = 50  # conf/netd.toml:12",
            "backlog = 1024  # default",
            "# Not set: user, group.",
        ]

    def test_has_headers_for_tables(self) -> None:
        """In quotes where a name needs them."""
        assert printed(
            Setting(("a",), 1, None),
            Setting(("services", "x.y", "a"), 1, None),
            Setting(("services", "x.y", "b"), {}, None),
            Setting(("services", "x.y", "access", "a"), 1, None),
        ) == [
            "",
            "a = 1  # default",
            "",
            '[services."x.y"]',
            "a = 1  # default",
            "b = {}  # default",
            "",
            '[services."x.y".access]',
            "a = 1  # default",
        ]

    def test_breaks_long_lists(self) -> None:
        """An address a line."""
        listen = [f"tcp:{port}:interface=127.0.0.1" for port in (10037, 10038, 10039)]
        assert printed(Setting(("listen",), [*listen], PLACE))[1:] == [
            "listen = [",
            *(f'    "{address}",' for address in listen),
            "]  # conf/netd.toml:12",
        ]

    def test_says_that_secrets_are_hidden(self) -> None:
        """At the head, for who feeds it to netd, and where they are."""
        text = as_toml([Setting(("password",), HIDDEN, PLACE, hidden=True)], ["a.toml", "b.toml"])
        assert text == (
            "# The effective configuration of a.toml, b.toml.\n"
            '# Secrets are hidden. Replace each "…" before netd reads this file.\n'
            "\n"
            'password = "…"  # conf/netd.toml:12, hidden\n'
        )

    @unhurried
    @given(st.text(CHARACTERS, max_size=3), st.text(CHARACTERS, max_size=3), values)
    def test_is_toml_whatever_the_values(self, table: str, key: str, value: Any) -> None:
        """What is read is what was printed, and a terminal is left alone."""
        text = as_toml([Setting((table, key), value, ("\x1b\n", 1))], ["\x1b\n"])
        assert tomllib.loads(text) == {table: {key: value}}
        assert text.replace("\n", "").isprintable()

    @unhurried
    @given(main_files, st.integers(0, 3))
    def test_loads_to_the_same_configuration(self, table: dict[str, Any], headers: int) -> None:
        """From another directory, and without the defaults that were put in place."""
        with tempfile.TemporaryDirectory() as directory:
            first = Path(directory) / "netd.toml"
            first.write_text(document(table, headers))
            found = loaded(str(first))
            every = settings(json_schema(), found.tables, found.configuration.locations)
            second = Path(directory) / "elsewhere" / "netd.toml"
            second.parent.mkdir()
            second.write_text(as_toml(every, found.files))
            again = load(str(second))
        for service, other in zip(found.configuration.services, again.services, strict=True):
            assert at_once(service) == at_once(other)
        assert again.graceful_timeout == found.configuration.graceful_timeout


class TestJson:
    def test_is_an_object_a_key(self) -> None:
        """With null where there is nothing to say."""
        found = [
            Setting(("services", "a.b", "threads"), 5, PLACE),
            Setting(("services", "a.b", "user"), None, None),
            Setting(("token",), HIDDEN, PLACE, hidden=True),
        ]
        place = {"file": "conf/netd.toml", "line": 12}
        assert json.loads(as_json(found)) == [
            {"key": 'services."a.b".threads', "value": 5, **place, "hidden": False},
            {"key": 'services."a.b".user', "value": None, "file": None, "line": None,
             "hidden": False},
            {"key": "token", "value": HIDDEN, **place, "hidden": True},
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (datetime.date(2026, 1, 2), "2026-01-02"),
            ([{"a": datetime.time(12, 30)}], [{"a": "12:30:00"}]),
            (math.inf, "inf"),
            ({"a": [math.nan]}, {"a": ["nan"]}),
        ],
    )
    def test_has_what_json_lacks_as_text(self, value: Any, expected: Any) -> None:
        """Dates and infinities of a handler's options, as the file has them."""
        (found,) = json.loads(as_json([Setting(("a",), value, None)]))
        assert found["value"] == expected
