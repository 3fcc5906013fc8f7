"""``netd.listening.traffic``: what the kernel says of real connections, ended in every way."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest

from netd.listening.counted import CountedSocket
from netd.listening.traffic import traffic
from netd.log.record import UNKNOWN

PATIENCE = 30.0
REQUEST = b"ten bytes!"
REPLY = b"seven b"
BOTH = (len(REQUEST), len(REPLY))

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A connection: the server's socket and the client's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        server.settimeout(PATIENCE)
        client.settimeout(PATIENCE)
        yield server, client


def talk(ends: Ends) -> Ends:
    """A request and a reply, both read."""
    server, client = ends
    client.sendall(REQUEST)
    assert server.recv(100) == REQUEST
    server.sendall(REPLY)
    assert client.recv(100) == REPLY
    return ends


def reset(client: socket.socket) -> None:
    """Close by RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


class TestTcp:
    """Bytes of TCP connections, exact to the byte."""

    def test_nothing(self, ends: Ends) -> None:
        """A connection on which nobody spoke."""
        assert traffic(ends[0])[:2] == (0, 0)

    def test_open(self, ends: Ends) -> None:
        """A connection that nobody has closed yet, which is how most handlers return."""
        server, _ = talk(ends)
        assert traffic(server)[:2] == BOTH

    def test_the_client_ends_first(self, ends: Ends) -> None:
        """The client's FIN is not a byte."""
        server, client = talk(ends)
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        assert traffic(server)[:2] == BOTH

    def test_the_client_has_gone(self, ends: Ends) -> None:
        """Neither is that of a client that closed for good."""
        server, client = talk(ends)
        client.close()
        assert server.recv(1) == b""
        assert traffic(server)[:2] == BOTH

    def test_the_handler_ends_first(self, ends: Ends) -> None:
        """Nor is ours, and the client's that comes after it."""
        server, client = talk(ends)
        server.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert traffic(server)[:2] == BOTH
        client.close()
        assert server.recv(1) == b""
        assert traffic(server)[:2] == BOTH

    @pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR])
    def test_the_handler_ends_after_the_client(self, ends: Ends, how: int) -> None:
        """A handler that shuts down by itself when the client is done."""
        server, client = talk(ends)
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        server.shutdown(how)
        assert client.recv(1) == b""
        assert traffic(server)[:2] == BOTH

    def test_the_handler_ends_alone(self, ends: Ends) -> None:
        """A handler that shuts both ways while the client stays."""
        server, client = talk(ends)
        server.shutdown(socket.SHUT_RDWR)
        assert client.recv(1) == b""
        assert traffic(server)[:2] == BOTH

    def test_both_end_without_a_word(self, ends: Ends) -> None:
        """Two FINs and no bytes."""
        server, client = ends
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        server.shutdown(socket.SHUT_RDWR)
        assert client.recv(1) == b""
        assert traffic(server)[:2] == (0, 0)

    def test_the_client_resets(self, ends: Ends) -> None:
        """A reset without a FIN takes nothing away."""
        server, client = talk(ends)
        reset(client)
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        assert traffic(server)[:2] == BOTH

    def test_what_the_handler_has_not_read(self, ends: Ends) -> None:
        """Bytes that arrived count, whether the handler asked for them or not."""
        server, client = ends
        client.sendall(REQUEST)
        assert server.recv(1) == REQUEST[:1]
        assert traffic(server)[:2] == (len(REQUEST), 0)

    def test_what_the_client_has_not_read(self, ends: Ends) -> None:
        """Bytes that the handler sent count, also those that still wait in the kernel."""
        server, _ = ends
        server.setblocking(False)
        accepted = 0
        with suppress(BlockingIOError):
            while True:
                accepted += server.send(bytes(100_000))
        assert accepted > 100_000
        assert traffic(server)[:2] == (0, accepted)

    def test_much(self, ends: Ends) -> None:
        """Megabytes, read in pieces."""
        server, client = ends
        expected = left = 3_000_000
        server.setblocking(False)
        out = memoryview(bytes(expected))
        while left:
            if out:
                out = out[server.send(out[:50_000]) :]
            left -= len(client.recv(1 << 20))
        assert traffic(server)[:2] == (0, expected)


class TestUnknown:
    """Where there is nothing to ask, nothing is made up."""

    def test_closed(self, ends: Ends) -> None:
        """The handler closed its socket."""
        server, _ = talk(ends)
        server.close()
        assert traffic(server) == UNKNOWN

    def test_detached(self, ends: Ends) -> None:
        """The handler took the descriptor away."""
        server, _ = talk(ends)
        descriptor = server.detach()
        assert traffic(server) == UNKNOWN
        os.close(descriptor)

    def test_not_tcp(self) -> None:
        """A socket that neither counts nor is a TCP connection."""
        here, there = socket.socketpair()
        with here, there:
            assert traffic(here) == UNKNOWN

    def test_an_old_kernel(self) -> None:
        """A ``tcp_info`` that ends before the counters."""

        class Old:
            def getsockopt(self, level: int, option: int, size: int) -> bytes:
                return bytes(size - 1)

        assert traffic(Old()) == UNKNOWN


class TestOthers:
    """Requests that are not TCP connections."""

    def test_unix(self) -> None:
        """A socket that counts says what it counted, also after it has been closed."""
        here, there = socket.socketpair()
        with there, CountedSocket(fileno=here.detach()) as counted:
            there.sendall(REQUEST)
            assert counted.recv(100) == REQUEST
            counted.sendall(REPLY)
            assert traffic(counted)[:2] == BOTH
        assert traffic(counted)[:2] == BOTH

    def test_datagram(self, ends: Ends) -> None:
        """Of a packet the size is known; who answers by the shared socket does not count."""
        assert traffic((REQUEST, ends[0]))[:2] == (len(REQUEST), None)
        assert traffic((b"", ends[0]))[:2] == (0, None)


def test_how_far_away_a_client_is() -> None:
    """As TCP has measured it while it carried something."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        server.sendall(b"x")
        client.recv(1)
        round_trip = traffic(server).round_trip
    assert round_trip is not None
    assert 0 < round_trip < 10
