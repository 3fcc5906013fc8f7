"""Fixtures of the tests that run the real twistd."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.administered import Administered
from tests.integration.daemons import Project


@contextmanager
def project_in_use() -> Iterator[Project]:
    """An empty project in a directory short enough for the paths of Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    directory.chmod(0o755)
    made = Project(directory)
    try:
        yield made
    finally:
        made.clean_up()
        shutil.rmtree(directory)


@contextmanager
def administered_in() -> Iterator[Administered]:
    """The same with an admin socket, for fixtures that many tests share."""
    with project_in_use() as made:
        yield Administered(made)


@pytest.fixture
def project() -> Iterator[Project]:
    """A project of one test."""
    with project_in_use() as made:
        yield made


@pytest.fixture
def administered(project: Project) -> Administered:
    """A project whose daemon has an admin socket."""
    return Administered(project)
