"""Asynchronous handlers: the order of their parts, and the handlers on a real reactor."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
from twisted.internet.task import Clock

from netd.handlers import (
    AsyncDatagramRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
)
from netd.handlers.asynchronous import run
from tests.execution.reactor.hosts import PATIENCE, Host, hosting, read_all, reset
from tests.handlers.connected import Connected, result


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


class TestAfterTheHandler:
    def test_client_takes_nothing(self) -> None:
        """What is left to be sent may wait for the handler's ``timeout``, and no longer."""
        options = {"timeout": 0.05}
        with (
            hosting("AsyncGenerous", options=options, collects=False) as host,
            talk(host, b"\n") as client,
        ):
            host.heard(" tcp lost ")
            assert host.everything()[-1] == "STOPPED"
            assert host.scoreboard.counts().failed == 0
            assert host.alive == 0
            client.close()

    def test_client_takes_it(self) -> None:
        options = {"timeout": PATIENCE}
        with hosting("AsyncGenerous", options=options) as host, talk(host, b"\n") as client:
            assert len(read_all(client)) == 32 << 20
            host.heard(" tcp served ", f"out={32 << 20}")

    def test_task_that_is_left(self) -> None:
        """Writes no more: nobody would send it."""
        with hosting("AsyncLeaving") as host:
            assert host.ask() == b""
            host.heard("left: ")


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

    @pytest.mark.parametrize("more", [0, 200_000])
    def test_while_nobody_reads(self, more: int) -> None:
        """The client has finished sending, or sent more than there is room for, and then goes."""
        with hosting("AsyncTalk") as host:
            client = talk(host, b"nothing\n", bytes(more))
            host.heard("waiting")
            if not more:
                client.shutdown(socket.SHUT_WR)
            reset(client)
            host.heard("raised CancelledError")
            host.heard(" tcp lost ")
            assert host.everything()[-1] == "STOPPED"

    def test_closed_on_both_ways(self) -> None:
        """A Unix client that has finished, and then closes, has gone."""
        with hosting("AsyncTalk", "unix") as host, host.connect("unix") as client:
            client.sendall(b"nothing\n")
            host.heard("waiting")
            client.shutdown(socket.SHUT_WR)
            client.close()
            host.heard("raised CancelledError")

    def test_closed_before_everything_is_read(self) -> None:
        """What a Unix client sent before it closed is still read."""
        with hosting("AsyncLazy", "unix") as host, host.connect("unix") as client:
            client.sendall(bytes(150_000))
            client.close()
            host.heard("grown by")
            host.heard(" unix ", "in=150000")

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
            before = host.open_files()
            for said in (b"client\n", b"nothing\n") * 5:
                client = talk(host, said)
                host.heard("waiting")
                reset(client)
                host.heard(" tcp lost ")
                host.lines.clear()
            assert host.open_files() == before
            assert host.scoreboard.active_connections() == []
