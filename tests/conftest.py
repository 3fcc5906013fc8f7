"""Options of the test run."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.faults.reporting import FIGURES


def pytest_configure() -> None:
    """Let programs find signals as a shell in the foreground would leave them.

    Whoever runs the tests in the background, or by nohup, has them ignored, and what is ignored
    stays so in every program (execve(2)).
    """
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    for number, handler in usual.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what CONTRIBUTING.md tells of."""
    parser.addoption(
        "--long", action="store_true", help="let tests under load take as long as they should"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests under load have found (tests/faults)."""
    lines = [
        line
        for results in terminalreporter.stats.values()
        for result in results
        if getattr(result, "when", None) == "call"
        for name, line in result.user_properties
        if name == FIGURES
    ]
    if lines:
        terminalreporter.section("nothing lost")
        for line in lines:
            terminalreporter.write_line(line)
