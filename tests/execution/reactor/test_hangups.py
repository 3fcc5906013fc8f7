"""``netd.execution.reactor.hangups``: clients that go while nobody reads from them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from netd.execution.reactor.hangups import Hangups
from tests.execution.reactor.test_receiving import FdReactor


class Connection:
    """A connection to a client, which notes what it is told."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.create_connection(listener.getsockname())
            self.socket, _ = listener.accept()
        self.told: list[str] = []

    def fileno(self) -> int:
        return self.socket.fileno()

    def hung_up(self, *, broken: bool) -> None:
        self.told.append("broken" if broken else "ended")

    def reset(self) -> None:
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()

    def close(self) -> None:
        self.client.close()
        self.socket.close()


class Stage:
    def __init__(self) -> None:
        self.reactor = FdReactor()
        self.hangups = Hangups("test", self.reactor)
        self._stack = ExitStack()
        self._stack.callback(self.hangups.close)

    def connection(self, watched: bool = True) -> Connection:
        made = self._stack.enter_context(closing(Connection()))
        if watched:
            self.hangups.watch(made)
        return made

    def close(self) -> None:
        self._stack.close()
        assert self.reactor.readers == set()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with closing(Stage()) as made:
        yield made


def test_costs_nothing_until_it_is_needed(stage: Stage) -> None:
    assert stage.hangups.fileno() == -1
    assert stage.reactor.readers == set()
    stage.hangups.doRead()
    stage.connection()
    assert stage.reactor.readers == {stage.hangups}
    assert stage.hangups.fileno() >= 0


class TestTold:
    def test_of_a_reset(self, stage: Stage) -> None:
        """He whose client has gone, and nobody else."""
        one, other = stage.connection(), stage.connection()
        one.reset()
        stage.hangups.doRead()
        assert (one.told, other.told) == (["broken"], [])

    def test_of_the_end_of_both_directions(self, stage: Stage) -> None:
        one = stage.connection()
        one.client.close()
        stage.hangups.doRead()
        assert one.told == []
        one.socket.shutdown(socket.SHUT_WR)
        stage.hangups.doRead()
        assert one.told == ["ended"]

    def test_once(self, stage: Stage) -> None:
        """And then there is nothing left to be read, so nobody spins."""
        one = stage.connection()
        one.reset()
        for _ in range(2):
            stage.hangups.doRead()
        assert one.told == ["broken"]

    def test_of_what_was_before(self, stage: Stage) -> None:
        one = stage.connection(watched=False)
        one.reset()
        stage.hangups.watch(one)
        stage.hangups.doRead()
        assert one.told == ["broken"]

    def test_not_of_data(self, stage: Stage) -> None:
        """Nor that the client has finished sending."""
        one = stage.connection()
        one.client.sendall(b"x")
        one.client.shutdown(socket.SHUT_WR)
        stage.hangups.doRead()
        assert one.told == []


class TestForgotten:
    def test_is_not_told(self, stage: Stage) -> None:
        one = stage.connection()
        stage.hangups.forget(one)
        one.reset()
        stage.hangups.doRead()
        assert one.told == []

    def test_who_was_never_watched(self, stage: Stage) -> None:
        stage.hangups.forget(stage.connection(watched=False))

    def test_watched_again(self, stage: Stage) -> None:
        one = stage.connection()
        stage.hangups.watch(one)
        stage.hangups.forget(one)
        stage.hangups.watch(one)
        one.reset()
        stage.hangups.doRead()
        assert one.told == ["broken"]

    def test_while_others_are_told(self, stage: Stage) -> None:
        """One that hears of its client's end may end another one."""
        one, other = stage.connection(), stage.connection()
        for told, friend in ((one, other), (other, one)):
            told.reset()

            def hung_up(
                *, broken: bool, told: Connection = told, friend: Connection = friend
            ) -> None:
                told.told.append("broken")
                stage.hangups.forget(friend)

            told.hung_up = hung_up  # type: ignore[method-assign]
        stage.hangups.doRead()
        assert sorted([one.told, other.told]) == [[], ["broken"]]


class TestClosedByStrangers:
    def test_number_of_another_one(self, stage: Stage) -> None:
        """Who closed a connection's socket behind our back has made its number free."""
        one = stage.connection()
        one.close()
        stage.hangups.watch(one)
        other = stage.connection()
        stage.hangups.forget(one)
        other.reset()
        stage.hangups.doRead()
        assert (one.told, other.told) == ([], ["broken"])

    def test_before_it_was_watched(self, stage: Stage) -> None:
        one = stage.connection(watched=False)
        one.close()
        stage.hangups.watch(one)
        assert one.told == []
