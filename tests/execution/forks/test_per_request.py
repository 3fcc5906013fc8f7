"""What is pure of it. Real forks are for ``tests/integration``."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netd.execution.forks.output import LONGEST_PACKET, packets


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_fits_is_one_packet(text: str) -> None:
    assert packets(text + "\n") == [f"{text}\n".encode()]


def test_what_does_not_is_cut_into_lines() -> None:
    """Each as long as a packet may be, of whole characters, with an end of its own."""
    for letter in ("x", "\N{SNOWMAN}", "\N{SNAKE}"):
        text = letter * (2 * LONGEST_PACKET)
        found = packets(text + "\n")
        assert len(found) > 1
        assert max(map(len, found)) <= LONGEST_PACKET
        assert all(packet.endswith(b"\n") for packet in found)
        assert "".join(packet.decode().rstrip("\n") for packet in found) == text


def test_what_cannot_be_said_in_utf_8() -> None:
    """A lone surrogate, as file names have them, is replaced."""
    assert packets("\udcff\n") == [b"?\n"]
