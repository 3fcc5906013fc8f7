"""Fixtures of the tests that run the real twistd."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.administered import Administered
from tests.integration.daemons import Project


@pytest.fixture
def project() -> Iterator[Project]:
    """An empty project in a directory short enough for the paths of Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    directory.chmod(0o755)
    made = Project(directory)
    yield made
    made.clean_up()
    shutil.rmtree(directory)


@pytest.fixture
def administered(project: Project) -> Administered:
    """A project whose daemon has an admin socket."""
    return Administered(project)
