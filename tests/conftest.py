"""Options of the test run: which tests run, in which order, and what is printed."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings

from tests.faults.reporting import FIGURES

SHORT: Final = 15 * 60.0
"""Seconds after which ``--long=short`` starts no further test."""

SEED: Final = "NETD_TEST_SEED"
"""The variable that has the seed of a long run, for all processes of it."""

FAULTS: Final = str(Path(__file__).parent / "faults")

STARTED: Final = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what CONTRIBUTING.md tells of."""
    parser.addoption(
        "--long",
        nargs="?",
        const="whole",
        choices=("whole", "short"),
        help="run the tests that take long, too: sweeps, soaks and attacks; with =short only those,"
        " in random order, until a quarter of an hour is over",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepare signals and property tests."""
    config.addinivalue_line("markers", "long: runs by --long only")
    config.addinivalue_line(
        "markers", "sweep: the default run takes the first set of parameters only"
    )
    _take_usual_signals()
    _keep_bytecode()
    # The default run always draws the same examples: it is never red for a fault that was there
    # before. The long one draws others every time, and prints the seed.
    settings.register_profile("default", max_examples=25, derandomize=True, deadline=None)
    settings.register_profile("long", max_examples=200, deadline=None)
    is_long = config.getoption("--long") is not None
    settings.load_profile("long" if is_long else "default")
    if is_long and config.option.hypothesis_seed is None:
        # By the environment, since pytest-xdist's workers do not get an option that is set here.
        seed = os.environ.setdefault(SEED, str(random.SystemRandom().randrange(1 << 32)))
        config.option.hypothesis_seed = seed


def _take_usual_signals() -> None:
    """Let programs find signals as a shell in the foreground would leave them.

    Tests that run in the background, or by nohup, have them ignored, and what is ignored stays so
    in every program (execve(2)).
    """
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    for number, handler in usual.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def _keep_bytecode() -> None:
    """Let Python keep what it compiles, even if the environment says otherwise.

    The tests start hundreds of processes, each of which would compile netd anew.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_report_header(config: pytest.Config) -> str | None:
    """Print the seed of a long run, by which it can be repeated."""
    if config.getoption("--long") is None:
        return None
    return f"long run: repeat it by --hypothesis-seed={config.option.hypothesis_seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the tests, and put those that load the machine last."""
    extent = config.getoption("--long")
    long = [item for item in items if _is_long(item)]
    if extent == "whole":
        chosen = items[:]
    elif extent == "short":
        chosen = long
        random.Random(config.option.hypothesis_seed).shuffle(chosen)
    else:
        chosen = [item for item in items if item not in set(long)]
    if extent != "short":
        chosen.sort(key=lambda item: str(item.path).startswith(FAULTS))
    left = set(items).difference(chosen)
    if left:
        config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = chosen


def _is_long(item: pytest.Item) -> bool:
    if item.get_closest_marker("long") is not None:
        return True
    callspec = getattr(item, "callspec", None)
    if item.get_closest_marker("sweep") is None or callspec is None:
        return False
    return any(callspec.indices.values())


def pytest_collection_finish() -> None:
    """Let the collector leave alone what the tests have in common, since many of them call it."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start nothing more when a short long run is over."""
    if item.config.getoption("--long") == "short" and time.monotonic() > STARTED + SHORT:
        pytest.skip("the time of --long=short is over")


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
