"""``netd.daemon.log``: nothing is waited for, nothing is lost without a word."""

from __future__ import annotations

import errno
import fcntl
import os
import queue
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import Logger, LogLevel, capturedLogs

from netd.daemon.log import LAST_WORDS, DaemonLog, Destination, RelayedLog
from netd.execution.journal import Journal

DROPPED = re.compile(r"^\S+ \[netd#warn\] (\d+) log lines dropped: (.*)$")
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"


def numbered(count: int, width: int = 60) -> list[str]:
    """Lines that can be told apart."""
    return [f"{number:06} ".ljust(width - 1, "x") + "\n" for number in range(count)]


def counted(text: str) -> tuple[list[str], int]:
    """The lines of a log, and how many others it says were dropped."""
    lines, dropped = [], 0
    for line in text.splitlines(keepends=True):
        confession = DROPPED.match(line)
        if confession:
            dropped += int(confession[1])
        else:
            lines.append(line)
    return lines, dropped


class Pipe:
    """A destination with a reader, who reads when he is told to."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, 4096)
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._read_all, daemon=True)

    def _read_all(self) -> None:
        while data := os.read(self.read_end, 1 << 16):
            self._read.append(data)

    def read_from_now_on(self) -> None:
        self._reader.start()

    def text(self) -> str:
        """All that was written; the writer has finished."""
        os.close(self.write_end)
        self._reader.join()
        os.close(self.read_end)
        return b"".join(self._read).decode()


class Moody(Destination):
    """A file on a disk that can be full. What it is asked to do can be waited for."""

    def __init__(self, path: Path, refuses: bool = True) -> None:
        super().__init__(str(path))
        self.refuses = refuses
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._reopened: queue.SimpleQueue[None] = queue.SimpleQueue()

    def write(self, text: str) -> None:
        try:
            if self.refuses:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write(text)
        finally:
            self._asked.put(None)

    def reopen(self) -> None:
        super().reopen()
        self._reopened.put(None)

    def wait(self) -> None:
        """Until it has been asked once more to write."""
        self._asked.get(timeout=10)

    def wait_reopened(self) -> None:
        """Until it has been opened once more."""
        self._reopened.get(timeout=10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "netd.log"


@pytest.fixture
def log(file: Path) -> Iterator[DaemonLog]:
    log = DaemonLog(Destination(str(file)))
    yield log
    log.close()


class TestDestination:
    def test_appends(self, file: Path) -> None:
        """A log that exists is gone on with, and only its owner and group can read it."""
        for text in ("one\n", "two\n"):
            Destination(str(file)).write(text)
        assert file.read_text() == "one\ntwo\n"
        assert file.stat().st_mode & 0o137 == 0

    def test_cannot_be_opened(self, tmp_path: Path) -> None:
        """A path that leads nowhere is said when netd starts, not when it logs."""
        with pytest.raises(FileNotFoundError):
            Destination(str(tmp_path / "nowhere" / "netd.log"))

    def test_any_text(self, file: Path) -> None:
        """What cannot be encoded, such as a file name from the system, is logged escaped."""
        Destination(str(file)).write("caf\u00e9 \udcff\n")
        assert file.read_bytes() == b"caf\xc3\xa9 \\udcff\n"

    def test_writes_all(self) -> None:
        """A text longer than a pipe takes at once goes on where it was cut."""
        pipe = Pipe()
        pipe.read_from_now_on()
        Destination(descriptor=pipe.write_end).write("x" * 100_000)
        assert pipe.text() == "x" * 100_000

    def test_non_blocking_terminal(self) -> None:
        """Somebody else's O_NONBLOCK on the terminal loses no text."""
        pipe = Pipe()
        os.set_blocking(pipe.write_end, False)
        pipe.read_from_now_on()
        Destination(descriptor=pipe.write_end).write("x" * 100_000)
        assert pipe.text() == "x" * 100_000

    def test_reopen(self, file: Path) -> None:
        """After a rename the old file keeps what it has, and a new one gets the rest."""
        destination = Destination(str(file))
        destination.write("old\n")
        old = file.rename(file.with_suffix(".1"))
        destination.reopen()
        destination.write("new\n")
        assert (old.read_text(), file.read_text()) == ("old\n", "new\n")

    def test_cannot_be_reopened(self, tmp_path: Path) -> None:
        """When the new file cannot be made, the old one is gone on with."""
        directory = tmp_path / "log"
        directory.mkdir()
        destination = Destination(str(directory / "netd.log"))
        moved = directory.rename(tmp_path / "moved")
        with pytest.raises(FileNotFoundError):
            destination.reopen()
        destination.write("still here\n")
        assert (moved / "netd.log").read_text() == "still here\n"

    def test_terminal_is_not_reopened(self) -> None:
        """A descriptor that netd was given has no path to be opened again."""
        pipe = Pipe()
        destination = Destination(descriptor=pipe.write_end)
        destination.reopen()
        destination.write("x")
        pipe.read_from_now_on()
        assert pipe.text() == "x"

    def test_not_inherited(self, file: Path) -> None:
        """No worker gets the daemon's log, before or after it was opened again."""
        lowest_free = os.dup(0)
        os.close(lowest_free)
        destination = Destination(str(file))
        for _ in range(2):
            assert os.path.samefile(f"/proc/self/fd/{lowest_free}", file)
            assert not os.get_inheritable(lowest_free)
            destination.reopen()


class TestEvents:
    def test_event(self, file: Path, log: DaemonLog) -> None:
        """An event is a line with time, namespace and level; its further lines are indented."""
        Logger("netd.daemon.place", observer=log).warn("one\ntwo {what}", what=3)
        assert re.fullmatch(
            rf"{STAMP} \[netd\.daemon\.place#warn\] one\n\ttwo 3\n", file.read_text()
        )

    def test_event_without_text(self, file: Path, log: DaemonLog) -> None:
        """An event that says nothing is no line."""
        Logger("netd", observer=log).info("")
        assert file.read_text() == ""

    def test_before_the_start(self, file: Path, log: DaemonLog) -> None:
        """Until there is a thread, a line is written before ``write`` returns."""
        log.write("one\n")
        assert file.read_text() == "one\n"

    def test_order(self, file: Path, log: DaemonLog) -> None:
        """Lines are written in the order in which they came, all of them."""
        lines = numbered(2000)
        for line in lines[:1000]:
            log.write(line)
        log.start()
        for line in lines[1000:]:
            log.write(line)
        log.close()
        assert file.read_text() == "".join(lines)

    def test_from_many_threads(self, file: Path, log: DaemonLog) -> None:
        """Lines of several threads never run into each other."""
        log.start()
        lines = numbered(4000)
        threads = [
            threading.Thread(target=lambda own=lines[n::4]: [*map(log.write, own)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.close()
        assert sorted(file.read_text().splitlines(keepends=True)) == lines


class TestSlow:
    def test_nobody_reads(self) -> None:
        """A log that nobody reads holds nobody up; later it says how many lines it lost."""
        pipe = Pipe()
        log = DaemonLog(Destination(descriptor=pipe.write_end), capacity=6000)
        log.start()
        lines = numbered(5000)
        for line in lines:
            log.write(line)
        pipe.read_from_now_on()
        log.close()
        kept, dropped = counted(pipe.text())
        assert len(kept) + dropped == len(lines)
        assert len(kept) * 60 <= 2 * 6000 + 4096 + 60
        assert kept == sorted(kept)
        assert kept[0] == lines[0]

    def test_says_why(self) -> None:
        """The line about lines that are missing says that the log was too slow."""
        pipe = Pipe()
        log = DaemonLog(Destination(descriptor=pipe.write_end), capacity=100)
        log.start()
        log.write("x" * 101 + "\n")
        log.write("next\n")
        log.close()
        pipe.read_from_now_on()
        confession, following = pipe.text().splitlines()
        assert re.fullmatch(rf"{STAMP} \[netd#warn\] 1 log lines dropped: log too slow", confession)
        assert following == "next"

    def test_close_is_bounded(self) -> None:
        """The end of the daemon waits a second for a log that nobody reads, and no longer."""
        pipe = Pipe()
        log = DaemonLog(Destination(descriptor=pipe.write_end))
        log.start()
        for line in numbered(1000):
            log.write(line)
        started = time.monotonic()
        log.close()
        assert LAST_WORDS <= time.monotonic() - started < LAST_WORDS + 4
        pipe.read_from_now_on()
        log.close()
        assert pipe.text() == "".join(numbered(1000))

    def test_close_writes_the_rest(self, file: Path, log: DaemonLog) -> None:
        """What is queued when the daemon ends is written, and a second close finds it done."""
        log.start()
        for line in numbered(1000):
            log.write(line)
        log.close()
        assert file.read_text() == "".join(numbered(1000))
        log.close()

    def test_close_without_a_start(self, file: Path, log: DaemonLog) -> None:
        """A daemon that never started has nothing to wait for."""
        log.write("one\n")
        log.close()
        assert file.read_text() == "one\n"


class TestCannotBeWritten:
    def test_full_disk(self, file: Path) -> None:
        """Lines lost to a full disk are counted, and said when there is room again."""
        destination = Moody(file)
        log = DaemonLog(destination)
        log.start()
        for line in ("one\n", "two\nthree\n", "four\n"):
            log.write(line)
            destination.wait()
        destination.refuses = False
        for line in ("five\n", "six\n"):
            log.write(line)
            destination.wait()
        log.close()
        confession, *kept = file.read_text().splitlines()
        assert counted(confession) == ([], 4)
        assert kept == ["five", "six"]

    def test_says_why(self, file: Path) -> None:
        """The line about lines that are missing says what the system said."""
        destination = Moody(file)
        log = DaemonLog(destination)
        log.write("lost\n")
        destination.refuses = False
        log.start()
        log.write("kept\n")
        log.close()
        confession, following = file.read_text().splitlines()
        dropped = DROPPED.match(confession)
        assert dropped is not None
        assert dropped.groups() == ("1", "No space left on device")
        assert following == "kept"

    def test_said_at_the_end(self, file: Path) -> None:
        """Lines that were lost are confessed at the latest when the log is closed."""
        destination = Moody(file)
        log = DaemonLog(destination)
        log.start()
        log.write("lost\n")
        destination.wait()
        destination.refuses = False
        log.close()
        assert counted(file.read_text()) == ([], 1)

    def test_closed_pipe(self) -> None:
        """A terminal that has gone ends nothing."""
        pipe = Pipe()
        os.close(pipe.read_end)
        log = DaemonLog(Destination(descriptor=pipe.write_end))
        log.write("before\n")
        log.start()
        log.write("after\n")
        log.close()
        os.close(pipe.write_end)


class TestReopen:
    def test_loses_no_line(self, file: Path) -> None:
        """Lines written while a file is renamed and opened again are all in one or the other."""
        destination = Moody(file, refuses=False)
        log = DaemonLog(destination)
        log.start()
        lines = numbered(3000)
        for number, line in enumerate(lines):
            log.write(line)
            if number % 1000 == 500:
                file.rename(file.with_suffix(f".{number}"))
                log.reopen()
                log.write("while it is opened again\n")
                destination.wait_reopened()
        log.close()
        files = [file.with_suffix(f".{number}") for number in (500, 1500, 2500)]
        text = "".join(one.read_text() for one in [*files, file])
        assert text.count("while it is opened again\n") == 3
        assert text.replace("while it is opened again\n", "") == "".join(lines)
        assert lines[500] in files[0].read_text()
        assert lines[1500] in files[1].read_text()

    def test_with_nothing_to_write(self, file: Path, log: DaemonLog) -> None:
        """The new file is there at once, for whoever waits for it before he compresses."""
        log.start()
        file.rename(file.with_suffix(".1"))
        log.reopen()
        log.close()
        assert file.exists()

    def test_before_the_start(self, file: Path, log: DaemonLog) -> None:
        """A request that comes too early is done as soon as there is a thread."""
        log.write("old\n")
        file.rename(file.with_suffix(".1"))
        log.reopen()
        log.start()
        log.close()
        assert file.read_text() == ""

    def test_fails(self, tmp_path: Path) -> None:
        """When it cannot be opened again, the old file says so and goes on."""
        directory = tmp_path / "log"
        directory.mkdir()
        log = DaemonLog(Destination(str(directory / "netd.log")))
        moved = directory.rename(tmp_path / "moved")
        log.start()
        log.reopen()
        log.write("one\n")
        log.close()
        text = (moved / "netd.log").read_text()
        assert "one\n" in text
        assert (
            f"the log cannot be reopened: [Errno 2] No such file or directory: '{directory}" in text
        )


def relayed(text: str) -> list[tuple[str, LogLevel, str]]:
    """The events that lines of a worker become: namespace, level and text."""
    with capturedLogs() as events:
        RelayedLog().write(text)
    return [
        (event["log_namespace"], event["log_level"], event["log_format"].format(**event))
        for event in events
    ]


def journal_of(*said: tuple[str, str, str]) -> str:
    """The lines that a worker makes of what was said by a service, at a level."""
    journal = Journal(wake=lambda: None)
    for service, level, text in said:
        journal.say(service, level, text)
    return journal.take(1 << 20)


class TestRelayedLog:
    def test_lines_become_events(self) -> None:
        """Every line is an event with its service as the namespace, and its own level."""
        text = journal_of(("time", "info", "one"), ("date", "error", "two"))
        assert relayed(text) == [("time", LogLevel.info, "one"), ("date", LogLevel.error, "two")]

    @pytest.mark.parametrize("level", ["debug", "info", "warn", "error", "critical"])
    def test_levels(self, level: str) -> None:
        """Every level of a worker is one of the daemon's."""
        text = journal_of(("time", level, "x"))
        assert relayed(text) == [("time", LogLevel.levelWithName(level), "x")]

    @pytest.mark.parametrize(
        "said",
        [
            "one\ntwo\nthree",
            "Traceback:\n  File x\n\tindented\n\n",
            "\nempty before",
            "brackets [a#b] c] d [",
            "braces {0} {name} {",
            "",
        ],
    )
    def test_text_stays_as_it_was(self, said: str) -> None:
        """A text of several lines is one event, and what is in it means nothing."""
        text = journal_of(("time", "error", said), ("time", "info", "next"))
        assert relayed(text) == [("time", LogLevel.error, said), ("time", LogLevel.info, "next")]

    @pytest.mark.parametrize("character", ["\u2028", "\u2029"])
    def test_other_ends_of_a_line(self, character: str) -> None:
        """What only Unicode takes for the end of a line is part of it."""
        said = f"one{character}two"
        assert relayed(journal_of(("time", "info", said))) == [("time", LogLevel.info, said)]

    @pytest.mark.parametrize(
        "line", ["no form at all", "stamp [time#loud] text", "stamp [time] text", "\f\x1c", "["]
    )
    def test_lines_of_no_worker(self, line: str) -> None:
        """A line that looks like none of a worker's is logged whole, and costs nothing else."""
        text = journal_of(("time", "info", "next"))
        assert relayed(f"{line}\n{text}") == [
            ("netd", LogLevel.info, line),
            ("time", LogLevel.info, "next"),
        ]

    def test_the_rest_is_twistds(self) -> None:
        """Starting, reopening and closing are left to twistd."""
        log = RelayedLog()
        log.start()
        log.reopen()
        log.close()
        assert relayed("") == []
