"""``netd.accept.first_bytes``: real connections, and what is left in them."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest

from netd.accept.first_bytes import FirstBytes, NotAdmitted
from tests.proxy.proxied import LOCAL, binary, line

PEER = ("127.0.0.1", 5000)

FOUR = ("192.0.2.7", 4711), ("198.51.100.1", 443)
SIX = ("2001:db8::7", 4711, 0, 0), ("2001:db8::1", 443, 0, 0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection: the client's end and ours, which does not block."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=5)
        ours, _ = listener.accept()
    ours.setblocking(False)
    with closing(client), closing(ours):
        yield client, ours


Pair = tuple[socket.socket, socket.socket]


def arrival(ours: socket.socket, *, header: bool = False, byte: bool = False) -> FirstBytes:
    return FirstBytes(ours, PEER, "127.0.0.1:5000", 0.0, awaits_header=header, awaits_byte=byte)


def deliver(pair: Pair, data: bytes) -> None:
    """Send, and wait until it is there."""
    client, ours = pair
    client.sendall(data)
    assert select.select([ours], [], [], 5)[0]


def reset(pair: Pair) -> None:
    client, ours = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert select.select([ours], [], [], 5)[0]


class TestFirstByte:
    def test_is_waited_for_and_left_there(self, pair: Pair) -> None:
        waiting = arrival(pair[1], byte=True)
        assert not waiting.advance()
        deliver(pair, b"\x16hello")
        assert waiting.advance()
        assert pair[1].recv(100) == b"\x16hello"
        assert (waiting.client_address, waiting.is_proxied) == (PEER, False)

    def test_a_client_that_goes(self, pair: Pair) -> None:
        waiting = arrival(pair[1], byte=True)
        pair[0].close()
        assert select.select([pair[1]], [], [], 5)[0]
        with pytest.raises(NotAdmitted, match=r"^gone$"):
            waiting.advance()

    def test_a_client_that_breaks_off(self, pair: Pair) -> None:
        waiting = arrival(pair[1], byte=True)
        reset(pair)
        with pytest.raises(NotAdmitted, match=r"^gone$"):
            waiting.advance()

    def test_nothing_to_wait_for(self, pair: Pair) -> None:
        assert arrival(pair[1]).advance()


class TestHeader:
    @pytest.mark.parametrize("ends", [FOUR, SIX])
    @pytest.mark.parametrize("write", [line, binary])
    def test_names_the_client_and_nothing_behind_it_is_read(
        self, pair: Pair, ends: tuple[tuple[str, int], ...], write: object
    ) -> None:
        assert callable(write)
        proxied = arrival(pair[1], header=True)
        assert not proxied.advance()
        deliver(pair, write(*ends) + b"payload")
        assert proxied.advance()
        assert proxied.is_proxied
        assert (proxied.client_address, proxied.local_address) == ends
        host = ends[0][0]
        assert proxied.client == (f"[{host}]:4711" if ":" in host else f"{host}:4711")
        assert pair[1].recv(100) == b"payload"

    def test_a_unix_client(self, pair: Pair) -> None:
        proxied = arrival(pair[1], header=True)
        deliver(pair, binary("/run/client", "/run/service"))
        assert proxied.advance()
        assert (proxied.client_address, proxied.client) == ("/run/client", "unix")

    @pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", binary(*FOUR, command=LOCAL)])
    def test_that_leaves_the_peer_the_client(self, pair: Pair, header: bytes) -> None:
        proxied = arrival(pair[1], header=True)
        deliver(pair, header + b"payload")
        assert proxied.advance()
        assert (proxied.client_address, proxied.client) == (PEER, "127.0.0.1:5000")
        assert not proxied.is_proxied
        assert proxied.local_address is None
        assert pair[1].recv(100) == b"payload"

    def test_byte_by_byte_without_being_readable_in_between(self, pair: Pair) -> None:
        """What is incomplete is received, so that waiting for more does wait."""
        proxied = arrival(pair[1], header=True, byte=True)
        for number in binary(*FOUR):
            assert not proxied.advance()
            deliver(pair, bytes([number]))
        assert not proxied.advance()
        assert not select.select([pair[1]], [], [], 0)[0]
        assert proxied.client_address == FOUR[0]
        deliver(pair, b"\x16")
        assert proxied.advance()
        assert pair[1].recv(100) == b"\x16"

    def test_that_is_none(self, pair: Pair) -> None:
        proxied = arrival(pair[1], header=True)
        deliver(pair, b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(NotAdmitted, match=r"^proxy-header: does not begin") as caught:
            proxied.advance()
        assert caught.value.refusal.reason == "proxy-header"
        assert proxied.client == "127.0.0.1:5000"

    def test_that_breaks_off(self, pair: Pair) -> None:
        proxied = arrival(pair[1], header=True)
        deliver(pair, binary(*FOUR)[:-1])
        assert not proxied.advance()
        pair[0].close()
        assert select.select([pair[1]], [], [], 5)[0]
        with pytest.raises(NotAdmitted, match=r"^gone$"):
            proxied.advance()

    def test_by_a_unix_socket_with_descriptors_in_between(self) -> None:
        client, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        header = binary(*FOUR)
        with closing(client), closing(ours):
            socket.send_fds(client, [header[:10]], [client.fileno()])
            client.sendall(header[10:] + b"payload")
            proxied = arrival(ours, header=True)
            while not proxied.advance():
                pass
            assert ours.recv(100) == b"payload"
