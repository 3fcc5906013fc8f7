"""``netd.execution.reactor.accounts``: who is inside, and what has become of those who were."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from netd.execution.reactor.accounts import Accounts
from netd.execution.recycle import Recycle
from netd.ipc.scoreboard import Counts, Scoreboard
from netd.log.buffer import LogBuffer
from netd.log.record import Traffic

ALL = 1 << 20
"""Characters: no limit."""


class Book:
    """Accounts of a service with a page of *slots* slots."""

    def __init__(self, slots: int, recycle: Recycle | None = None) -> None:
        descriptor = Scoreboard.make("test", slots)
        self.board = Scoreboard(descriptor, slots)
        os.close(descriptor)
        self.log_buffer = LogBuffer(lambda: None)
        own = [self.board.slot(number) for number in range(slots)]
        self.accounts = Accounts("test", own, self.log_buffer, recycle)

    def close(self) -> None:
        self.board.close()

    @property
    def inside(self) -> list[str]:
        return sorted(
            active_connection.client for active_connection in self.board.active_connections()
        )


@pytest.fixture
def book() -> Iterator[Book]:
    with closing(Book(3)) as made:
        yield made


class TestInside:
    def test_comes_and_goes(self, book: Book) -> None:
        slot = book.accounts.enter("192.0.2.1:1", 12.5)
        (active_connection,) = book.board.active_connections()
        assert (active_connection.client, active_connection.since) == ("192.0.2.1:1", 12.5)
        book.accounts.leave(slot)
        assert book.inside == []

    def test_slots_are_used_again(self, book: Book) -> None:
        for number in range(10):
            one = book.accounts.enter(f"one {number}", 0.0)
            other = book.accounts.enter(f"other {number}", 0.0)
            assert book.inside == [f"one {number}", f"other {number}"]
            book.accounts.leave(one)
            book.accounts.leave(other)

    def test_more_than_slots(self, book: Book) -> None:
        """Those beyond share a slot: they are counted, and not listed."""
        slots = [book.accounts.enter(f"client {number}", 0.0) for number in range(5)]
        assert book.inside == ["client 0", "client 1"]
        for slot in slots:
            slot.served += 1
            book.accounts.leave(slot)
        assert book.board.counts() == Counts(served=5)
        assert book.inside == []

    def test_one_slot_only(self) -> None:
        """It is the shared one."""
        with closing(Book(1)) as book:
            slot = book.accounts.enter("client", 0.0)
            assert slot is book.accounts.shared
            assert book.inside == []
            book.accounts.leave(slot)

    def test_what_is_counted_becomes_visible(self, book: Book) -> None:
        book.accounts.shared.dropped += 2
        assert book.board.counts() == Counts()
        book.accounts.show()
        assert book.board.counts() == Counts(dropped=2)


def test_memory_is_looked_at() -> None:
    """When somebody has gone, and when what takes no time has been done."""
    looks: list[int] = []

    def memory() -> int:
        looks.append(1)
        return 0

    seconds = itertools.count()
    recycle = Recycle(0, 1000, print, clock=lambda: float(next(seconds)), memory=memory)
    with closing(Book(3, recycle)) as book:
        book.accounts.leave(book.accounts.enter("client", 0.0))
        assert len(looks) == 1
        book.accounts.show()
        assert len(looks) == 2


class TestEmpty:
    def test_at_once(self, book: Book) -> None:
        called: list[int] = []
        book.accounts.when_empty(lambda: called.append(1))
        assert called == [1]

    def test_with_the_last_one(self, book: Book) -> None:
        """Listed or not."""
        called: list[int] = []
        slots = [book.accounts.enter("client", 0.0) for _ in range(4)]
        book.accounts.when_empty(lambda: called.append(1))
        for slot in slots:
            assert called == []
            book.accounts.leave(slot)
        assert called == [1]

    def test_once(self, book: Book) -> None:
        called: list[int] = []
        book.accounts.when_empty(lambda: called.append(1))
        book.accounts.leave(book.accounts.enter("client", 0.0))
        assert called == [1]


class TestLog:
    def test_end_of_a_request(self, book: Book) -> None:
        book.accounts.log("tcp", "192.0.2.1:1", "served", 0.0, Traffic(10, 20, 0.0004))
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
