"""Overrides of ``get_request()``, on real listeners."""

from __future__ import annotations

import errno
import os
import socket
import socketserver
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from netd.accept.errors import EXHAUSTED
from netd.execution.request import TooLong
from netd.execution.socketserver.get_request import IN_A_ROW, GetRequestSource
from netd.execution.socketserver.hosting import hosted
from netd.listening.handler_view import ListenerSocket
from netd.model.address import Transport
from tests.execution.hosts import NoHost

Take = Callable[[Any], Any]
"""What a ``get_request()`` does with its server."""


class Stage:
    """A server with an override, on a listener."""

    def __init__(self, take: Take | None, transport: Transport = Transport.TCP) -> None:
        self._stack = ExitStack()
        self.said: list[tuple[str, str]] = []
        self.transport = transport
        self.listener = self._bound()
        base = {
            Transport.TCP: socketserver.TCPServer,
            Transport.TCP6: socketserver.TCPServer,
            Transport.UDP: socketserver.UDPServer,
            Transport.UDP6: socketserver.UDPServer,
            Transport.UNIX: socketserver.UnixStreamServer,
            Transport.UNIXGRAM: socketserver.UnixDatagramServer,
        }[transport]
        kind: Any = base if take is None else type("Own", (base,), {"get_request": take})
        shown = self._stack.enter_context(ListenerSocket.copy_of(self.listener))
        self.server: Any = hosted(kind, shown, NoHost(), socketserver.BaseRequestHandler, {})
        self.source = GetRequestSource(self.server, self.listener, transport, self._say)

    def _bound(self) -> socket.socket:
        made = socket.socket(self.transport.family, self.transport.type)
        self._stack.enter_context(made)
        made.bind(b"" if self.transport.is_unix else ("127.0.0.1", 0))
        if not self.transport.is_datagram:
            made.listen()
            made.setblocking(False)
        return made

    def _say(self, level: str, text: str) -> None:
        self.said.append((level, text))

    def comes(self, data: bytes = b"hello") -> socket.socket:
        client = socket.socket(self.transport.family, self.transport.type)
        self._stack.enter_context(client)
        client.connect(self.listener.getsockname())
        client.send(data)
        return client

    def close(self) -> None:
        self._stack.close()


Make = Callable[..., Stage]


@pytest.fixture
def make() -> Iterator[Make]:
    stages: list[Stage] = []

    def made(*arguments: Any, **keywords: Any) -> Stage:
        stages.append(Stage(*arguments, **keywords))
        return stages[-1]

    yield made
    for stage in stages:
        stage.close()


def standard(server: Any) -> Any:
    """Take as the standard library does."""
    datagrams = isinstance(server, socketserver.UDPServer)
    base: Any = socketserver.UDPServer if datagrams else socketserver.TCPServer
    return base.get_request(server)


def raising(*errors: BaseException) -> Take:
    """An override that takes somebody, and then raises one error after another."""
    left = list(errors)

    def get_request(server: Any) -> Any:
        request = standard(server)
        if left:
            if isinstance(request[0], socket.socket):
                request[0].close()
            raise left.pop(0)
        return request

    return get_request


class TestTaken:
    def test_a_connection(self, make: Make) -> None:
        """What the override returns is the request."""
        stage = make(standard)
        client = stage.comes()
        request = stage.source.next_request()
        with request.raw:
            assert request.raw.recv(5) == b"hello"
        host, port = client.getsockname()
        assert request.client_address == (host, port)
        assert (request.client, request.peer) == (f"{host}:{port}", None)
        assert stage.said == []

    def test_a_unix_connection(self, make: Make) -> None:
        """Who it is, the kernel says, so that lists can be asked."""
        stage = make(standard, Transport.UNIX)
        stage.comes()
        request = stage.source.next_request()
        with request.raw:
            assert request.peer is not None
            assert (request.peer.uid, request.client) == (os.getuid(), "unix")

    @pytest.mark.parametrize("transport", [Transport.UDP, Transport.UNIXGRAM])
    def test_a_datagram(self, make: Make, transport: Transport) -> None:
        """So is a packet, beside the server's socket."""
        stage = make(standard, transport)
        stage.comes()
        request = stage.source.next_request()
        assert request.raw == (b"hello", stage.server.socket)

    def test_something_of_its_own(self, make: Make) -> None:
        """The request may be an object that wraps the connection, and its address anything."""

        class Wrapped:
            def __init__(self, connection: socket.socket) -> None:
                self.connection = connection

        def get_request(server: Any) -> Any:
            connection, _ = standard(server)
            return Wrapped(connection), None

        stage = make(get_request)
        stage.comes()
        request = stage.source.next_request()
        request.raw.connection.close()
        assert (request.client_address, request.client, request.peer) == (None, "None", None)

    def test_others_take_meanwhile(self, make: Make) -> None:
        """It may wait for its client; for a packet it does not, since others are not told of it."""
        assert make(standard).source.may_block
        assert not make(standard, Transport.UDP).source.may_block


class TestNobody:
    @pytest.mark.parametrize("transport", [Transport.TCP, Transport.UDP])
    def test_another_was_faster(self, make: Make, transport: Transport) -> None:
        """Nobody is there, and nothing is said."""
        stage = make(standard, transport)
        for _ in range(2 * IN_A_ROW):
            with pytest.raises(BlockingIOError):
                stage.source.next_request()
        assert stage.said == []

    def test_the_override_is_not_asked_for_a_packet_that_is_not_there(self, make: Make) -> None:
        """It would wait for the next one, and keep its thread."""

        def get_request(server: Any) -> Any:
            raise AssertionError("asked")

        with pytest.raises(BlockingIOError):
            make(get_request, Transport.UDP).source.next_request()

    def test_too_long_a_packet(self, make: Make) -> None:
        """``max_packet_size`` cuts nothing silently; the next packet is taken."""
        stage = make(None, Transport.UDP)
        type(stage.server).max_packet_size = 4
        client = stage.comes(b"hello")
        stage.comes(b"four")
        port = client.getsockname()[1]
        expected = f"datagram from 127.0.0.1:{port} is longer than 4 bytes"
        with pytest.raises(TooLong, match=expected):
            stage.source.next_request()
        assert stage.source.next_request().raw[0] == b"four"

    def test_a_packet_of_exactly_that_size(self, make: Make) -> None:
        """It is whole."""
        stage = make(None, Transport.UDP)
        type(stage.server).max_packet_size = 5
        stage.comes(b"hello")
        assert stage.source.next_request().raw[0] == b"hello"


class TestRaising:
    @pytest.mark.parametrize(
        "error",
        [
            ConnectionResetError("gone"),
            TimeoutError("timed out"),
            OSError("no number"),
            OSError(errno.EBADF, "bad"),
            ssl.SSLError(1, "no shared cipher"),
            ssl.SSLWantReadError(2, "did not complete"),
            *(ssl.SSLError(number, "as it happens") for number in sorted(EXHAUSTED)),
        ],
        ids=repr,
    )
    def test_a_client_that_is_lost(self, make: Make, error: OSError) -> None:
        """An OSError is one client's own, of TLS whatever its number; the next one is taken."""
        stage = make(raising(error))
        for _ in range(2):
            stage.comes()
        with pytest.raises(BlockingIOError):
            stage.source.next_request()
        assert stage.said == [("info", f"a client was lost in get_request(): {error}")]
        stage.source.next_request().raw.close()

    @pytest.mark.parametrize("number", sorted(EXHAUSTED))
    def test_out_of_descriptors(self, make: Make, number: int) -> None:
        """That is nobody's fault: taking rests, and who takes says so."""
        stage = make(raising(OSError(number, "none left")))
        stage.comes()
        with pytest.raises(OSError, match="none left") as caught:
            stage.source.next_request()
        assert caught.value.errno == number
        assert stage.said == []

    @pytest.mark.parametrize(
        "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), MemoryError()], ids=repr
    )
    def test_anything_else(self, make: Make, error: BaseException) -> None:
        """It would end ``serve_forever``; here it is logged with its traceback."""
        stage = make(raising(error))
        for _ in range(2):
            stage.comes()
        with pytest.raises(BlockingIOError):
            stage.source.next_request()
        [(level, text)] = stage.said
        assert level == "error"
        assert text.startswith("get_request() raised\nTraceback (most recent call last):\n")
        assert "test_get_request.py" in text
        assert os.path.join("netd", "execution") not in text
        stage.source.next_request().raw.close()

    def test_again_and_again(self, make: Make) -> None:
        """One that fails without taking anybody would be asked at once, for ever: it rests."""

        def get_request(server: Any) -> Any:
            raise ValueError("before anybody is taken")

        stage = make(get_request)
        stage.comes()
        for row in range(1, 3):
            for _ in range(IN_A_ROW - 1):
                with pytest.raises(BlockingIOError):
                    stage.source.next_request()
            expected = rf"get_request\(\) has failed {row * IN_A_ROW} times in a row"
            with pytest.raises(OSError, match=expected) as caught:
                stage.source.next_request()
            assert not isinstance(caught.value, BlockingIOError)

    def test_says_that_nobody_is_there_again_and_again(self, make: Make) -> None:
        """So with one that says so although somebody waits, but without a line for each time."""

        def get_request(server: Any) -> Any:
            raise BlockingIOError(errno.EAGAIN, "not now")

        stage = make(get_request)
        stage.comes()
        for _ in range(IN_A_ROW - 1):
            with pytest.raises(BlockingIOError):
                stage.source.next_request()
        with pytest.raises(OSError, match="times in a row") as caught:
            stage.source.next_request()
        assert not isinstance(caught.value, BlockingIOError)
        assert stage.said == []

    def test_now_and_then(self, make: Make) -> None:
        """Clients that are lost between others are no reason to rest."""
        stage = make(raising(*[TimeoutError("slow")] * (IN_A_ROW - 1)))
        for _ in range(IN_A_ROW):
            stage.comes()
        for _ in range(IN_A_ROW - 1):
            with pytest.raises(BlockingIOError):
                stage.source.next_request()
        stage.source.next_request().raw.close()
        assert stage.source._failures == 0
