"""``netd.accept.pending``: the bounds on connections that are not served yet."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from netd.accept.first_bytes import FirstBytes
from netd.accept.next_step import Step
from netd.accept.pending import LAST_CALL, Client, PendingConnection, PendingConnections
from netd.accept.refusal import CROWDED, TIMED_OUT, Refusal
from netd.model.peer import Credentials
from tests.reactors import HandReactor

HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n"
NEVER = 0.999
"""A chance that drops nothing before the bound is reached."""


def admit(_: Client) -> str | None:
    return None


class One(PendingConnection):
    """A connection whose end is its removal, as in a reactor."""

    __slots__ = ("all",)

    def __init__(
        self,
        all_: PendingConnections,
        ours: socket.socket,
        lists: Callable[[Client], str | None] = admit,
        *,
        since: float | None = None,
        awaits_header: bool = False,
    ) -> None:
        first_bytes = FirstBytes(
            ours,
            ("10.0.0.1", 1),
            "10.0.0.1:1",
            time.monotonic() if since is None else since,
            awaits_header=awaits_header,
            awaits_byte=True,
        )
        super().__init__(first_bytes, Credentials(1, 1), lists, awaits_handshake=True)
        self.all = all_

    def give_up(self) -> None:
        self.all.remove(self)


class Waiting(One):
    """A connection that stays until a thread is free to close it."""

    __slots__ = ()

    def give_up(self) -> None:
        """A thread gets the event."""


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.fixture
def ours() -> Iterator[socket.socket]:
    with pair() as (one, _):
        yield one


def test_time_is_over(ours: socket.socket) -> None:
    reactor = HandReactor()
    pending = PendingConnections(10, 5.0, reactor)
    quick, slow = One(pending, ours), One(pending, ours)
    pending.add(quick)
    pending.add(slow)
    pending.remove(quick)
    reactor.advance(5)
    assert (quick.ended_by, slow.ended_by) == (None, TIMED_OUT)
    assert not len(pending)


def test_its_time_began_in_the_daemon(ours: socket.socket) -> None:
    """Whatever the order in which connections come from there."""
    reactor = HandReactor()
    pending = PendingConnections(10, 50.0, reactor)
    new, old = One(pending, ours), One(pending, ours, since=time.monotonic() - 40)
    pending.add(new)
    pending.add(old)
    reactor.advance(10)
    assert (new.ended_by, old.ended_by) == (None, TIMED_OUT)


def test_crowded(ours: socket.socket) -> None:
    """From half of the bound on by chance, and always at the bound, the oldest is dropped."""
    chances = iter([0.0, 0.0, 0.31, 0.29, 0.999, 0.999, 0.999])
    pending = PendingConnections(4, 5.0, HandReactor(), chance=lambda: next(chances))
    ones = [One(pending, ours) for _ in range(7)]
    for one in ones:
        assert pending.refuses(one) is None
        pending.add(one)
    assert [one.ended_by for one in ones] == [CROWDED] * 3 + [None] * 4


def test_none_is_free_to_close_what_was_dropped(ours: socket.socket) -> None:
    """Then new connections are refused, so that the bound holds: twice as many at most."""
    reactor = HandReactor()
    pending = PendingConnections(2, 5.0, reactor, threading.Lock(), lambda: NEVER)
    ones = [Waiting(pending, ours) for _ in range(4)]
    for one in ones:
        assert pending.refuses(one) is None
        pending.add(one)
    assert pending.refuses(Waiting(pending, ours)) == Refusal(CROWDED)
    assert len(pending) == 4


class TestRefusal:
    def test_by_the_lists(self, ours: socket.socket) -> None:
        """Such a connection displaces no other one."""
        pending = PendingConnections(1, 5.0, HandReactor())
        first = One(pending, ours)
        pending.add(first)
        assert pending.refuses(One(pending, ours, lambda _: "deny")) == Refusal("deny")
        assert first.ended_by is None

    def test_overdue(self, ours: socket.socket) -> None:
        pending = PendingConnections(1, 5.0, HandReactor())
        late = One(pending, ours, since=time.monotonic() - 6)
        assert pending.refuses(late) == Refusal(TIMED_OUT)

    def test_the_lists_are_asked_once_about_the_client(self) -> None:
        asked: list[tuple[object, object]] = []

        def lists(client: Client) -> str | None:
            asked.append((client.client_address, client.peer))
            return None

        with pair() as (ours, theirs):
            pending = PendingConnections(9, 5.0, HandReactor())
            proxied = One(pending, ours, lists, awaits_header=True)
            assert pending.refuses(proxied) is None
            assert proxied.advance() is Step.HEADER
            assert asked == []
            theirs.sendall(HEADER)
            assert proxied.advance() is Step.FIRST_BYTE
            theirs.sendall(b"\x16")
            assert proxied.advance() is Step.HANDSHAKE
            assert asked == [(("192.0.2.1", 4711), None)]

    def test_before_the_first_byte_of_a_proxied_client(self) -> None:
        with pair() as (ours, theirs):
            pending = PendingConnections(9, 5.0, HandReactor())
            proxied = One(pending, ours, lambda _: "deny", awaits_header=True)
            theirs.sendall(HEADER)
            assert proxied.advance() == Refusal("deny")


class TestStop:
    def test_none_is_pending(self) -> None:
        told: list[str] = []
        pending = PendingConnections(4, 5.0, HandReactor())
        pending.when_empty(lambda: told.append("empty"))
        assert told == ["empty"]

    def test_the_last_one_is_served(self, ours: socket.socket) -> None:
        told: list[str] = []
        pending = PendingConnections(4, 5.0, HandReactor())
        one = One(pending, ours)
        pending.add(one)
        pending.when_empty(lambda: told.append("empty"))
        assert told == []
        pending.remove(one)
        assert (told, one.ended_by) == (["empty"], None)

    def test_in_threads_the_reactor_is_told(self, ours: socket.socket) -> None:
        told: list[str] = []
        reactor = HandReactor()
        pending = PendingConnections(4, 5.0, reactor, threading.Lock())
        one = One(pending, ours)
        pending.add(one)
        pending.when_empty(lambda: told.append("empty"))
        pending.remove(one)
        assert told == []
        reactor.run()
        assert told == ["empty"]

    def test_no_longer_than_the_last_call(self, ours: socket.socket) -> None:
        """However much time they would have had."""
        told: list[str] = []
        reactor = HandReactor()
        pending = PendingConnections(4, 500.0, reactor)
        with ExitStack():
            one = One(pending, ours)
            pending.add(one)
            pending.when_empty(lambda: told.append("empty"))
            reactor.advance(LAST_CALL)
        assert (told, one.ended_by) == (["empty"], TIMED_OUT)
