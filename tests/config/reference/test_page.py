"""``netd.config.reference.page``: the page that is made from the schema."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from netd.config.load import load
from netd.config.reference.json_schema import json_schema, kinds
from netd.config.reference.page import reference

PAGE: Final = Path(__file__).parents[3] / "docs" / "configuration.md"

KINDS: Final = {"duration": {"description": "Seconds.", "examples": ["5s", 5]}}


def rows(**properties: Any) -> list[str]:
    """The rows of a page about one table with these keys."""
    schema = {"description": "All.", "properties": properties, "$defs": {}}
    page = reference(schema, KINDS)
    return [line for line in page.splitlines() if line.startswith("| `")]


class TestPage:
    def test_is_shipped_as_it_is(self) -> None:
        """``python -m netd.config.reference.page > docs/configuration.md`` makes it."""
        assert PAGE.read_text() == reference(json_schema(), kinds())

    def test_has_links_that_lead_somewhere(self) -> None:
        """To the section of a table, and to the kind of a value."""
        text = PAGE.read_text()
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
        anchors.update(re.findall(r'<a id="(.*?)">', text))
        links = set(re.findall(r"\]\(#(.*?)\)", text))
        assert links
        assert links <= anchors

    def test_has_examples_that_netd_takes(self, tmp_path: Path) -> None:
        """Whoever copies one has a configuration."""
        examples = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        assert examples
        for example in examples:
            (tmp_path / "netd.toml").write_text(example)
            assert len(load(str(tmp_path / "netd.toml")).services) == 1

    def test_has_defaults_as_they_are_written(self) -> None:
        """As TOML, so that they can be copied, too."""
        for default in re.findall(
            r"^\| \S+ \| [^|]* \| `([^|]*)` \|", PAGE.read_text(), re.MULTILINE
        ):
            tomllib.loads(f"key = {default}")


def test_a_table_speaks_for_itself() -> None:
    """What its key says of it stands in the row."""
    schema = {
        "description": "All.",
        "properties": {"inner": {"$ref": "#/$defs/Inner", "description": "Of the key."}},
        "$defs": {"Inner": {"type": "object", "description": "Of the table.", "properties": {}}},
    }
    page = reference(schema, KINDS)
    assert "| [`inner`](#inner) | table |  | Of the key. |" in page
    assert "## `[inner]`\n\nOf the table.\n" in page


class TestRow:
    @pytest.mark.parametrize(
        ("shape", "kind"),
        [
            ({"type": "boolean"}, "true or false"),
            ({"type": "string"}, "string"),
            ({"type": "object"}, "table"),
            ({"type": "number"}, "number"),
            ({"type": "integer"}, "whole number"),
            ({"type": "integer", "minimum": 0}, "whole number from 0"),
            ({"type": "integer", "minimum": -20, "maximum": 19}, "whole number from -20 to 19"),
            ({"enum": ["a", "b"]}, '`"a"`, `"b"`'),
            ({"const": "a"}, '`"a"`'),
            ({"type": "array", "items": {"type": "string"}}, "list of string"),
            ({"title": "duration"}, "[duration](#duration)"),
            ({"anyOf": [{"const": False}, {"title": "duration"}]},
             "`false` or [duration](#duration)"),
        ],
    )  # fmt: skip
    def test_says_what_can_be_written(self, shape: dict[str, Any], kind: str) -> None:
        """Whatever somebody adds to the schema."""
        assert rows(key={"description": "Why.", **shape}) == [f"| `key` | {kind} |  | Why. |"]

    def test_is_one_row(self) -> None:
        """Whatever is in the docstring or the default."""
        shape = {"type": "string", "description": "a | b\n\nc", "default": "|"}
        assert rows(key=shape) == ['| `key` | string | `"\\|"` | a \\| b c |']

    def test_leaves_to_the_kind_how_it_is_written(self) -> None:
        """Which the link leads to; an editor has no links and is told both."""
        shape = {"title": "duration", "description": "Why.\n\nSeconds."}
        assert rows(key=shape) == ["| `key` | [duration](#duration) |  | Why. |"]
