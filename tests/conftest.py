"""Options of the test run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what CONTRIBUTING.md tells of."""
    parser.addoption(
        "--long", action="store_true", help="let tests under load take as long as they should"
    )
