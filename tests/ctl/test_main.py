"""``netdctl``: what it costs to start, and its help."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from netd.ctl.main import main

_SLOW = ("pydantic", "twisted", "OpenSSL", "cryptography", "http.client")


def test_starts_without_what_only_some_commands_need() -> None:
    """An operator waits for each command, and these packages take half a second to import."""
    code = f"import sys, netd.ctl.main; print([name for name in {_SLOW} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_help_begins_with_one_sentence(name: str) -> None:
    """``netdctl --help`` shows the first sentence of each command, and does not cut it."""
    command = main.commands[name]
    summary = command.get_short_help_str(limit=200)
    assert isinstance(command, click.Command)
    assert summary.endswith(".")
    assert len(summary) <= 60
