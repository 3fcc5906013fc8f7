"""``docs/coming-from-inetd.md`` says what the code does: its tables are the code's."""

from __future__ import annotations

from pathlib import Path

from netd.inetd.attributes import ATTRIBUTES
from netd.inetd.inetd import FIELDS

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-inetd.md"


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
