"""``netd.config.docstrings``: what the schema's source says about its keys."""

from __future__ import annotations

from enum import Enum

from netd.config.docstrings import docstrings, first_sentence, of_members, unwrapped
from netd.config.schema import IncludedFile, MainFile, Table


class Outer(Table):
    """A table for the tests below.

    It says more.
    """

    one: int = 1
    """What one is. And
    more of it.

    Another paragraph."""
    two: int = 2
    three: int = 3
    "Three."


class Inner(Outer):
    """A table that has all keys of another."""

    two: int = 2
    """Two, at last."""


class Colour(Enum):
    """An enumeration for the tests below."""

    RED = 1
    """As blood,
    or a rose."""
    BLUE = 2


class TestDocstrings:
    def test_are_under_their_keys(self) -> None:
        """One line a paragraph, and nothing for a key without."""
        assert docstrings(Outer) == {
            "one": "What one is. And more of it.\n\nAnother paragraph.",
            "three": "Three.",
        }

    def test_are_inherited(self) -> None:
        """With the table around them, and what it says itself wins."""
        assert docstrings(Inner) == {**docstrings(Outer), "two": "Two, at last."}
        assert docstrings(IncludedFile).items() < docstrings(MainFile).items()

    def test_of_members(self) -> None:
        """By their names in the source."""
        assert of_members(Colour) == {"RED": "As blood, or a rose."}


class TestFirstSentence:
    def test_goes_on_from_a_colon(self) -> None:
        """Without marks that only a page shows."""
        assert first_sentence("Where it listens, like `a`. On all.") == "where it listens, like a"
        assert first_sentence("All.\n\nMore. And more.") == "all"

    def test_of_nothing(self) -> None:
        """No key has such a docstring, but a message must not fail over it."""
        assert first_sentence("") == ""


def test_unwrapped_is_one_line_a_paragraph() -> None:
    """Editors break lines for themselves."""
    assert unwrapped("One\n    two\n\n    three\n    four\n    ") == "One two\n\nthree four"
