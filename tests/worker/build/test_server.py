"""``netd.worker.build.server``: the server objects that handlers see, over real listeners."""

from __future__ import annotations

import errno
import os
import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netd.execution.socketserver.hosting import hosted
from netd.listening.handler_view import ListenerSocket
from netd.model.address import Transport
from netd.worker.build.server import HandlerHost, server_class
from tests.descriptors import count_descriptors


class Handler(socketserver.BaseRequestHandler):
    """One that does nothing."""


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


EVERY = [
    pytest.param(
        each, marks=[pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback")] * six
    )
    for each in Transport
    if each.is_known
    for six in [each.family == socket.AF_INET6]
]

CLASSES = {
    Transport.TCP: socketserver.ThreadingTCPServer,
    Transport.TCP6: socketserver.ThreadingTCPServer,
    Transport.TLS: socketserver.ThreadingTCPServer,
    Transport.TLS6: socketserver.ThreadingTCPServer,
    Transport.UDP: socketserver.ThreadingUDPServer,
    Transport.UDP6: socketserver.ThreadingUDPServer,
    Transport.UNIX: socketserver.ThreadingUnixStreamServer,
    Transport.UNIXGRAM: socketserver.ThreadingUnixDatagramServer,
}


def nothing(*_: object) -> None:
    """Say nothing, and suspend nobody."""


def server_for(transport: Transport, listener: socket.socket) -> socketserver.BaseServer:
    """A server object as a worker makes it for a handler."""
    return hosted(
        server_class(transport),
        ListenerSocket.copy_of(listener),
        HandlerHost(nothing, nothing),
        Handler,
        {"bind_and_activate": False},
    )


@contextmanager
def bound(transport: Transport, path: Path) -> Iterator[socket.socket]:
    """A listener as the daemon binds it."""
    with socket.socket(transport.family, transport.type) as listener:
        if transport.is_unix:
            listener.bind(str(path))
        else:
            listener.bind(("::1" if transport.family == socket.AF_INET6 else "127.0.0.1", 0))
        if not transport.is_datagram:
            listener.listen()
            listener.setblocking(False)
        yield listener


@contextmanager
def served(
    transport: Transport, path: Path
) -> Iterator[tuple[socketserver.TCPServer, socket.socket]]:
    """The server object of a listener, and the listener."""
    with bound(transport, path) as listener:
        server = server_for(transport, listener)
        assert isinstance(server, socketserver.TCPServer)
        yield server, listener
        server.server_close()


@pytest.mark.parametrize("transport", EVERY)
class TestServer:
    def test_class(self, tmp_path: Path, transport: Transport) -> None:
        """A handler that asks finds the standard library's class for what it serves."""
        with served(transport, tmp_path / "s") as (server, _):
            assert isinstance(server, CLASSES[transport])

    def test_attributes(self, tmp_path: Path, transport: Transport) -> None:
        """What socketserver documents of a server object is true of this one."""
        with served(transport, tmp_path / "s") as (server, listener):
            assert server.server_address == listener.getsockname()
            assert server.RequestHandlerClass is Handler
            assert server.address_family == server.socket.family == transport.family
            assert server.socket_type == server.socket.type == transport.type
            assert server.fileno() == server.socket.fileno()
            assert os.path.sameopenfile(server.fileno(), listener.fileno())

    def test_no_descriptor_is_lost(self, tmp_path: Path, transport: Transport) -> None:
        """The only descriptor of a server object is the listener's, which closes with it."""
        before = count_descriptors()
        with bound(transport, tmp_path / "s") as listener:
            server = server_for(transport, listener)
            assert count_descriptors() == before + 2
            server.server_close()
        assert count_descriptors() == before

    def test_the_listener_stays(self, tmp_path: Path, transport: Transport) -> None:
        """A server object that is closed takes nothing away from netd, nor from its clients."""
        with served(transport, tmp_path / "s") as (server, listener):
            server.server_close()
            with socket.socket(transport.family, transport.type) as client:
                client.connect(listener.getsockname())
                client.send(b"x")
            if not transport.is_datagram:
                listener.accept()[0].close()
            else:
                assert listener.recv(10) == b"x"

    def test_does_not_block_nor_unblock(self, tmp_path: Path, transport: Transport) -> None:
        """A handler that changes its server's socket changes it for nobody."""
        with served(transport, tmp_path / "s") as (server, listener):
            for change in (True, False):
                server.socket.setblocking(change)
                server.socket.settimeout(0.1)
                assert os.get_blocking(listener.fileno()) == transport.is_datagram


class TestReplies:
    @pytest.mark.parametrize("transport", [Transport.UDP, Transport.UNIXGRAM])
    def test_datagrams_by_the_servers_socket(self, tmp_path: Path, transport: Transport) -> None:
        """A reply that a handler sends by ``self.server.socket`` comes from the listener."""
        with (
            served(transport, tmp_path / "s") as (server, listener),
            socket.socket(transport.family, transport.type) as client,
        ):
            client.bind(str(tmp_path / "c") if transport.is_unix else ("127.0.0.1", 0))
            server.socket.sendto(b"reply", client.getsockname())
            assert client.recvfrom(10) == (b"reply", listener.getsockname())

    def test_empty_datagrams(self, tmp_path: Path) -> None:
        """A DatagramRequestHandler that wrote nothing sends nothing; one that means to, does."""

        class Silent(socketserver.DatagramRequestHandler):
            pass

        class Empty(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request[1].sendto(b"", self.client_address)

        with (
            served(Transport.UDP, tmp_path) as (server, _),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            client.bind(("127.0.0.1", 0))
            client.setblocking(False)
            Silent((b"x", server.socket), client.getsockname(), server)
            with pytest.raises(BlockingIOError) as raised:
                client.recv(10)
            assert raised.value.errno == errno.EAGAIN
            Empty((b"x", server.socket), client.getsockname(), server)
            assert client.recv(10) == b""
