"""``netd.execution.journal``: records in, lines out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.execution.journal import CAPACITY, LONGEST_TEXT, MOST_TEXT, Journal, Said, Served
from netd.execution.traffic import NOTHING, UNKNOWN, Traffic

ALL = 1 << 30
"""Characters: no limit."""


class Wakes:
    """Counts how often a journal has called for its writer."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def silent() -> None:
    """Nobody is woken."""


def journal(capacity: int = CAPACITY) -> Journal:
    """A journal whose monotonic clock stands at 1000, when it is 1 700 000 000.25 for people."""
    return Journal(silent, lambda: 1000.0, lambda: 1_700_000_000.25, capacity)


def served(number: int = 1, carried: Traffic = (10, 20), ended: float = 1000.0) -> Served:
    return Served(ended, "time", "tcp", f"192.0.2.1:{number}", "served", 0.0123, carried)


def bodies(lines: str) -> list[str]:
    """Each line without its time."""
    return [line.partition(" ")[2] for line in lines.splitlines()]


def body_of(text: str) -> str:
    """How *text* is logged, without time, service and end of line."""
    book = journal()
    book.say("s", "info", text)
    line = book.take(ALL)
    assert line.endswith("\n")
    return line[line.index("] ") + 2 : -1]


class TestLines:
    """What a record looks like."""

    @pytest.mark.parametrize(
        ("carried", "figures"),
        [((10, 20), "in=10 out=20"), (NOTHING, "in=0 out=0"), (UNKNOWN, "in=- out=-")],
    )
    def test_served(self, carried: Traffic, figures: str) -> None:
        """A request that has ended: who, how, the outcome, how long, how much."""
        book = journal()
        book.add(served(4711, carried))
        (line,) = bodies(book.take(ALL))
        assert line == f"[time#info] 192.0.2.1:4711 tcp served 12.3ms {figures}"

    def test_said(self) -> None:
        """A text stands after its service and level."""
        book = journal()
        book.say("chat", "warn", "out of biscuits")
        assert bodies(book.take(ALL)) == ["[chat#warn] out of biscuits"]

    def test_time(self) -> None:
        """The time is the record's, not that of the writing, with the zone, to the second."""
        book = journal()
        book.add(served(ended=999.0))
        book.add(served(ended=1000.0))
        book.add(served(ended=1000.74))
        book.add(served(ended=1000.76))
        stamps = [line.partition(" ")[0] for line in book.take(ALL).splitlines()]
        seconds = [datetime.fromisoformat(stamp).timestamp() for stamp in stamps]
        assert seconds == [1_699_999_999, 1_700_000_000, 1_700_000_000, 1_700_000_001]
        assert all(len(stamp) == len("2023-11-14T22:13:20+0000") for stamp in stamps)

    def test_a_clock_that_is_set_back(self) -> None:
        """The wall clock may step in either direction; the next batch follows it."""
        wall = iter([100.0, 5000.0, 40.0])
        book = Journal(silent, lambda: 0.0, lambda: next(wall))
        seen = []
        for _ in range(3):
            book.add(served(ended=0.0))
            stamp = book.take(ALL).partition(" ")[0]
            seen.append(datetime.fromisoformat(stamp).timestamp())
        assert seen == [100.0, 5000.0, 40.0]

    def test_several_lines(self) -> None:
        """Further lines are indented, so that none of them passes for a record."""
        assert body_of("one\ntwo\n\nthree") == "one\n\ttwo\n\t\n\tthree"

    def test_control_characters(self) -> None:
        """What would steer a terminal is shown; tabs and newlines are text."""
        assert body_of("\x1b[2J\r\x07\x00\x7f\x9b1m\x85\tx") == (
            r"\x1b[2J\x0d\x07\x00\x7f\x9b1m\x85" + "\tx"
        )

    @given(st.text(st.characters(max_codepoint=0x2FF)))
    def test_nothing_steers_a_terminal(self, text: str) -> None:
        """No text leaves a control character but tab and newline, or starts a line of its own."""
        lines = body_of(text).split("\n")
        assert all(line.startswith("\t") for line in lines[1:])
        assert not any(
            ord(letter) < 32 or 127 <= ord(letter) < 160
            for line in lines
            for letter in line.replace("\t", "")
        )

    def test_too_long_a_text(self) -> None:
        """It is cut, and the line says how long it was; one of exactly the limit is whole."""
        assert body_of("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT
        assert body_of("x" * (LONGEST_TEXT + 1)) == (
            "x" * LONGEST_TEXT + f" … ({LONGEST_TEXT + 1} characters)"
        )


class TestBatches:
    """What ``take`` returns at once."""

    def test_order(self) -> None:
        """Records come out in the order in which they went in, whatever their kind."""
        book = journal()
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
        book = journal()
        for number in range(100):
            book.add(served(number))
        length = len(self._first(book))
        batches = list(self._batches(book, 10 * length))
        assert all(len(batch) < 12 * length for batch in batches)
        assert len(batches) < 12
        assert "".join(batches).count("\n") == 99

    def test_one_that_is_larger_than_a_batch(self) -> None:
        """A record is never cut by the size of a batch."""
        book = journal()
        book.say("s", "info", "x" * 1000)
        book.say("s", "info", "y")
        assert bodies(book.take(10)) == ["[s#info] " + "x" * 1000]
        assert bodies(book.take(10)) == ["[s#info] y"]
        assert book.take(10) == ""

    @staticmethod
    def _first(book: Journal) -> str:
        return book.take(1)

    @staticmethod
    def _batches(book: Journal, most: int) -> Iterator[str]:
        while batch := book.take(most):
            yield batch


class TestWake:
    """When the writer is called."""

    def test_once(self) -> None:
        """The first record calls, the following ones do not."""
        wakes = Wakes()
        book = Journal(wakes)
        for number in range(5):
            book.add(served(number))
            book.say("s", "info", "hello")
        assert wakes.count == 1

    def test_not_while_the_writer_is_at_it(self) -> None:
        """As long as ``take`` finds something, the writer comes again by itself."""
        wakes = Wakes()
        book = Journal(wakes)
        for _ in range(3):
            book.add(served())
            assert book.take(ALL)
        assert wakes.count == 1

    def test_again_after_nothing_was_found(self) -> None:
        """The empty string means that the next record calls."""
        wakes = Wakes()
        book = Journal(wakes)
        book.add(served())
        assert book.take(ALL)
        assert book.take(ALL) == ""
        book.add(served())
        assert wakes.count == 2
        assert book.take(ALL)

    def test_nothing(self) -> None:
        """Taking from a journal in which nothing ever was calls nobody."""
        wakes = Wakes()
        assert Journal(wakes).take(ALL) == ""
        assert wakes.count == 0

    def test_no_record_is_left_behind(self) -> None:
        """A writer that comes only when it is called gets every record of many threads."""
        called = threading.Semaphore(0)
        book = Journal(called.release)
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
        """Beyond its capacity a journal keeps the oldest records, and says how many it dropped."""
        book = journal(capacity=3)
        for number in range(5):
            book.add(served(number))
        book.say("s", "info", "too late, too")
        lines = bodies(book.take(ALL))
        assert lines[0] == "[netd#warn] 3 log records dropped: log too slow"
        assert [line.split()[1] for line in lines[1:]] == [f"192.0.2.1:{n}" for n in range(3)]

    def test_it_is_said_once(self) -> None:
        """What has been confessed is not confessed again, and there is room again."""
        book = journal(capacity=1)
        book.add(served())
        book.add(served())
        assert len(bodies(book.take(ALL))) == 2
        assert book.take(ALL) == ""
        book.add(served())
        assert len(bodies(book.take(ALL))) == 1

    def test_text(self) -> None:
        """Long texts are bounded by their sum, not by their number."""
        book = journal()
        fit = MOST_TEXT // LONGEST_TEXT
        for _ in range(fit + 7):
            book.say("s", "info", "x" * LONGEST_TEXT)
        lines = bodies(book.take(ALL))
        assert lines[0] == "[netd#warn] 7 log records dropped: log too slow"
        assert len(lines) == 1 + fit

    def test_requests_do_not_count_as_text(self) -> None:
        """When too much has been said, the log of requests goes on."""
        book = journal()
        for _ in range(MOST_TEXT // LONGEST_TEXT):
            book.say("s", "info", "x" * LONGEST_TEXT)
        assert book.add(served())

    def test_room_again(self) -> None:
        """What is taken makes room, over and over."""
        book = journal()
        for _ in range(3 * (MOST_TEXT // LONGEST_TEXT)):
            book.say("s", "info", "x" * LONGEST_TEXT)
            assert len(bodies(book.take(ALL))) == 1
        assert book.take(ALL) == ""

    def test_what_is_dropped_takes_no_room(self) -> None:
        """Texts dropped because there were too many records are not counted as waiting."""
        book = journal(capacity=1)
        book.say("s", "info", "first")
        for length in (LONGEST_TEXT, 1000):
            for _ in range(MOST_TEXT // LONGEST_TEXT):
                book.say("s", "info", "x" * length)
        assert len(bodies(book.take(ALL))) == 2
        book.say("s", "info", "x" * LONGEST_TEXT)
        assert bodies(book.take(ALL)) == ["[s#info] " + "x" * LONGEST_TEXT]

    def test_only_drops(self) -> None:
        """Drops are told of also when there is no record to tell them with."""
        book = journal(capacity=0)
        book.add(served())
        assert bodies(book.take(ALL)) == ["[netd#warn] 1 log records dropped: log too slow"]
        assert book.take(ALL) == ""

    def test_records_say_when(self) -> None:
        """A text carries the time of the monotonic clock at which it was said."""
        now = iter([5.0, 7.0, 7.0])
        kept: list[Served | Said] = []

        class Keeping(Journal):
            def add(self, record: Served | Said) -> bool:
                kept.append(record)
                return True

        book = Keeping(silent, lambda: next(now))
        book.say("s", "info", "one")
        book.say("s", "error", "two")
        assert kept == [Said(5.0, "s", "info", "one"), Said(7.0, "s", "error", "two")]
