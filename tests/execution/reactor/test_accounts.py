"""``netd.execution.reactor.accounts``: active connections, counters and log of a service."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from netd.execution.outcome import SERVED
from netd.execution.reactor.accounts import Accounts
from netd.execution.recycle import Recycle
from netd.execution.request import Request
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Counts, Scoreboard
from netd.log.buffer import LogBuffer
from netd.log.record import Traffic

ALL = 1 << 20
"""Characters: no limit."""


class Book:
    """Accounts of a service whose scoreboard has room for so many records."""

    def __init__(self, records: int, recycle: Recycle | None = None) -> None:
        geometry = Geometry(1, 1, records)
        descriptor = Scoreboard.make("test", geometry)
        self.board = Scoreboard(descriptor, geometry)
        os.close(descriptor)
        self.log_buffer = LogBuffer(lambda: None)
        self.accounts = Accounts("test", self.board.block(0), self.log_buffer, recycle)

    def close(self) -> None:
        self.board.close()

    def begin(self, client: str = "client", since: float = 0.0) -> int:
        return self.accounts.begin(0, Request(None, None, client, None), since)

    @property
    def active(self) -> list[str]:
        return sorted(connection.client for connection in self.board.active_connections())


@pytest.fixture
def book() -> Iterator[Book]:
    with closing(Book(2)) as made:
        yield made


class TestActive:
    def test_begin_and_end(self, book: Book) -> None:
        number = book.begin("192.0.2.1:1", 12.5)
        (connection,) = book.board.active_connections()
        assert (connection.client, connection.since) == ("192.0.2.1:1", 12.5)
        book.accounts.end(number)
        assert book.active == []

    def test_records_are_used_again(self, book: Book) -> None:
        for number in range(10):
            one = book.begin(f"one {number}")
            other = book.begin(f"other {number}")
            assert book.active == [f"one {number}", f"other {number}"]
            book.accounts.end(one)
            book.accounts.end(other)

    def test_more_than_records(self, book: Book) -> None:
        """Further connections are counted, and not listed."""
        numbers = [book.begin(f"client {number}") for number in range(5)]
        assert book.active == ["client 0", "client 1"]
        for number in numbers:
            SERVED.add_to(book.accounts.lane)
            book.accounts.end(number)
        assert book.board.counts() == Counts(served=5)
        assert book.active == []

    def test_what_is_counted_becomes_visible(self, book: Book) -> None:
        book.accounts.lane.dropped += 2
        assert book.board.counts() == Counts()
        book.accounts.publish()
        assert book.board.counts() == Counts(dropped=2)


def test_memory_is_looked_at() -> None:
    """When a connection has ended, and when what takes no time has been done."""
    looks: list[int] = []

    def memory() -> int:
        looks.append(1)
        return 0

    seconds = itertools.count()
    recycle = Recycle(0, 1000, print, clock=lambda: float(next(seconds)), memory=memory)
    with closing(Book(3, recycle)) as book:
        book.accounts.end(book.begin())
        assert len(looks) == 1
        book.accounts.publish()
        assert len(looks) == 2


class TestEmpty:
    def test_at_once(self, book: Book) -> None:
        called: list[int] = []
        book.accounts.when_empty(lambda: called.append(1))
        assert called == [1]

    def test_with_the_last_one(self, book: Book) -> None:
        """Listed or not."""
        called: list[int] = []
        numbers = [book.begin() for _ in range(4)]
        book.accounts.when_empty(lambda: called.append(1))
        for number in numbers:
            assert called == []
            book.accounts.end(number)
        assert called == [1]

    def test_once(self, book: Book) -> None:
        called: list[int] = []
        book.accounts.when_empty(lambda: called.append(1))
        book.accounts.end(book.begin())
        assert called == [1]


class TestLog:
    def test_end_of_a_request(self, book: Book) -> None:
        record = book.accounts.recorder("tcp")
        record("192.0.2.1:1", SERVED, 0.0, Traffic(10, 20, 0.0004))
        line = book.log_buffer.take(ALL)
        assert "[test#info] 192.0.2.1:1 tcp served " in line
        assert line.endswith(" in=10 out=20 rtt=0.40ms\n")

    def test_said(self, book: Book) -> None:
        book.accounts.say("warn", "text")
        assert book.log_buffer.take(ALL).endswith(" [test#warn] text\n")

    def test_raised(self, book: Book) -> None:
        """With client, transport, and the traceback of the user's code."""
        try:
            raise KeyError("x")
        except KeyError as error:
            book.accounts.say_raised("udp", "192.0.2.1:1", "the protocol", error)
        first, *rest = book.log_buffer.take(ALL).splitlines()
        assert first.endswith("[test#error] 192.0.2.1:1 udp: the protocol raised")
        assert any("test_accounts.py" in line for line in rest)
        assert rest[-1].endswith("KeyError: 'x'")
