"""``netd.log.writer``: nothing is waited for, nothing is lost without a word."""

from __future__ import annotations

import errno
import json
import os
import queue
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from twisted.logger import Logger, LogLevel, capturedLogs
from twisted.python import log as legacy

from netd.log.buffer import LogBuffer
from netd.log.file import FileDestination, NotWritten
from netd.log.format import line_form
from netd.log.writer import LAST_WORDS, DaemonLog, RelayedLog
from netd.model.log import LEVELS, Form, Level, WorkerLog
from tests.daemon.pipes import Pipe

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


class Moody(FileDestination):
    """A file on a disk that can be full. What it is asked to do can be waited for."""

    def __init__(self, path: Path, refuses: bool = True) -> None:
        super().__init__(str(path))
        self.refuses = refuses
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._reopened: queue.SimpleQueue[None] = queue.SimpleQueue()

    def write(self, text: str) -> None:
        try:
            if self.refuses:
                raise NotWritten(text.count("\n"), os.strerror(errno.ENOSPC))
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


class Halfway(FileDestination):
    """A disk that becomes full in the middle of each text."""

    halfway = True

    def write(self, text: str) -> None:
        if not self.halfway:
            super().write(text)
            return
        lines = text.splitlines(keepends=True)
        half = len(lines) // 2
        super().write("".join(lines[:half]))
        raise NotWritten(len(lines) - half, "full")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "netd.log"


@pytest.fixture
def log(file: Path) -> Iterator[DaemonLog]:
    log = DaemonLog(FileDestination(str(file)))
    yield log
    log.close()


class TestEvents:
    def test_event(self, file: Path, log: DaemonLog) -> None:
        """An event is a line with time, namespace and level; its further lines are indented."""
        Logger("netd.daemon.service", observer=log).warn("one\ntwo {what}", what=3)
        assert re.fullmatch(
            rf"{STAMP} \[netd\.daemon\.service#warn\] one\n\ttwo 3\n", file.read_text()
        )

    def test_event_without_text(self, file: Path, log: DaemonLog) -> None:
        """An event that says nothing is no line."""
        Logger("netd", observer=log).info("")
        assert file.read_text() == ""

    def test_control_characters(self, file: Path, log: DaemonLog) -> None:
        """What a worker's program has written raw steers no terminal."""
        Logger("n", observer=log).warn(
            "worker {name}: {line}", name="s", line="\x1b[2J\ttext\u202e"
        )
        assert file.read_text().endswith("worker s: \\x1b[2J\ttext\\u202e\n")

    @pytest.mark.parametrize("least", LEVELS)
    def test_level(self, file: Path, least: Level) -> None:
        """Events below the level are not written; lines are written as they are."""
        log = DaemonLog(FileDestination(str(file)), level=least)
        logger = Logger("n", observer=log)
        for level in LEVELS:
            logger.emit(LogLevel.lookupByName(level), "text")
        log.write("line\n")
        *events, line = file.read_text().splitlines()
        wanted = LEVELS[LEVELS.index(least) :]
        assert [event.partition(" ")[2] for event in events] == [f"[n#{w}] text" for w in wanted]
        assert line == "line"

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


class TestJson:
    """Events as objects, with the keys that a worker's lines have."""

    @pytest.fixture
    def log(self, file: Path) -> DaemonLog:
        return DaemonLog(FileDestination(str(file)), "json")

    @staticmethod
    def written(file: Path) -> list[dict[str, object]]:
        return [json.loads(line) for line in file.read_text().splitlines()]

    def test_event(self, file: Path, log: DaemonLog) -> None:
        """Time, level, and the text with its lines; of no service, unless the event says so."""
        logger = Logger("netd.daemon", observer=log)
        before = time.time()
        logger.warn("one\ntwo {what}", what="\x1b")
        logger.info("{service} listens", service="time")
        first, second = self.written(file)
        when = datetime.fromisoformat(str(first.pop("time"))).timestamp()
        assert before - 0.001 <= when <= time.time()
        assert first == {"level": "warn", "service": None, "message": "one\ntwo \x1b"}
        assert (second["service"], second["message"]) == ("time", "time listens")

    def test_a_service_that_is_no_text(self, file: Path, log: DaemonLog) -> None:
        """An event of somebody else may call anything its service."""
        Logger("n", observer=log).info("started", service=object())
        assert [line["service"] for line in self.written(file)] == [None]

    def test_failure(self, file: Path, log: DaemonLog) -> None:
        """A traceback is part of the message."""
        try:
            raise ValueError("no value")
        except ValueError:
            Logger("n", observer=log).failure("it failed")
        (line,) = self.written(file)
        assert line["level"] == "critical"
        message = str(line["message"])
        assert message.startswith("it failed\nTraceback (most recent call last):\n")
        assert "ValueError: no value" in message

    def test_says_nothing(self, file: Path, log: DaemonLog) -> None:
        """An event without a text is no line."""
        Logger("n", observer=log).info("")
        assert self.written(file) == []

    def test_legacy(self, file: Path, log: DaemonLog) -> None:
        """What is said to ``twisted.python.log`` has no level of its own."""
        publisher = legacy.LogPublisher(publishPublisher=log)
        publisher.msg("text")
        assert [(line["level"], line["message"]) for line in self.written(file)] == [
            ("info", "text")
        ]

    def test_what_is_missing(self, tmp_path: Path) -> None:
        """The line about dropped lines is an object, too."""
        destination = Moody(tmp_path / "log")
        log = DaemonLog(destination, "json", "critical")
        log.write("{}\n")
        destination.refuses = False
        log.start()
        log.close()
        (line,) = self.written(tmp_path / "log")
        assert line["level"] == "warn"
        assert line["message"] == "1 log lines dropped: No space left on device"


class TestSlow:
    def test_nobody_reads(self) -> None:
        """A log that nobody reads holds nobody up; later it says how many lines it lost."""
        pipe = Pipe()
        log = DaemonLog(FileDestination(descriptor=pipe.write_end), capacity=6000)
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
        log = DaemonLog(FileDestination(descriptor=pipe.write_end), capacity=100)
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
        log = DaemonLog(FileDestination(descriptor=pipe.write_end))
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

    def test_in_the_middle(self, file: Path) -> None:
        """Of a text that was written in part, the rest is missing; what was said is said."""
        destination = Halfway(str(file))
        log = DaemonLog(destination)
        log.write("one\ntwo\nthree\nfour\n")
        log.start()
        destination.halfway = False
        log.write("five\n")
        log.close()
        kept, missing = counted(file.read_text())
        assert (kept, missing) == (["one\n", "two\n", "five\n"], 2)

    def test_closed_pipe(self) -> None:
        """A terminal that has gone ends nothing."""
        pipe = Pipe()
        os.close(pipe.read_end)
        log = DaemonLog(FileDestination(descriptor=pipe.write_end))
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
        log = DaemonLog(FileDestination(str(directory / "netd.log")))
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


class TestChange:
    """Another ``[log]``, while the daemon runs."""

    @pytest.fixture
    def other(self, tmp_path: Path) -> Path:
        return tmp_path / "other.log"

    def test_place(self, file: Path, other: Path, log: DaemonLog) -> None:
        """What was said before is in the old file, what is said after it in the new one."""
        log.start()
        old, new = numbered(1000), numbered(2000)[1000:]
        for line in old:
            log.write(line)
        log.change(FileDestination(str(other)), "text", "info")
        for line in new:
            log.write(line)
        log.close()
        assert (file.read_text(), other.read_text()) == ("".join(old), "".join(new))

    def test_several_at_once(self, file: Path, tmp_path: Path) -> None:
        """However late the thread comes, it makes all changes in their order."""
        log = DaemonLog(FileDestination(str(file)))
        log.start()
        for name in ("a", "b", "c"):
            log.write(f"before {name}\n")
            log.change(FileDestination(str(tmp_path / name)), "text", "info")
        log.write("last\n")
        log.close()
        texts = [(tmp_path / name).read_text() for name in ("netd.log", "a", "b", "c")]
        assert texts == ["before a\n", "before b\n", "before c\n", "last\n"]

    def test_old_place_is_closed(self, tmp_path: Path, other: Path) -> None:
        """No descriptor stays behind."""
        log = DaemonLog(FileDestination(str(tmp_path / "old")))
        log.start()
        log.change(FileDestination(str(other)), "text", "info")
        log.close()
        held = {
            os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")
        }
        assert not held & {str(tmp_path / "old"), str(other)}

    def test_form_and_level(self, file: Path, log: DaemonLog) -> None:
        """Events follow at once, in the same file where no other one is named."""
        logger = Logger("n", observer=log)
        log.start()
        logger.info("one")
        log.change(None, "json", "warn")
        logger.info("two")
        logger.warn("three")
        log.close()
        first, second = file.read_text().splitlines()
        assert first.endswith(" [n#info] one")
        assert json.loads(second)["message"] == "three"

    @pytest.mark.parametrize("form", ["text", "json"])
    def test_lines_under_way(self, file: Path, form: Form) -> None:
        """A worker that has not heard of it still sends the other form: it is rewritten."""
        old: Form = "text" if form == "json" else "json"
        log = DaemonLog(FileDestination(str(file)), old)
        log.start()
        log.change(None, form, "info")
        for sender in (old, form):
            log.write(line_form(sender).said(1.7e9, "s", "error", "one\ntwo"))
        log.close()
        late, prompt = written_records(file.read_text(), form)
        assert prompt == ("s", "error", "one\ntwo")
        if form == "text":
            assert late == prompt
        else:
            assert late[2].endswith("[s#error] one\ntwo")


def written_records(text: str, form: Form) -> list[tuple[str, str, str]]:
    """Service, level and message of each record."""
    if form == "json":
        values = map(json.loads, text.splitlines())
        return [(each["service"], each["level"], each["message"]) for each in values]
    records = text.rstrip("\n").replace("\n\t", "\r").split("\n")
    found = [re.fullmatch(r"\S+ \[(\w+)#(\w+)\] (.*)", record) for record in records]
    return [(m[1], m[2], m[3].replace("\r", "\n")) for m in found if m is not None]


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
    log_buffer = LogBuffer(wake=lambda: None, log=WorkerLog("json", "debug"))
    for service, level, text in said:
        log_buffer.say(service, level, text)
    return log_buffer.take(1 << 20)


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

    def test_control_characters(self) -> None:
        """What a log of twistd's own writes steers no terminal, either."""
        assert relayed(journal_of(("time", "info", "\x1b[2J"))) == [
            ("time", LogLevel.info, r"\x1b[2J")
        ]

    def test_lines_of_no_worker(self) -> None:
        """A line that looks like none of a worker's is logged whole, and costs nothing else."""
        text = journal_of(("time", "info", "next"))
        assert relayed(f"no form at all\n{text}") == [
            ("netd", LogLevel.info, "no form at all"),
            ("time", LogLevel.info, "next"),
        ]

    def test_the_rest_is_twistds(self) -> None:
        """Starting, reopening and closing are left to twistd."""
        log = RelayedLog()
        log.start()
        log.reopen()
        log.close()
        assert relayed("") == []
