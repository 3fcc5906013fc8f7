"""``netd.execution.reactor.datagrams`` by hand: how much is received, and when not."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from netd.accept.pause import PAUSE, Pause
from netd.admission.filter import ReactorFilter
from netd.execution.reactor.accounts import Accounts
from netd.execution.reactor.admission import Admission
from netd.execution.reactor.datagrams import AT_ONCE, BATCH, Datagrams, ProtocolDatagrams, _pair
from netd.execution.reactor.ports import ReactorListenerSocket, UdpTransport
from netd.execution.recycle import Recycle
from netd.execution.request import Request, TooLong
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Counts, Scoreboard
from netd.log.buffer import LogBuffer
from netd.model.address import Transport
from tests.reactors import HandReactor

CLIENT = ("127.0.0.1", 4711)
PACKET = Request((b"data", None), CLIENT, "127.0.0.1:4711", None)

GEOMETRY = Geometry(1, 1, 4)


class FdReactor(HandReactor):
    """A reactor that remembers whom it watches."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        """Nobody ever waits to write a datagram."""


class Queue:
    """A source that has what it is given, and then nothing for now."""

    transport = Transport.UDP
    may_block = False

    def __init__(self, things: list[Request | BaseException]) -> None:
        self.things = things

    def fileno(self) -> int:
        return -1

    def next_request(self) -> Request:
        if not self.things:
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        thing = self.things.pop(0)
        if isinstance(thing, BaseException):
            raise thing
        return thing


class Stage:
    """What is around one Datagrams."""

    def __init__(self) -> None:
        self.reactor = FdReactor()
        descriptor = Scoreboard.make("test", GEOMETRY)
        self.board = Scoreboard(descriptor, GEOMETRY)
        os.close(descriptor)
        self.log_buffer = LogBuffer(lambda: None)
        self.accounts = Accounts("test", self.board.block(0), self.log_buffer)
        self.source = Queue([])
        self.served: list[Request] = []
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._listener.bind(("127.0.0.1", 0))

    def close(self) -> None:
        self.board.close()
        self._listener.close()
        self.datagrams.transport.connectionLost()

    def datagrams_of(
        self,
        *things: Request | BaseException,
        verify: Callable[[Any, Any], Any] | None = None,
        serve: Callable[[Request], None] | None = None,
    ) -> Datagrams:
        """Begin to receive *things*."""
        self.source.things = list(things)
        asked = None if verify is None else ReactorFilter(verify, 5.0, self.reactor, print)
        pause = Pause(self.accounts.say, self.reactor.callLater)
        self.datagrams = Datagrams(
            "test", self.source, Admission(None, asked, dry_run=False), self.accounts, pause
        )
        copy: Any = ReactorListenerSocket.copy_of(self._listener)
        transport = UdpTransport(copy, DatagramProtocol(), self.datagrams, 8192, self.reactor)
        self.datagrams.connect(transport, serve or self.served.append)
        transport.startReading()
        return self.datagrams

    @property
    def is_watched(self) -> bool:
        return bool(self.reactor.readers)

    @property
    def said(self) -> str:
        return self.log_buffer.take(1 << 20)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with closing(Stage()) as made:
        yield made


class TestBatch:
    def test_others_have_their_turn(self, stage: Stage) -> None:
        """However many datagrams there are, a wake-up takes only so many."""
        datagrams = stage.datagrams_of(*[PACKET] * (BATCH + 10))
        datagrams.receive()
        assert len(stage.served) == BATCH
        datagrams.receive()
        assert len(stage.served) == BATCH + 10

    def test_what_is_no_datagram_counts(self, stage: Stage) -> None:
        """Errors and packets that are too long are turns, too: nobody makes it spin."""
        refused = ConnectionRefusedError(errno.ECONNREFUSED, "of a datagram before")
        datagrams = stage.datagrams_of(*[TooLong("c", 9), refused] * BATCH, PACKET)
        datagrams.receive()
        assert len(stage.source.things) == BATCH + 1
        assert stage.board.counts() == Counts(dropped=BATCH // 2)
        assert stage.is_watched

    def test_counts_become_visible(self, stage: Stage) -> None:
        datagrams = stage.datagrams_of(PACKET, PACKET)
        protocol = DatagramProtocol()
        serve = ProtocolDatagrams(datagrams, protocol, of_inet6=False).serve
        datagrams.connect(datagrams.transport, serve)
        datagrams.receive()
        assert stage.board.counts() == Counts(served=2)


def test_each_counts_as_a_request(stage: Stage) -> None:
    """Where the process is replaced after so many."""
    worn: list[str] = []
    stage.accounts.recycle = Recycle(3, None, worn.append, chance=lambda: 0.0)
    stage.datagrams_of(PACKET, PACKET).receive()
    assert worn == []
    stage.datagrams.transport.connectionLost()
    stage.datagrams_of(PACKET).receive()
    assert worn == ["has taken 3 requests"]


class TestUnderWay:
    def test_as_many_as_there_may_be(self, stage: Stage) -> None:
        """Then no more are received, until one is done."""
        datagrams = stage.datagrams_of()
        slots = [datagrams.hold(PACKET, 0.0) for _ in range(AT_ONCE - 1)]
        assert stage.is_watched
        slots.append(datagrams.hold(PACKET, 0.0))
        assert not stage.is_watched
        datagrams.release(slots.pop())
        assert stage.is_watched

    def test_more_than_there_may_be(self, stage: Stage) -> None:
        """A batch may go beyond it; it is watched again when they are fewer."""
        datagrams = stage.datagrams_of()
        slots = [datagrams.hold(PACKET, 0.0) for _ in range(AT_ONCE + 2)]
        for watched in (False, False, True):
            datagrams.release(slots.pop())
            assert stage.is_watched is watched

    def test_not_once_it_is_stopped(self, stage: Stage) -> None:
        datagrams = stage.datagrams_of()
        slots = [datagrams.hold(PACKET, 0.0) for _ in range(AT_ONCE)]
        datagrams.stop()
        datagrams.release(slots.pop())
        assert not stage.is_watched

    def test_rest_does_not_bring_it_back(self, stage: Stage) -> None:
        datagrams = stage.datagrams_of(OSError(errno.ENOMEM, "no memory"))
        datagrams.receive()
        slots = [datagrams.hold(PACKET, 0.0) for _ in range(AT_ONCE)]
        stage.reactor.advance(PAUSE)
        assert not stage.is_watched
        datagrams.release(slots.pop())
        assert stage.is_watched

    def test_filter_that_waits_holds(self, stage: Stage) -> None:
        verdict: Deferred[bool] = Deferred()
        datagrams = stage.datagrams_of(PACKET, verify=lambda *_: verdict)
        datagrams.receive()
        assert [one.client for one in stage.board.active_connections()] == ["127.0.0.1:4711"]
        verdict.callback(True)
        assert stage.served == [PACKET]
        assert stage.board.active_connections() == []


class TestFailures:
    def test_rests(self, stage: Stage) -> None:
        datagrams = stage.datagrams_of(OSError(errno.ENOMEM, "no memory"), PACKET)
        datagrams.receive()
        assert not stage.is_watched
        assert "out of descriptors or memory" in stage.said
        stage.reactor.advance(PAUSE)
        assert stage.is_watched
        datagrams.receive()
        assert stage.served == [PACKET]
        assert "accepting again" in stage.said

    @pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a bug")])
    def test_whatever_it_is(self, stage: Stage, error: BaseException) -> None:
        stage.datagrams_of(error).receive()
        assert not stage.is_watched
        assert "cannot accept" in stage.said


@pytest.mark.parametrize(
    ("address", "pair"),
    [
        (("2001:db8::1", 4711, 0, 0), ("2001:db8::1", 4711)),
        (("fe80::1", 4711, 0, 3), ("fe80::1%3", 4711)),
    ],
)
def test_address_of_a_link(address: tuple[Any, ...], pair: tuple[str, int]) -> None:
    """Twisted's addresses have two parts; without the link nobody could answer."""
    assert _pair(address) == pair
