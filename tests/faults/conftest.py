"""The proof that nothing is lost: a short form for every day, and a long one by ``--long``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bench.programs import CannotCompile, compile_program
from tests.faults.loads import LoadTool
from tests.faults.reporting import FIGURES, Progress, Report
from tests.integration.conftest import administered, project

__all__ = ["administered", "project"]


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether to take as long as the proof wants."""
    return bool(request.config.getoption("--long") == "whole")


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> LoadTool:
    """The load tool in C."""
    try:
        return LoadTool(compile_program("load", tmp_path_factory.mktemp("load")))
    except CannotCompile as error:
        pytest.skip(str(error))


@pytest.fixture
def progress(request: pytest.FixtureRequest, is_long: bool) -> Iterator[Progress]:
    """A bar, where somebody has the time to look at one."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if not is_long or capture is None:
        yield Progress(None)
        return
    # pytest takes descriptor 1 away again before the test begins.
    with capture.global_and_fixture_disabled():
        terminal = os.fdopen(os.dup(1), "w")
    with terminal, Progress.shown(request.node.name, terminal) as shown:
        yield shown


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """What a test has found, for the end."""
    properties = request.node.user_properties
    return Report(request.node.name, lambda line: properties.append((FIGURES, line)))
