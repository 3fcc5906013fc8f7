"""``netd.log.buffer``: records in, lines out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime

import pytest

from netd.log.buffer import CAPACITY, LONGEST_TEXT, MOST_TEXT, LogBuffer
from netd.log.record import AccessRecord, Traffic
from netd.model.log import AS_USUAL, LEVELS, Form, Level, WorkerLog

ALL = 1 << 30
"""Characters: no limit."""


class Wakes:
    """Counts how often a log buffer has woken its reader."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def silent() -> None:
    """Nobody is woken."""


def log_buffer(capacity: int = CAPACITY, log: WorkerLog = AS_USUAL) -> LogBuffer:
    """A log buffer at 1000 s of the monotonic clock and 1 700 000 000.25 s of the wall clock."""
    return LogBuffer(silent, lambda: 1000.0, lambda: 1_700_000_000.25, capacity, log)


CARRIED = Traffic(10, 20)


def served(number: int = 1, carried: Traffic = CARRIED, ended: float = 1000.0) -> AccessRecord:
    return AccessRecord(ended, "time", "tcp", f"192.0.2.1:{number}", "served", 0.0123, carried)


def bodies(lines: str) -> list[str]:
    """Each line without its time."""
    return [line.partition(" ")[2] for line in lines.splitlines()]


def stamp(line: str) -> float:
    """The time of a line of either form."""
    text = json.loads(line)["time"] if line.startswith("{") else line.partition(" ")[0]
    return datetime.fromisoformat(text).timestamp()


class TestLines:
    """What a record becomes; ``tests/log/test_format.py`` has the forms themselves."""

    def test_text(self) -> None:
        """A request and a text, each a line for people."""
        book = log_buffer()
        book.add(served(4711))
        book.say("chat", "warn", "out of biscuits")
        assert bodies(book.take(ALL)) == [
            "[time#info] 192.0.2.1:4711 tcp served 12.3ms in=10 out=20",
            "[chat#warn] out of biscuits",
        ]

    def test_json(self) -> None:
        """The same for programs."""
        book = log_buffer(log=WorkerLog("json"))
        book.add(served(4711, Traffic(10, None, 0.0005)))
        book.say("chat", "warn", "out of\nbiscuits")
        request, text = map(json.loads, book.take(ALL).splitlines())
        assert request["client"] == "192.0.2.1:4711"
        assert (request["bytes_in"], request["bytes_out"]) == (10, None)
        assert request["round_trip"] == 0.0005
        assert text["message"] == "out of\nbiscuits"
        assert (text["service"], text["level"]) == ("chat", "warn")

    @pytest.mark.parametrize("form", ["text", "json"])
    def test_time(self, form: Form) -> None:
        """The time is the record's, not that of the writing."""
        book = log_buffer(log=WorkerLog(form))
        for ended in (999.0, 1000.0, 1000.74, 1000.76):
            book.add(served(ended=ended))
        seconds = [stamp(line) for line in book.take(ALL).splitlines()]
        assert list(map(int, seconds)) == [
            1_699_999_999, 1_700_000_000, 1_700_000_000, 1_700_000_001
        ]  # fmt: skip

    def test_a_clock_that_is_set_back(self) -> None:
        """The wall clock may step in either direction; the next batch follows it."""
        wall = iter([100.0, 5000.0, 40.0])
        book = LogBuffer(silent, lambda: 0.0, lambda: next(wall))
        seen = []
        for _ in range(3):
            book.add(served(ended=0.0))
            seen.append(stamp(book.take(ALL)))
        assert seen == [100.0, 5000.0, 40.0]

    def test_too_long_a_text(self) -> None:
        """It is cut, and the line says how long it was; one of exactly the limit is whole."""
        book = log_buffer()
        book.say("s", "info", "x" * LONGEST_TEXT)
        book.say("s", "info", "x" * (LONGEST_TEXT + 1))
        assert bodies(book.take(ALL)) == [
            "[s#info] " + "x" * LONGEST_TEXT,
            "[s#info] " + "x" * LONGEST_TEXT + f" … ({LONGEST_TEXT + 1} characters)",
        ]


class TestWanted:
    """What is not asked for is not queued."""

    @pytest.mark.parametrize("least", LEVELS)
    def test_level(self, least: Level) -> None:
        """A text below the level wakes nobody and takes no room; all others are kept."""
        wakes = Wakes()
        for level in LEVELS:
            LogBuffer(wakes, log=WorkerLog(level=least)).say("s", level, "text")
        assert wakes.count == len(LEVELS) - LEVELS.index(least)

    @pytest.mark.parametrize(
        ("log", "kept"),
        [
            (WorkerLog(), True),
            (WorkerLog(level="debug"), True),
            (WorkerLog(level="warn"), False),
            (WorkerLog(connections=False), False),
            (WorkerLog(level="debug", connections=False), False),
        ],
    )
    def test_requests(self, log: WorkerLog, kept: bool) -> None:
        """They are information, and can be left out by themselves."""
        book = log_buffer(log=log)
        assert book.add(served()) is kept
        assert book.take(ALL).count("\n") == kept

    def test_change(self) -> None:
        """From then on other records are queued; what is queued is written in the new form."""
        book = log_buffer()
        book.say("s", "info", "one")
        book.change(WorkerLog("json", "warn"))
        book.say("s", "info", "two")
        book.say("s", "warn", "three")
        assert not book.add(served())
        messages = [json.loads(line)["message"] for line in book.take(ALL).splitlines()]
        assert messages == ["one", "three"]

    def test_what_is_not_wanted_is_not_missing(self) -> None:
        """Nobody is told that it was dropped."""
        book = log_buffer(capacity=0, log=WorkerLog(level="error"))
        book.add(served())
        book.say("s", "info", "text")
        assert book.take(ALL) == ""

    def test_drops_are_told_of_at_every_level(self) -> None:
        """Nobody knows at which level what is missing was."""
        book = log_buffer(capacity=0, log=WorkerLog(level="critical"))
        book.say("s", "critical", "text")
        assert bodies(book.take(ALL)) == ["[netd#warn] 1 log records dropped: log too slow"]


class TestBatches:
    """What ``take`` returns at once."""

    def test_order(self) -> None:
        """Records come out in the order in which they went in, whatever their kind."""
        book = log_buffer()
        book.add(served(1))
        book.say("s", "info", "between")
        book.add(served(2))
        assert [line.split()[1] for line in bodies(book.take(ALL))] == [
            "192.0.2.1:1",
            "between",
            "192.0.2.1:2",
        ]

    def test_about_as_much_as_is_wanted(self) -> None:
        """A batch ends with the record that fills it, and nothing is lost between batches."""
        book = log_buffer()
        for number in range(100):
            book.add(served(number))
        length = len(self._first(book))
        batches = list(self._batches(book, 10 * length))
        assert all(len(batch) < 12 * length for batch in batches)
        assert len(batches) < 12
        assert "".join(batches).count("\n") == 99

    def test_one_that_is_larger_than_a_batch(self) -> None:
        """A record is never cut by the size of a batch."""
        book = log_buffer()
        book.say("s", "info", "x" * 1000)
        book.say("s", "info", "y")
        assert bodies(book.take(10)) == ["[s#info] " + "x" * 1000]
        assert bodies(book.take(10)) == ["[s#info] y"]
        assert book.take(10) == ""

    @staticmethod
    def _first(book: LogBuffer) -> str:
        return book.take(1)

    @staticmethod
    def _batches(book: LogBuffer, most: int) -> Iterator[str]:
        while batch := book.take(most):
            yield batch


class TestWake:
    """When the writer is called."""

    def test_once(self) -> None:
        """The first record calls, the following ones do not."""
        wakes = Wakes()
        book = LogBuffer(wakes)
        for number in range(5):
            book.add(served(number))
            book.say("s", "info", "hello")
        assert wakes.count == 1

    def test_not_while_the_writer_is_at_it(self) -> None:
        """As long as ``take`` finds something, the writer comes again by itself."""
        wakes = Wakes()
        book = LogBuffer(wakes)
        for _ in range(3):
            book.add(served())
            assert book.take(ALL)
        assert wakes.count == 1

    def test_again_after_nothing_was_found(self) -> None:
        """The empty string means that the next record calls."""
        wakes = Wakes()
        book = LogBuffer(wakes)
        book.add(served())
        assert book.take(ALL)
        assert book.take(ALL) == ""
        book.add(served())
        assert wakes.count == 2
        assert book.take(ALL)

    def test_nothing(self) -> None:
        """Taking from an empty log buffer wakes nothing."""
        wakes = Wakes()
        assert LogBuffer(wakes).take(ALL) == ""
        assert wakes.count == 0

    def test_no_record_is_left_behind(self) -> None:
        """A writer that comes only when it is called gets every record of many threads."""
        called = threading.Semaphore(0)
        book = LogBuffer(called.release)
        threads, each = 4, 500

        def write() -> None:
            for number in range(each):
                book.add(served(number))

        writers = [threading.Thread(target=write) for _ in range(threads)]
        for writer in writers:
            writer.start()
        lines = 0
        while lines < threads * each:
            assert called.acquire(timeout=30)
            while batch := book.take(1000):
                lines += batch.count("\n")
        for writer in writers:
            writer.join()
        assert lines == threads * each


class TestBounds:
    """A log that is slow costs records, which are counted, and no memory."""

    def test_records(self) -> None:
        """Beyond its capacity a log buffer keeps the oldest records, and counts the others."""
        book = log_buffer(capacity=3)
        for number in range(5):
            book.add(served(number))
        book.say("s", "info", "too late, too")
        lines = bodies(book.take(ALL))
        assert lines[0] == "[netd#warn] 3 log records dropped: log too slow"
        assert [line.split()[1] for line in lines[1:]] == [f"192.0.2.1:{n}" for n in range(3)]

    def test_it_is_said_once(self) -> None:
        """What has been confessed is not confessed again, and there is room again."""
        book = log_buffer(capacity=1)
        book.add(served())
        book.add(served())
        assert len(bodies(book.take(ALL))) == 2
        assert book.take(ALL) == ""
        book.add(served())
        assert len(bodies(book.take(ALL))) == 1

    def test_text(self) -> None:
        """Long texts are bounded by their sum, not by their number."""
        book = log_buffer()
        fit = MOST_TEXT // LONGEST_TEXT
        for _ in range(fit + 7):
            book.say("s", "info", "x" * LONGEST_TEXT)
        lines = bodies(book.take(ALL))
        assert lines[0] == "[netd#warn] 7 log records dropped: log too slow"
        assert len(lines) == 1 + fit

    def test_requests_do_not_count_as_text(self) -> None:
        """When too much has been said, the log of requests goes on."""
        book = log_buffer()
        for _ in range(MOST_TEXT // LONGEST_TEXT):
            book.say("s", "info", "x" * LONGEST_TEXT)
        assert book.add(served())

    def test_room_again(self) -> None:
        """What is taken makes room, over and over."""
        book = log_buffer()
        for _ in range(3 * (MOST_TEXT // LONGEST_TEXT)):
            book.say("s", "info", "x" * LONGEST_TEXT)
            assert len(bodies(book.take(ALL))) == 1
        assert book.take(ALL) == ""

    def test_what_is_dropped_takes_no_room(self) -> None:
        """Texts dropped because there were too many records are not counted as waiting."""
        book = log_buffer(capacity=1)
        book.say("s", "info", "first")
        for length in (LONGEST_TEXT, 1000):
            for _ in range(MOST_TEXT // LONGEST_TEXT):
                book.say("s", "info", "x" * length)
        assert len(bodies(book.take(ALL))) == 2
        book.say("s", "info", "x" * LONGEST_TEXT)
        assert bodies(book.take(ALL)) == ["[s#info] " + "x" * LONGEST_TEXT]

    def test_only_drops(self) -> None:
        """Drops are told of also when there is no record to tell them with."""
        book = log_buffer(capacity=0)
        book.add(served())
        assert bodies(book.take(ALL)) == ["[netd#warn] 1 log records dropped: log too slow"]
        assert book.take(ALL) == ""

    def test_records_say_when(self) -> None:
        """A text carries the time of the monotonic clock at which it was said."""
        now = iter([5.0, 7.0, 9.0])
        book = LogBuffer(silent, lambda: next(now), lambda: 1009.0)
        book.say("s", "info", "one")
        book.say("s", "error", "two")
        assert [stamp(line) for line in book.take(ALL).splitlines()] == [1005.0, 1007.0]
