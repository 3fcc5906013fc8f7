"""``netd.daemon.forkserver.spawn``: command lines, endings, and output cut into lines."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from netd.core.output_lines import LONGEST_LINE, Lines
from netd.daemon.forkserver import spawn as spawning
from netd.daemon.forkserver.spawn import command, how_ended


class TestCommand:
    def test_this_interpreter(self) -> None:
        """A worker is run by the daemon's own interpreter, and finds nothing beside it."""
        python, safe_path, program, *rest = command("probe")
        assert (python, safe_path, rest) == (sys.executable, "-P", ["probe"])
        assert program.endswith("/netd/worker/__main__.py")

    def test_daemon_imports_no_worker(self) -> None:
        """The daemon's processes know the worker by its path only."""
        program = "import sys, netd.tap; print([m for m in sys.modules if m[:11] == 'netd.worker'])"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        (ProcessDone(0), "status 0"),
        (ProcessTerminated(3, None, 3 << 8), "status 3"),
        (ProcessTerminated(None, 9, 9), "signal SIGKILL"),
        (ProcessTerminated(None, 40, 40), "signal 40"),
    ],
)
def test_how_ended(reason: Exception, how: str) -> None:
    """How a process ended is told in the words of the log; most real-time signals have no name."""
    assert how_ended(Failure(reason)) == how


def lines_of(*pieces: bytes) -> list[str]:
    """The lines that output becomes which comes in *pieces*."""
    found: list[str] = []
    lines = Lines(found.append)
    for piece in pieces:
        lines.dataReceived(piece)
    lines.finish()
    return found


class TestLines:
    @given(st.text("abc\u00e9\n"), st.integers(1, 10))
    def test_in_any_pieces(self, text: str, size: int) -> None:
        """However it is cut on its way, output comes as the lines that it has."""
        data = text.encode()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert lines_of(*pieces) == text.removesuffix("\n").split("\n") * bool(text)

    def test_without_an_end(self) -> None:
        """An unfinished line is a line, and empty output is none."""
        assert lines_of(b"one\n\ntwo") == ["one", "", "two"]
        assert lines_of(b"one\n") == ["one"]
        assert lines_of() == []

    def test_too_long(self) -> None:
        """A line that never ends comes in pieces of bounded size, all of it."""
        found = lines_of(*[b"x" * 1000] * 100)
        assert "".join(found) == "x" * 100_000
        assert max(map(len, found)) <= LONGEST_LINE + 1000

    def test_after_one_that_is_too_long(self) -> None:
        """What comes after a line that was too long are lines of their own."""
        assert lines_of(b"x" * LONGEST_LINE, b"x\none\ntwo\n") == [
            "x" * (LONGEST_LINE + 1),
            "one",
            "two",
        ]

    def test_no_text(self) -> None:
        """Bytes that are no text are shown as what they are not."""
        assert lines_of(b"\xff\n") == ["\ufffd"]

    def test_finished_once(self) -> None:
        """What has been passed on is not passed on again."""
        found: list[str] = []
        lines = Lines(found.append)
        lines.dataReceived(b"x")
        lines.finish()
        lines.finish()
        assert found == ["x"]


def test_program_exists() -> None:
    """The path of the worker's program leads somewhere."""
    with open(spawning.PROGRAM) as program:
        assert "probe" in program.read()
