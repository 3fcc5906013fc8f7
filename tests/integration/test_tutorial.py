"""docs/tutorial.md, followed step by step: a page that does not work is worse than none.

The fences of its blocks say what a reader does with them: ``python FILE`` and ``toml FILE`` are
saved, ``sh server`` is left running in a terminal until the next one or ``sh alone``, ``sh`` is
typed in another, and ``text`` is what that prints, with … for what is not the same everywhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.integration.daemons import BIN, PATIENCE, Project, RunningDaemon, until

PAGE: Final = Path(__file__).parents[2] / "docs" / "tutorial.md"

BLOCK: Final = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

ENVIRONMENT: Final = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._server: RunningDaemon | None = None
        self._printed = ""

    def do(self, language: str, argument: str, text: str) -> None:
        """Do what a block is for."""
        if language == "text":
            self._compare(text)
        elif language != "sh":
            (self._project.directory / argument).write_text(text)
        else:
            if argument:
                self.stop()
            if argument == "server":
                self._serve(text)
            else:
                self._type(text)

    def stop(self) -> None:
        """Press Ctrl-C where the server is, and end what went into the background."""
        if self._server is not None and self._server.process.poll() is None:
            self._server.signal(signal.SIGINT)
            self._server.wait()
        pid = self._project.directory / "netd.pid"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGTERM)
        until(lambda: not pid.exists(), "the daemon has gone")

    def _serve(self, command: str) -> None:
        # In place of the shell, for the Ctrl-C.
        shell = ["bash", "-c", f"exec {command}"]
        self._server = self._project.run(shell, self._project.directory, env=ENVIRONMENT)
        self._server.log.wait("ready")

    def _type(self, commands: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._project.directory,
            env=ENVIRONMENT,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout
        self._printed = done.stdout

    def _compare(self, expected: str) -> None:
        pattern = re.escape(expected).replace("…", r"\S*")
        assert re.fullmatch(pattern, self._printed), self._printed


@pytest.fixture
def reader(project: Project) -> Iterator[Reader]:
    made = Reader(project)
    yield made
    made.stop()


@pytest.mark.long
def test_whole_page(reader: Reader) -> None:
    """From its first block to its last, in an empty directory."""
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) > 20
    for block in blocks:
        reader.do(*block)
