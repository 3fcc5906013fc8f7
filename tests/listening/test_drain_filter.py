"""``netd.listening.drain_filter``: real listeners that come to their end."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from netd.listening.drain_filter import admit_nobody, has_queued_connections

MOMENT = 0.1
"""Seconds in which what must not happen would have happened, on the loopback."""


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener


def connects(address: tuple[str, int]) -> bool:
    """Whether a connection is established within a moment."""
    with closing(socket.socket()) as client:
        client.settimeout(MOMENT)
        try:
            client.connect(address)
        except TimeoutError:
            return False
        return True


class TestStreams:
    def test_the_queue_is_served_and_nobody_new_gets_in(self, tcp: socket.socket) -> None:
        """Data of those who are in the queue comes, before and after they are taken."""
        address = tcp.getsockname()
        with ExitStack() as stack:
            clients = [
                stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(5)
            ]
            admit_nobody(tcp)
            assert not connects(address)
            for client in clients:
                client.sendall(b"before")
                accepted = stack.enter_context(tcp.accept()[0])
                assert accepted.recv(10) == b"before"
                client.sendall(b"after")
                assert accepted.recv(10) == b"after"
                accepted.sendall(b"answer")
                assert client.recv(10) == b"answer"
            assert not has_queued_connections([tcp])

    def test_whoever_was_kept_out_is_refused_at_the_end(self, tcp: socket.socket) -> None:
        """Not reset after he was let in."""
        with closing(socket.socket()) as client:
            admit_nobody(tcp)
            client.setblocking(False)
            client.connect_ex(tcp.getsockname())
            assert not select.select([], [client], [], MOMENT)[1]
            tcp.close()
            assert select.select([], [client], [], 10)[1]
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def test_copies_of_a_listener_are_the_same(self, tcp: socket.socket) -> None:
        """Processes that have it need not be told."""
        with closing(tcp.dup()) as copy:
            admit_nobody(copy)
        assert not connects(tcp.getsockname())

    def test_a_unix_socket_is_left_alone(self, tmp_path: Path) -> None:
        """Its path is what is taken away."""
        with closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            admit_nobody(listener)
            with closing(socket.socket(socket.AF_UNIX)) as client:
                client.connect(str(tmp_path / "s"))
                assert has_queued_connections([listener])

    def test_a_closed_one(self, tcp: socket.socket) -> None:
        """Nobody gets in there anyway."""
        tcp.close()
        admit_nobody(tcp)


class TestDatagrams:
    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
    def test_those_in_the_queue_stay(self, family: socket.AddressFamily, tmp_path: Path) -> None:
        """And no other comes, also from who is connected."""
        with (
            closing(socket.socket(family, socket.SOCK_DGRAM)) as listener,
            closing(socket.socket(family, socket.SOCK_DGRAM)) as client,
        ):
            listener.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "s"))
            client.connect(listener.getsockname())
            client.send(b"before")
            admit_nobody(listener)
            client.send(b"after")
            assert listener.recv(10) == b"before"
            assert not has_queued_connections([listener])


class TestWaiting:
    def test_nobody(self, tcp: socket.socket) -> None:
        assert not has_queued_connections([])
        assert not has_queued_connections([tcp])

    def test_somebody_at_one_of_several(self, tcp: socket.socket) -> None:
        with (
            closing(socket.create_server(("127.0.0.1", 0))) as other,
            closing(socket.create_connection(other.getsockname())),
        ):
            assert has_queued_connections([tcp, other])
