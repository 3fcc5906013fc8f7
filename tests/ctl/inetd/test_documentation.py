"""``docs/coming-from-inetd.md`` says what the code does: its tables are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from netd.config.known import has_key
from netd.config.schema import ServiceTable
from netd.ctl.inetd.attributes import ATTRIBUTES
from netd.ctl.inetd.inetd import FIELDS

PAGE = Path(__file__).parents[3] / "docs" / "coming-from-inetd.md"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def test_has_every_attribute_of_xinetd() -> None:
    """With what becomes of it, in the order of the code."""
    rows = [
        row(f"`{name}`", attribute.becomes or "nothing", attribute.note)
        for name, attribute in ATTRIBUTES.items()
    ]
    assert "\n".join(rows) in PAGE.read_text()


def test_has_every_field_of_inetd() -> None:
    """With what becomes of it, in the order of a line."""
    rows = [row(field.name, field.becomes, field.note) for field in FIELDS]
    assert "\n".join(rows) in PAGE.read_text()


def test_names_the_keys_that_netd_does_not_have_yet() -> None:
    """All of those in the tables, as the schema has it, and no others."""
    of_xinetd = [attribute.becomes for attribute in ATTRIBUTES.values()]
    text = " ".join([*of_xinetd, *(field.becomes for field in FIELDS)])
    written = dict.fromkeys(re.findall(r"`([a-z_]+\.[A-Za-z_]+)`", text))
    lacking = [key for key in written if not has_key(ServiceTable, key.split("."))]
    said = re.search(r"This version does not have (.*?)\.\n", PAGE.read_text(), re.DOTALL)
    assert lacking == ([] if said is None else re.findall("`(.*?)`", said[1]))
