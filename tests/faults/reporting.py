"""What the proof has found, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

FIGURES: Final = "figures"
"""The name that they have in a test's result, by which they come to whoever prints the report."""


class Report:
    """Collects the figures of one test, in lines that *add* keeps."""

    def __init__(self, name: str, add: Callable[[str], None]) -> None:
        self._name = name
        self._add = add

    def say(self, **figures: object) -> None:
        """Add a line."""
        text = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in figures.items())
        self._add(f"{self._name}: {text}")


class Progress:
    """How far a test is; *show* is given the share that is done, and what there is to say."""

    def __init__(self, show: Callable[[float, str], None] | None) -> None:
        self._show = show

    def at(self, done: float, of: float, text: str = "") -> None:
        """So much is done of so much."""
        if self._show is not None:
            self._show(min(1.0, done / of), text)

    @classmethod
    @contextmanager
    def shown(cls, name: str, terminal: TextIO) -> Iterator[Progress]:
        """A bar on *terminal*; nothing where Rich is not installed."""
        try:
            from rich.console import Console
            from rich.progress import Progress as Bar
        except ImportError:
            yield cls(None)
            return
        with Bar(console=Console(file=terminal)) as bar:
            task = bar.add_task(name, total=1.0)

            def show(share: float, text: str) -> None:
                bar.update(task, completed=share, description=f"{name} {text}")

            yield cls(show)
