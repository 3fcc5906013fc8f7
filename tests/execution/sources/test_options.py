"""``netd.execution.sources.options``: what connections do not inherit."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from netd.execution.request import Request
from netd.execution.sources.options import ConnectionOptions
from netd.execution.sources.stream import InetStream
from netd.listening.options.apply import read
from netd.model.address import Transport

PRIORITY = read("SO_PRIORITY", 5)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


def take(source: ConnectionOptions, listener: socket.socket) -> socket.socket:
    with socket.create_connection(listener.getsockname()):
        connection: socket.socket = source.next_request().raw
        return connection


def test_are_set(listener: socket.socket) -> None:
    said: list[tuple[str, str]] = []
    source = ConnectionOptions(
        InetStream(listener, Transport.TCP), [PRIORITY], lambda *words: said.append(words)
    )
    with take(source, listener) as connection:
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 5
    assert source.fileno() == listener.fileno()
    with pytest.raises(BlockingIOError):
        source.next_request()
    assert said == []


def test_one_that_cannot_be_set(listener: socket.socket) -> None:
    """The log says it once, and the others are set."""
    said: list[tuple[str, str]] = []
    of_ipv6 = read("IPV6_TCLASS", 5)
    source = ConnectionOptions(
        InetStream(listener, Transport.TCP), [of_ipv6, PRIORITY], lambda *words: said.append(words)
    )
    for _ in range(3):
        with take(source, listener) as connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 5
    text = "socket.IPV6_TCLASS is not set on connections: Protocol not available"
    assert said == [("warn", text)]


def test_what_is_no_socket(listener: socket.socket) -> None:
    """An override of ``get_request()`` returns what it likes."""

    class Odd(InetStream):
        def next_request(self) -> Request:
            request = super().next_request()
            request.raw.close()
            return request._replace(raw=("data", None))

    source = ConnectionOptions(Odd(listener, Transport.TCP), [PRIORITY], lambda *_: None)
    with socket.create_connection(listener.getsockname()):
        assert source.next_request().raw == ("data", None)
