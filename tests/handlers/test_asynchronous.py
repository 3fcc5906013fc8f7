"""Asynchronous handlers: their files by themselves, and the handlers on a real reactor."""

from __future__ import annotations

import os
import re
import socket
import struct
from asyncio import IncompleteReadError, LimitOverrunError
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netd.handlers import (
    AsyncDatagramRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
    PacketWriter,
    Reader,
    streams,
)
from netd.handlers.asynchronous import run
from netd.handlers.reading import HIGH_WATER, LOW_WATER
from netd.handlers.streams import StreamProtocol
from tests.execution.reactor_host import Host, hosting, read_all
from tests.reactors import HandReactor

T = TypeVar("T")


def packet(data: bytes) -> Reader:
    reader = Reader()
    reader.feed(data)
    reader.feed_eof()
    return reader


def failure_of(deferred: Deferred[Any]) -> BaseException:
    """What a Deferred has failed with."""
    assert isinstance(deferred.result, Failure)
    assert deferred.result.value is not None
    return deferred.result.value


def begun(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run a coroutine for as long as it can."""
    return Deferred.fromCoroutine(coroutine)


def result(awaitable: Awaitable[T]) -> T:
    """What an awaitable that does not wait gives; raises what it raises."""

    async def wait() -> T:
        return await awaitable

    results: list[T] = []
    errors: list[Any] = []
    begun(wait()).addCallbacks(results.append, errors.append)
    if errors:
        raise errors[0].value
    assert results, "it waits"
    return results[0]


class Connected:
    """A connection to nobody."""

    def __init__(self) -> None:
        self.clock = HandReactor()
        self.transport = StringTransport()
        self.protocol = StreamProtocol(self.clock)
        self.transport.protocol = self.protocol  # type: ignore[attr-defined]
        self.protocol.makeConnection(self.transport)
        self.rfile, self.wfile = streams(self.transport)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionLost()))

    @property
    def paused(self) -> bool:
        return bool(self.transport.producerState == "paused")


class TestReading:
    def test_line(self) -> None:
        reader = packet(b"one\ntwo")
        assert [result(reader.readline()) for _ in range(3)] == [b"one\n", b"two", b""]

    def test_line_is_limited(self) -> None:
        """What is longer comes in pieces, as of a file."""
        reader = packet(b"x" * 70_000 + b"\n")
        assert len(result(reader.readline())) == 65_536
        assert result(reader.readline(4000)) == b"x" * 4000
        assert len(result(reader.readline(-1))) == 465

    def test_line_at_the_limit(self) -> None:
        reader = packet(b"abc\ndef")
        assert result(reader.readline(4)) == b"abc\n"
        assert result(reader.readline(0)) == b""
        assert result(reader.readline(3)) == b"def"

    def test_lines_one_after_another(self) -> None:
        async def lines() -> list[bytes]:
            return [line async for line in packet(b"a\n\nb")]

        assert result(lines()) == [b"a\n", b"\n", b"b"]

    def test_read(self) -> None:
        """At most so many bytes; all without a number."""
        reader = packet(b"abcdef")
        assert [result(reader.read(n)) for n in (2, 0, 100, 1)] == [b"ab", b"", b"cdef", b""]
        assert result(packet(b"abc").read()) == b"abc"

    def test_exactly(self) -> None:
        reader = packet(b"abcde")
        assert result(reader.readexactly(3)) == b"abc"
        with pytest.raises(IncompleteReadError) as caught:
            result(reader.readexactly(3))
        assert (caught.value.partial, caught.value.expected) == (b"de", 3)
        with pytest.raises(ValueError, match="from 0"):
            result(reader.readexactly(-1))

    def test_until(self) -> None:
        reader = packet(b"a: b\r\n\r\nrest")
        assert result(reader.readuntil(b"\r\n\r\n")) == b"a: b\r\n\r\n"
        with pytest.raises(IncompleteReadError) as caught:
            result(reader.readuntil(b"\r\n"))
        assert caught.value.partial == b"rest"
        with pytest.raises(ValueError, match="separator"):
            result(reader.readuntil(b""))

    @pytest.mark.parametrize("data", [b"12345", b"1234\n"])
    def test_until_is_limited(self, data: bytes) -> None:
        """What is too long stays, for somebody else to read."""
        reader = packet(data)
        with pytest.raises(LimitOverrunError):
            result(reader.readuntil(b"\n", 4))
        assert result(reader.read()) == data

    @given(st.lists(st.binary(max_size=20)), st.binary(min_size=1, max_size=3))
    def test_pieces_do_not_matter(self, pieces: list[bytes], separator: bytes) -> None:
        """A separator is found wherever the network has cut what was sent."""
        one = Connected()
        whole = b"".join(pieces)
        got = begun(one.rfile.readuntil(separator))
        for piece in pieces:
            one.protocol.dataReceived(piece)
        one.protocol.readConnectionLost()
        if separator in whole:
            end = whole.index(separator) + len(separator)
            assert got.result == whole[:end]
            assert result(one.rfile.read()) == whole[end:]
        else:
            assert isinstance(got.result, Failure)
            got.addErrback(lambda failure: failure.trap(IncompleteReadError))

    def test_at_eof(self) -> None:
        reader = packet(b"x")
        assert not reader.at_eof()
        result(reader.read(1))
        assert reader.at_eof()


class TestWaiting:
    def test_for_data(self) -> None:
        one = Connected()
        line = begun(one.rfile.readline())
        one.protocol.dataReceived(b"hal")
        assert not line.called
        one.protocol.dataReceived(b"lo\nand more")
        assert line.result == b"hallo\n"
        assert result(one.rfile.read(100)) == b"and more"

    def test_one_reader_at_a_time(self) -> None:
        one = Connected()
        begun(one.rfile.read(1))
        with pytest.raises(RuntimeError, match="another task"):
            result(one.rfile.readline())

    def test_cancelled(self) -> None:
        """Who was cancelled is not woken up, and somebody else can read."""
        one = Connected()
        first = begun(one.rfile.read(1))
        first.addErrback(lambda _: "cancelled")
        first.cancel()
        assert first.result == "cancelled"
        second = begun(one.rfile.read(1))
        one.protocol.dataReceived(b"x")
        assert second.result == b"x"

    def test_timeout(self) -> None:
        """Of each wait, not of them all together."""
        one = Connected()
        one.rfile.timeout = 2.0
        line = begun(one.rfile.readline())
        one.clock.advance(1.5)
        one.protocol.dataReceived(b"x")
        one.clock.advance(1.5)
        assert not line.called
        one.clock.advance(0.5)
        with pytest.raises(TimeoutError):
            raise failure_of(line)
        line.addErrback(lambda _: None)
        assert result(one.rfile.read(1)) == b"x"
        assert one.clock.getDelayedCalls() == []

    def test_in_time(self) -> None:
        one = Connected()
        one.rfile.timeout = 2.0
        line = begun(one.rfile.readline())
        one.protocol.dataReceived(b"x\n")
        assert line.result == b"x\n"
        assert one.clock.getDelayedCalls() == []

    def test_lost(self) -> None:
        """Whoever waits, now or later, gets a ConnectionError; nothing more can be read."""
        one = Connected()
        line = begun(one.rfile.readline())
        one.protocol.dataReceived(b"half of a li")
        one.lose()
        with pytest.raises(ConnectionError, match="lost"):
            raise failure_of(line)
        line.addErrback(lambda _: None)
        calls: list[Callable[[], Awaitable[Any]]] = [
            one.rfile.read,
            one.rfile.readline,
            lambda: one.rfile.read(1),
            lambda: one.rfile.readexactly(1),
            one.rfile.readuntil,
            one.wfile.drain,
            lambda: one.wfile.write(b"x"),
            lambda: one.wfile.writelines([b"x"]),
        ]
        for call in calls:
            with pytest.raises(ConnectionResetError):
                result(call())
        with pytest.raises(ConnectionResetError):
            one.wfile.write_eof()


class TestReadingPressure:
    def test_client_has_to_wait(self) -> None:
        """Above the high-water mark, until its bytes are read."""
        one = Connected()
        one.protocol.dataReceived(bytes(HIGH_WATER))
        assert not one.paused
        one.protocol.dataReceived(b"x")
        assert one.paused
        result(one.rfile.readexactly(HIGH_WATER + 1 - LOW_WATER))
        assert one.paused
        result(one.rfile.read(1))
        assert not one.paused

    def test_whoever_wants_more_gets_it(self) -> None:
        one = Connected()
        one.protocol.dataReceived(bytes(HIGH_WATER + 1))
        assert one.paused
        much = begun(one.rfile.readexactly(3 * HIGH_WATER))
        assert not one.paused
        one.protocol.dataReceived(bytes(HIGH_WATER))
        assert not one.paused
        one.protocol.dataReceived(bytes(HIGH_WATER))
        assert len(much.result) == 3 * HIGH_WATER


class TestWritingPressure:
    def test_write_waits(self) -> None:
        """While the transport says that it is full, which it is asked in time."""
        one = Connected()
        result(one.wfile.write(b"a little"))
        assert one.transport.producer is None
        written = one.wfile.write(bytes(40_000))
        assert one.transport.producer is one.wfile
        one.wfile.pauseProducing()

        async def wait() -> None:
            await written

        waiting = begun(wait())
        assert not waiting.called
        one.wfile.resumeProducing()
        assert waiting.called

    def test_timeout(self) -> None:
        one = Connected()
        one.wfile.timeout = 2.0
        one.wfile.pauseProducing()
        waiting = begun(one.wfile.drain())
        one.clock.advance(2.0)
        with pytest.raises(TimeoutError):
            raise failure_of(waiting)
        waiting.addErrback(lambda _: None)

    def test_lost_while_waiting(self) -> None:
        one = Connected()
        one.wfile.pauseProducing()
        waiting = begun(one.wfile.drain())
        one.wfile.stopProducing()
        one.lose()
        with pytest.raises(ConnectionResetError):
            raise failure_of(waiting)
        waiting.addErrback(lambda _: None)

    def test_what_is_written(self) -> None:
        one = Connected()
        one.wfile.write(b"a")
        one.wfile.write(bytearray(b"b"))
        one.wfile.writelines([b"c", memoryview(b"d")])
        assert one.transport.value() == b"abcd"
        with pytest.raises(TypeError):
            one.wfile.write("text")  # type: ignore[arg-type]

    def test_packet(self) -> None:
        writer = PacketWriter()
        result(writer.write(b"a"))
        result(writer.writelines([b"b", b"c"]))
        result(writer.drain())
        assert writer.getvalue() == b"abc"


class Recorder(AsyncRequestHandler):
    def __init__(self, fails_in: str = "") -> None:
        super().__init__(None, None, None)  # type: ignore[arg-type]
        self.fails_in = fails_in
        self.parts: list[str] = []

    async def setup(self) -> None:
        self._part("setup")

    async def handle(self) -> None:
        self._part("handle")

    async def finish(self) -> None:
        self._part("finish")

    def _part(self, name: str) -> None:
        self.parts.append(name)
        if name == self.fails_in:
            raise KeyError(name)


@pytest.mark.parametrize(
    ("fails_in", "parts"),
    [
        ("", ["setup", "handle", "finish"]),
        ("setup", ["setup"]),
        ("handle", ["setup", "handle", "finish"]),
        ("finish", ["setup", "handle", "finish"]),
    ],
)
def test_order(fails_in: str, parts: list[str]) -> None:
    """As socketserver's BaseRequestHandler has it."""
    handler = Recorder(fails_in)
    if fails_in:
        with pytest.raises(KeyError):
            result(run(handler))
    else:
        result(run(handler))
    assert handler.parts == parts


def test_base_class_does_nothing() -> None:
    handler = AsyncRequestHandler("request", "address", None)  # type: ignore[arg-type]
    result(run(handler))
    assert vars(handler) == {"request": "request", "client_address": "address", "server": None}


def test_stream_handler_has_socketservers_names() -> None:
    one = Connected()
    handler = AsyncStreamRequestHandler(one.transport, ("host", 1), None)  # type: ignore[arg-type]
    result(run(handler))
    assert set(vars(handler)) == {
        *("request", "client_address", "server"),
        *("connection", "rfile", "wfile"),
    }
    assert handler.connection is handler.request


def test_datagram_has_no_streams() -> None:
    with pytest.raises(TypeError, match="datagram"):
        streams((b"data", None))


class Sent:
    """A transport for datagrams that sends nothing."""

    def __init__(self) -> None:
        self.packets: list[tuple[bytes, Any]] = []

    def write(self, data: bytes, address: Any) -> None:
        self.packets.append((data, address))


class Upper(AsyncDatagramRequestHandler):
    async def handle(self) -> None:
        await self.wfile.write((await self.rfile.read()).upper())


@pytest.mark.parametrize(
    ("data", "address", "packets"),
    [
        (b"abc", ("host", 1), [(b"ABC", ("host", 1))]),
        (b"", ("host", 1), []),
        (b"abc", None, []),
        (b"x" * 100_000, "path", [(b"X" * 100_000, "path")]),
    ],
)
def test_datagram_handler(data: bytes, address: Any, packets: list[Any]) -> None:
    """One packet back, or none."""
    transport = Sent()
    result(run(Upper((data, transport), address, None)))  # type: ignore[arg-type]
    assert transport.packets == packets


def test_clock_is_what_netd_asks_for() -> None:
    """The reactor of these tests is Twisted's own clock."""
    assert isinstance(Connected().clock, Clock)


# On a real reactor.


def talk(host: Host, *said: bytes) -> socket.socket:
    client = host.connect()
    for part in said:
        client.sendall(part)
    return client


@pytest.mark.parametrize("transport", ["tcp", "tcp6", "unix"])
class TestEveryTransport:
    def test_line(self, transport: str) -> None:
        with hosting("AsyncLine", transport) as host, host.connect(transport) as client:
            client.sendall(b"hel")
            client.sendall(b"lo\nnever read")
            assert client.recv(100) == b"hello\n"
            host.heard(f" {transport} served ", "out=6")

    def test_handler_finds(self, transport: str) -> None:
        with hosting("AsyncLook", transport) as host, host.connect(transport) as client:
            found = f"['client_address', 'request', 'server'] {client.getsockname()!r} _Server"
            assert read_all(client).decode() == found


class TestOrder:
    @pytest.mark.parametrize(
        ("fails_in", "parts"),
        [
            ("", b"setup handle finish "),
            ("setup", b"setup "),
            ("handle", b"setup handle finish "),
            ("finish", b"setup handle finish "),
        ],
    )
    def test_raising_ends_its_own_connection(self, fails_in: str, parts: bytes) -> None:
        """SystemExit, too; what was written before is sent, and it is logged once."""
        with hosting("AsyncParts", options={"raises": fails_in}) as host:
            assert host.ask() == parts
            assert host.ask() == parts
            if fails_in:
                host.heard("tcp: the handler raised")
                host.heard(" tcp failed ")
            lines = host.everything()
            raised = [line for line in lines if f"SystemExit: in {fails_in}" in line]
            assert len(raised) == (2 if fails_in else 0)
            counts = host.scoreboard.counts()
            assert (counts.served, counts.failed) == (2, len(raised))


class TestTalk:
    def test_reading_and_writing(self) -> None:
        with hosting("AsyncTalk") as host:
            talk_ = b"exactly 3\nabcuntil ;\nd;rest\n" + bytes(1000)
            assert host.ask(talk_) == b"<abc>d;1000"

    def test_half_close_by_the_client(self) -> None:
        """It is answered after it has finished."""
        with hosting("AsyncTalk") as host:
            assert host.ask(b"rest\nabc") == b"3"

    def test_half_close_by_the_handler(self) -> None:
        """It reads on after it has finished."""
        with hosting("AsyncTalk") as host, talk(host, b"eof\n") as client:
            assert client.recv(10) == b""
            client.sendall(b"more")
            client.shutdown(socket.SHUT_WR)
            host.heard("still comes b'more'")
            host.heard("tcp served")

    def test_task_of_its_own(self) -> None:
        """A handler may read in another coroutine."""
        with hosting("AsyncTalk") as host, talk(host, b"task\n") as client:
            client.sendall(b"line\n")
            assert client.recv(10) == b"line\n"

    def test_nagle(self) -> None:
        with hosting("AsyncTalk", "tcp", "unix") as host:
            assert host.ask(b"nodelay\n") == b"True"
            assert host.ask(b"nodelay\n", "unix") == b"False"

    def test_what_cannot_be_awaited(self) -> None:
        """A future of asyncio's says so, instead of hanging."""
        with hosting("AsyncTalk") as host:
            assert host.ask(b"foreign\n") == b""
            host.heard("TypeError", "cannot be awaited here")

    def test_timeout(self) -> None:
        """Of reading, and of writing."""
        with hosting("AsyncImpatient") as host:
            with talk(host) as client:
                assert client.recv(10) == b""
            with talk(host, b"write\n"):
                host.heard("TimeoutError: timed out")
                lines = host.everything()
                assert sum("TimeoutError: timed out" in line for line in lines) == 2


class TestPressure:
    def test_client_that_never_reads(self) -> None:
        """It costs no more than the two buffers, however much there is for it."""
        with hosting("AsyncTalk") as host, talk(host, b"flood 3200\n"):
            assert _grown(host) < 16

    def test_client_that_reads_late(self) -> None:
        """It gets everything."""
        with hosting("AsyncTalk") as host, talk(host, b"flood 320\n") as client:
            _grown(host)
            client.shutdown(socket.SHUT_WR)
            assert len(read_all(client)) == 320 << 16

    def test_client_that_sends_too_fast(self) -> None:
        """It waits, and everything arrives in the end."""
        size = 32 << 20
        with hosting("AsyncLazy") as host:
            assert host.ask(bytes(size)) == str(size).encode()
            assert _grown(host) < 4


def _grown(host: Host) -> int:
    found = re.search(r"grown by (\d+) MiB", host.heard("grown by"))
    assert found is not None
    return int(found[1])


def reset(client: socket.socket) -> None:
    """Go without a good-bye (SO_LINGER, socket(7))."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


class TestLostConnections:
    def test_handler_that_waits_for_its_client(self) -> None:
        """It gets a ConnectionError, may clean up, and is no failure."""
        with hosting("AsyncTalk") as host:
            client = talk(host, b"client\n")
            host.heard("waiting")
            reset(client)
            host.heard("raised ConnectionResetError")
            host.heard("cleaned up")
            host.heard("finish")
            host.heard(" tcp lost ")
            assert not any("the handler raised" in line for line in host.everything())
            assert host.scoreboard.counts().failed == 0

    def test_handler_that_waits_for_something_else(self) -> None:
        """It is cancelled."""
        with hosting("AsyncTalk") as host:
            client = talk(host, b"nothing\n")
            host.heard("waiting")
            reset(client)
            host.heard("raised CancelledError")
            host.heard("finish")
            host.heard(" tcp lost ")

    def test_handler_that_carries_on(self) -> None:
        """Everything it wants from its client from then on fails."""
        with hosting("AsyncTalk") as host:
            client = talk(host, b"swallow\n")
            host.heard("waiting")
            reset(client)
            host.heard("swallowed")
            lines = host.everything()
            assert [line.split()[-1] for line in lines if line.startswith("raised")] == [
                "CancelledError",
                "ConnectionResetError",
                "ConnectionResetError",
            ]

    @pytest.mark.parametrize("how", [b"abort\n", b"close\n"])
    def test_handler_that_closes_its_own_connection(self, how: bytes) -> None:
        """It does not wait for ever for something else after that."""
        with hosting("AsyncTalk") as host:
            with talk(host, how) as client:
                try:
                    assert read_all(client) == b""
                except ConnectionResetError:
                    assert how == b"abort\n"
            host.heard("finish")
            assert host.everything()[-1] == "STOPPED"

    def test_nothing_is_left(self) -> None:
        """Neither a descriptor nor a slot."""
        with hosting("AsyncTalk") as host:
            before = len(os.listdir(f"/proc/{host.process.pid}/fd"))
            for said in (b"client\n", b"nothing\n") * 5:
                client = talk(host, said)
                host.heard("waiting")
                reset(client)
                host.heard(" tcp lost ")
                host.lines.clear()
            assert len(os.listdir(f"/proc/{host.process.pid}/fd")) == before
            assert host.scoreboard.occupants() == []
