"""``netd.execution.reactor.transport`` by hand: when something is sent, and who somebody is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from twisted.internet.protocol import Protocol

from netd.execution.reactor.accounts import Accounts
from netd.execution.reactor.addressing import with_scope
from netd.execution.reactor.sending import Sending
from netd.execution.reactor.transport import ListenerContext, StreamTransport
from netd.execution.sources.stream import InetStream
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.log.buffer import LogBuffer
from netd.model.address import Transport
from tests.execution.reactor.hosts import PATIENCE, read_all
from tests.execution.reactor.test_receiving import FdReactor

GEOMETRY = Geometry(1, 1, 2)


class StreamReactor(FdReactor):
    """A reactor that remembers who waits for room, too."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[Any] = set()

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)


class Stage:
    """A connection to a client, whose protocol does nothing by itself."""

    def __init__(self) -> None:
        self.reactor = StreamReactor()
        descriptor = Scoreboard.make("test", GEOMETRY)
        self._board = Scoreboard(descriptor, GEOMETRY)
        os.close(descriptor)
        self.log_buffer = LogBuffer(lambda: None)
        accounts = Accounts("test", self._board.block(0), self.log_buffer)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.client = socket.create_connection(self._listener.getsockname(), PATIENCE)
        request = InetStream(self._listener, Transport.TCP).next_request()
        place = ListenerContext("test", "tcp", accounts, self.reactor)
        self.transport = StreamTransport(request, accounts.begin(0, request, 0.0), 0.0, place, 1)
        self.transport.open(lambda _: Protocol())

    def close(self) -> None:
        self.transport.abortConnection()
        self.reactor.advance(0)
        self.client.close()
        self._listener.close()
        self._board.close()

    def turn(self) -> None:
        """The reactor makes the calls that are due, and lets write who waits for room."""
        self.reactor.advance(0)
        for writer in set(self.reactor.writers):
            why = writer.doWrite()
            if why is not None:
                writer.end(why)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with closing(Stage()) as made:
        yield made


class TestSending:
    def test_at_the_end_of_the_turn(self, stage: Stage) -> None:
        """All that was written meanwhile; the kernel is not asked for room first."""
        stage.transport.write(b"one ")
        stage.transport.write(b"two")
        assert stage.reactor.writers == set()
        stage.turn()
        assert stage.client.recv(100) == b"one two"
        assert stage.reactor.getDelayedCalls() == []

    def test_for_room(self, stage: Stage) -> None:
        """What the kernel does not take waits until it does; nothing is called meanwhile."""
        size = 32 << 20
        stage.transport.write(bytes(size))
        stage.transport.loseConnection()
        for _ in range(1000):
            stage.turn()
        assert stage.reactor.writers == {stage.transport}
        assert stage.reactor.getDelayedCalls() == []
        got = 0
        while got < size:
            got += len(stage.client.recv(1 << 20))
            stage.turn()
        assert read_all(stage.client) == b""
        assert stage.transport.disconnected
        assert stage.reactor.writers == set()

    def test_pending(self, stage: Stage) -> None:
        """What the client has not got counts, wherever it waits."""
        assert stage.transport.pending() == 0
        size = 32 << 20
        stage.transport.write(bytes(size))
        assert stage.transport.pending() == size
        for _ in range(1000):
            stage.turn()
        # The client's kernel has acknowledged what it has room for.
        before = stage.transport.pending()
        assert 0 < before < size
        stage.client.recv(16 << 20, socket.MSG_WAITALL)
        stage.turn()
        assert stage.transport.pending() < before

    def test_one_that_fails(self) -> None:
        """It ends, and the others are sent."""

        class Waiting:
            def __init__(self, error: BaseException | None) -> None:
                self.error = error
                self.told: list[Any] = []

            def send(self) -> None:
                self.told.append("send")
                if self.error is not None:
                    raise self.error

            def end(self, why: BaseException) -> None:
                self.told.append(why)

        reactor = FdReactor()
        sending = Sending("test", reactor)
        error = MemoryError()
        broken, sound = Waiting(error), Waiting(None)
        for one in (broken, sound):
            sending.add(one)
        reactor.advance(0)
        assert broken.told == ["send", error]
        assert sound.told == ["send"]
        sending.add(sound)
        reactor.advance(0)
        assert sound.told == ["send", "send"]


LOOPBACK, NAME = socket.if_nameindex()[0]
NOWHERE = 99_999


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        (("2001:db8::1", 4711, 0, 0), "2001:db8::1"),
        (("fe80::1", 4711, 0, LOOPBACK), f"fe80::1%{NAME}"),
        (("fe80::1", 4711, 0, NOWHERE), f"fe80::1%{NOWHERE}"),
    ],
)
def test_client_on_a_link(client: tuple[Any, ...], shown: str) -> None:
    """As Twisted has it: the address tells the link, by name where it has one."""
    assert with_scope(client) == (shown, *client[1:])
