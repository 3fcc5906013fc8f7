"""``netd.listening.replies``: who has sent a datagram, and where the answer leaves from."""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Iterator

import pytest

from netd.listening.ancillary import SPACE
from netd.listening.replies import Sender, answer, request_destinations, sender, tells_destinations
from netd.model.address import Transport


@pytest.fixture
def everywhere() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        request_destinations(sock, Transport.UDP)
        yield sock


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        yield sock


def received(sock: socket.socket) -> Sender:
    _, messages, _, address = sock.recvmsg(10, SPACE)
    found = sender(address, messages)
    assert isinstance(found, Sender)
    assert found == address
    return found


def test_leaves_from_where_was_asked(everywhere: socket.socket, client: socket.socket) -> None:
    client.sendto(b"?", ("127.0.0.55", everywhere.getsockname()[1]))
    assert answer(everywhere, b"!", 0, received(everywhere)) == 1
    assert client.recvfrom(10)[1][0] == "127.0.0.55"


def test_an_address_that_has_gone(everywhere: socket.socket, client: socket.socket) -> None:
    """The answer leaves from another one."""
    client.sendto(b"?", ("127.0.0.55", everywhere.getsockname()[1]))
    found = received(everywhere)
    found.control = [(0, 8, struct.pack("i4s4s", 0, socket.inet_aton("192.0.2.77"), bytes(4)))]
    answer(everywhere, b"!", 0, found)
    assert client.recvfrom(10)[1][0] == "127.0.0.1"


def test_in_another_process(everywhere: socket.socket, client: socket.socket) -> None:
    """Where a handler may send it, it is the plain address."""
    client.sendto(b"?", ("127.0.0.55", everywhere.getsockname()[1]))
    found = received(everywhere)
    assert type(pickle.loads(pickle.dumps(found))) is tuple
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [(0, 2, b"\1\0\0\0")],
        [(41, 50, b"\xff\2" + bytes(18))],  # a group, which nothing leaves from
    ],
)
def test_nothing_is_known(messages: list[tuple[int, int, bytes]]) -> None:
    address = ("127.0.0.1", 5)
    assert type(sender(address, messages)) is tuple


@pytest.mark.parametrize(
    ("host", "transport", "tells"),
    [("", Transport.UDP, True), ("127.0.0.1", Transport.UDP, False), ("", Transport.TCP, False)],
)
def test_who_tells(host: str, transport: Transport, tells: bool) -> None:
    """Sockets for datagrams that are bound to all addresses."""
    with socket.socket(transport.family, transport.type) as sock:
        sock.bind((host, 0))
        request_destinations(sock, transport)
        assert tells_destinations(sock) is tells
