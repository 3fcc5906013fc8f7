"""``netd.log.file``: all of a text is written, or is known to be missing."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netd.log.file import FileDestination, NotWritten
from tests.daemon.pipes import Pipe


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "netd.log"


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process can grow beyond *size* bytes, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class TestFile:
    def test_appends(self, file: Path) -> None:
        """A log that exists is gone on with, and only its owner and group can read it."""
        for text in ("one\n", "two\n"):
            FileDestination(str(file)).write(text)
        assert file.read_text() == "one\ntwo\n"
        assert file.stat().st_mode & 0o137 == 0

    def test_cannot_be_opened(self, tmp_path: Path) -> None:
        """A path that leads nowhere is said when netd starts, not when it logs."""
        with pytest.raises(FileNotFoundError):
            FileDestination(str(tmp_path / "nowhere" / "netd.log"))

    def test_any_text(self, file: Path) -> None:
        """What cannot be encoded, such as a file name from the system, is logged escaped."""
        FileDestination(str(file)).write("caf\u00e9 \udcff\n")
        assert file.read_bytes() == b"caf\xc3\xa9 \\udcff\n"

    def test_writes_all(self) -> None:
        """A text longer than a pipe takes at once goes on where it was cut."""
        pipe = Pipe()
        pipe.read_from_now_on()
        FileDestination(descriptor=pipe.write_end).write("x" * 100_000)
        assert pipe.text() == "x" * 100_000

    def test_non_blocking_terminal(self) -> None:
        """Somebody else's O_NONBLOCK on the terminal loses no text."""
        pipe = Pipe()
        os.set_blocking(pipe.write_end, False)
        pipe.read_from_now_on()
        FileDestination(descriptor=pipe.write_end).write("x" * 100_000)
        assert pipe.text() == "x" * 100_000

    def test_reopen(self, file: Path) -> None:
        """After a rename the old file keeps what it has, and a new one gets the rest."""
        destination = FileDestination(str(file))
        destination.write("old\n")
        old = file.rename(file.with_suffix(".1"))
        destination.reopen()
        destination.write("new\n")
        assert (old.read_text(), file.read_text()) == ("old\n", "new\n")

    def test_cannot_be_reopened(self, tmp_path: Path) -> None:
        """When the new file cannot be made, the old one is gone on with."""
        directory = tmp_path / "log"
        directory.mkdir()
        destination = FileDestination(str(directory / "netd.log"))
        moved = directory.rename(tmp_path / "moved")
        with pytest.raises(FileNotFoundError):
            destination.reopen()
        destination.write("still here\n")
        assert (moved / "netd.log").read_text() == "still here\n"

    def test_terminal_is_not_reopened(self) -> None:
        """A descriptor that netd was given has no path to be opened again."""
        pipe = Pipe()
        destination = FileDestination(descriptor=pipe.write_end)
        destination.reopen()
        destination.write("x")
        pipe.read_from_now_on()
        assert pipe.text() == "x"

    def test_not_inherited(self, file: Path) -> None:
        """No worker gets the daemon's log, before or after it was opened again."""
        lowest_free = os.dup(0)
        os.close(lowest_free)
        destination = FileDestination(str(file))
        for _ in range(2):
            assert os.path.samefile(f"/proc/self/fd/{lowest_free}", file)
            assert not os.get_inheritable(lowest_free)
            destination.reopen()


class TestFull:
    """Of a text that is written in part, the rest is missing, and no line runs into another."""

    @pytest.mark.parametrize(
        ("room", "written", "missing"),
        [(0, "", 3), (2, "on\n", 3), (3, "one\n", 3), (4, "one\n", 2), (10, "one\ntwo\nth\n", 1)],
    )
    def test_in_the_middle(self, file: Path, room: int, written: str, missing: int) -> None:
        """A line that is cut is missing, and the next one starts a new line."""
        destination = FileDestination(str(file))
        with room_for(room), pytest.raises(NotWritten) as caught:
            destination.write("one\ntwo\nthree\n")
        assert (caught.value.lines, caught.value.why) == (missing, os.strerror(errno.EFBIG))
        destination.write("four\n")
        assert file.read_text() == written + "four\n"

    def test_again(self, file: Path) -> None:
        """The end that a cut line is given is no line that could be missing."""
        destination = FileDestination(str(file))
        for text in ("one\n", "two\n"):
            with room_for(2), pytest.raises(NotWritten) as caught:
                destination.write(text)
            assert caught.value.lines == 1
        destination.write("three\n")
        assert file.read_text() == "on\nthree\n"

    def test_a_new_file_has_no_line_to_end(self, file: Path) -> None:
        """After a cut line, a file that is opened again starts with a record."""
        destination = FileDestination(str(file))
        with room_for(2), pytest.raises(NotWritten):
            destination.write("one\n")
        file.rename(file.with_suffix(".1"))
        destination.reopen()
        destination.write("two\n")
        assert file.read_text() == "two\n"

    def test_no_reader(self) -> None:
        """A terminal that has gone takes nothing."""
        pipe = Pipe()
        os.close(pipe.read_end)
        with pytest.raises(NotWritten, match="2 lines not written: Broken pipe"):
            FileDestination(descriptor=pipe.write_end).write("one\ntwo\n")
        os.close(pipe.write_end)
