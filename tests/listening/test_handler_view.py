"""``netd.listening.handler_view``: what a handler can do to the listener it sees, and what not."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import DatagramRequestHandler
from typing import Any

import pytest

from netd.listening.handler_view import ListenerSocket

PATIENCE = 30.0


@pytest.fixture
def stream() -> Iterator[socket.socket]:
    """A stream listener as the daemon makes it: it never blocks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture
def datagram() -> Iterator[socket.socket]:
    """A datagram socket as the daemon makes it: it stays blocking."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        yield receiver


@contextmanager
def default_timeout(seconds: float) -> Iterator[None]:
    """What a user's module may say when it is imported."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def sender_to(receiver: socket.socket) -> Iterator[socket.socket]:
    """A client, which has sent a packet that the handler is to answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(PATIENCE)
        sender.connect(receiver.getsockname())
        yield sender


def can_connect(listener: socket.socket) -> bool:
    with socket.socket() as client:
        return client.connect_ex(listener.getsockname()) == 0


class TestCopy:
    """The copy is the same kernel socket by another descriptor."""

    def test_is_a_socket_like_the_listener(
        self, stream: socket.socket, datagram: socket.socket
    ) -> None:
        """Everything that a handler may ask of it is true."""
        for listener in (stream, datagram):
            with ListenerSocket.copy_of(listener) as copy:
                assert isinstance(copy, socket.socket)
                assert copy.fileno() != listener.fileno()
                assert (copy.family, copy.type) == (listener.family, listener.type)
                assert copy.proto == listener.proto
                assert copy.getsockname() == listener.getsockname()
                assert os.path.sameopenfile(copy.fileno(), listener.fileno())
                assert not copy.get_inheritable()

    def test_closing_it(self, stream: socket.socket) -> None:
        """A handler that closes ``self.server.socket`` takes nothing away from netd."""
        copy = ListenerSocket.copy_of(stream)
        copy.close()
        assert copy.fileno() == -1
        assert can_connect(stream)

    def test_detaching_it(self, stream: socket.socket) -> None:
        """So with one that takes the descriptor and closes that."""
        os.close(ListenerSocket.copy_of(stream).detach())
        assert can_connect(stream)


class TestUnchangeable:
    """What would change the socket for all processes changes nothing."""

    @pytest.mark.parametrize("flag", [True, False])
    def test_setblocking(self, stream: socket.socket, datagram: socket.socket, flag: bool) -> None:
        """O_NONBLOCK stays as the daemon set it."""
        for listener in (stream, datagram):
            blocking = os.get_blocking(listener.fileno())
            with ListenerSocket.copy_of(listener) as copy:
                copy.setblocking(flag)
                assert os.get_blocking(listener.fileno()) == blocking

    @pytest.mark.parametrize("seconds", [None, 0.0, 5.0])
    def test_settimeout(
        self, stream: socket.socket, datagram: socket.socket, seconds: float | None
    ) -> None:
        """A time-out would set O_NONBLOCK, too."""
        for listener in (stream, datagram):
            blocking = os.get_blocking(listener.fileno())
            with ListenerSocket.copy_of(listener) as copy:
                before = copy.gettimeout()
                copy.settimeout(seconds)
                assert copy.gettimeout() == before
                assert os.get_blocking(listener.fileno()) == blocking

    def test_default_timeout(self, stream: socket.socket, datagram: socket.socket) -> None:
        """``socket.setdefaulttimeout`` of a user's module does not reach it either."""
        with default_timeout(5.0):
            for listener in (stream, datagram):
                blocking = os.get_blocking(listener.fileno())
                with ListenerSocket.copy_of(listener):
                    assert os.get_blocking(listener.fileno()) == blocking

    @pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
    def test_shutdown(self, stream: socket.socket, how: int) -> None:
        """A listener that is shut down is so for everybody; this one goes on."""
        with ListenerSocket.copy_of(stream) as copy:
            copy.shutdown(how)
        assert can_connect(stream)

    def test_listen(self, stream: socket.socket) -> None:
        """``server_activate`` with its backlog of 5 does not shrink the daemon's."""
        stream.listen(64)
        with ListenerSocket.copy_of(stream) as copy:
            copy.listen()
            copy.listen(1)
        clients = [socket.create_connection(stream.getsockname(), PATIENCE) for _ in range(30)]
        for client in clients:
            client.close()


class TestAnswers:
    """What a handler sends by it."""

    def test_sendto(self, datagram: socket.socket) -> None:
        """An answer arrives, with flags or without."""
        with sender_to(datagram) as sender, ListenerSocket.copy_of(datagram) as copy:
            assert copy.sendto(b"hello", sender.getsockname()) == 5
            assert copy.sendto(b"again", 0, sender.getsockname()) == 5
            assert sender.recv(100) == b"hello"
            assert sender.recv(100) == b"again"

    def test_an_empty_one(self, datagram: socket.socket) -> None:
        """Who sends an empty datagram explicitly, sends it."""
        with sender_to(datagram) as sender, ListenerSocket.copy_of(datagram) as copy:
            assert copy.sendto(b"", sender.getsockname()) == 0
            assert sender.recv(100) == b""

    @pytest.mark.parametrize("data", [b"", b"hello"])
    def test_what_a_handler_wrote(self, datagram: socket.socket, data: bytes) -> None:
        """``wfile`` goes back as one packet if something was written to it, else not at all."""

        class Handler(DatagramRequestHandler):
            def handle(self) -> None:
                self.wfile.write(data)

        with sender_to(datagram) as sender, ListenerSocket.copy_of(datagram) as copy:
            Handler((b"packet", copy), sender.getsockname(), None)  # type: ignore[arg-type]
            copy.sendto(b"the next", sender.getsockname())
            assert sender.recv(100) == (data or b"the next")

    def test_a_handler_with_a_finish_of_its_own(self, datagram: socket.socket) -> None:
        """``super().finish()`` sends no empty packet, and the handler's own ``sendto`` does."""

        class Handler(DatagramRequestHandler):
            def finish(self) -> None:
                super().finish()
                self.socket.sendto(b"", self.client_address)

        with sender_to(datagram) as sender, ListenerSocket.copy_of(datagram) as copy:
            Handler((b"packet", copy), sender.getsockname(), None)  # type: ignore[arg-type]
            copy.sendto(b"the next", sender.getsockname())
            assert sender.recv(100) == b""
            assert sender.recv(100) == b"the next"

    def test_data_that_has_no_truth(self, datagram: socket.socket) -> None:
        """Any buffer can be sent, also one that cannot be asked whether it is empty."""

        class Buffer(bytearray):
            def __bool__(self) -> bool:
                raise ValueError("ambiguous")

        with sender_to(datagram) as sender, ListenerSocket.copy_of(datagram) as copy:
            copy.sendto(Buffer(b"hello"), sender.getsockname())
            assert sender.recv(100) == b"hello"

    def test_a_socket_of_another_kind(self) -> None:
        """The rule is for netd's listener; what ``finish`` does elsewhere is not touched."""

        class Elsewhere:
            def __init__(self) -> None:
                self.sent: list[Any] = []

            def sendto(self, *arguments: Any) -> None:
                self.sent.append(arguments)

        elsewhere = Elsewhere()
        handler = DatagramRequestHandler((b"packet", elsewhere), "somebody", None)  # type: ignore[arg-type]
        assert isinstance(handler.wfile, io.BytesIO)
        assert elsewhere.sent == [(b"", "somebody")]
