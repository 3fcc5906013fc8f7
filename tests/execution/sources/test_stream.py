"""``netd.execution.sources.stream``: one request from a real socket, of every transport."""

from __future__ import annotations

import array
import errno
import io
import os
import socket
import socketserver
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from netd.accept.errors import CLIENT_ERRORS, EXHAUSTED, After, after_accept
from netd.execution.interfaces import Source
from netd.execution.request import TooLong
from netd.execution.sources.datagram import InetDatagram, UnixDatagram
from netd.execution.sources.stream import InetStream, UnixStream
from netd.listening.counted import CountedSocket
from netd.model.address import Transport
from netd.model.peer import Credentials
from tests.descriptors import count_descriptors

PATIENCE = 30.0
LIMIT = 100
MYSELF = f"uid:{os.getuid()},pid:{os.getpid()}"


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        return sock.connect_ex(("::1", 1)) == errno.ECONNREFUSED


INET = [
    pytest.param(socket.AF_INET, "127.0.0.1", id="IPv4"),
    pytest.param(
        socket.AF_INET6,
        "::1",
        id="IPv6",
        marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback"),
    ),
]


@contextmanager
def listening(family: int, address: Any) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
        yield listener


@contextmanager
def receiving(family: int, address: Any, passcred: bool = True) -> Iterator[socket.socket]:
    """A datagram socket as the daemon binds it: blocking, and a Unix one with credentials."""
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        if family == socket.AF_UNIX and passcred:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        yield receiver


@contextmanager
def connected(listener: socket.socket) -> Iterator[socket.socket]:
    with socket.socket(listener.family, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE)
        client.connect(listener.getsockname())
        yield client


@contextmanager
def sending(receiver: socket.socket) -> Iterator[socket.socket]:
    with socket.socket(receiver.family, socket.SOCK_DGRAM) as sender:
        sender.connect(receiver.getsockname())
        yield sender


def abstract() -> bytes:
    """An address of a Unix socket that is nobody else's."""
    return b"\0" + uuid.uuid4().bytes


def inet(family: int) -> tuple[Transport, Transport]:
    """The transports of a family, for connections and for datagrams."""
    if family == socket.AF_INET6:
        return Transport.TCP6, Transport.UDP6
    return Transport.TCP, Transport.UDP


def text_of(address: Any) -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


def nothing_there(source: Source) -> None:
    with pytest.raises(BlockingIOError):
        source.next_request()


class TestErrors:
    """The two kinds of errors of taking."""

    def test_none_is_of_both_kinds(self) -> None:
        """An error is either a client's own, or a shortage of the system's."""
        assert not CLIENT_ERRORS & EXHAUSTED
        assert errno.ECONNABORTED in CLIENT_ERRORS
        assert after_accept(OSError(errno.EAGAIN, "")) is After.NOTHING
        assert {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS} == EXHAUSTED


class TestInetStream:
    """TCP connections."""

    @pytest.mark.parametrize(("family", "host"), INET)
    def test_a_connection(self, family: int, host: str) -> None:
        """The request is a plain blocking socket, the address what ``accept`` gives."""
        with listening(family, (host, 0)) as listener, connected(listener) as client:
            source = InetStream(listener, inet(family)[0])
            assert source.fileno() == listener.fileno()
            request = source.next_request()
            with request.raw as connection:
                assert type(connection) is socket.socket
                assert connection.gettimeout() is None
                assert os.get_blocking(connection.fileno())
                assert not connection.get_inheritable()
                assert request.client_address == client.getsockname()
                assert request.client == text_of(client.getsockname())
                assert request.peer is None
                client.sendall(b"hello")
                assert connection.recv(100) == b"hello"

    def test_nobody(self) -> None:
        """It never waits, and taking goes on afterwards."""
        with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
            source = InetStream(listener, Transport.TCP)
            nothing_there(source)
            with connected(listener):
                source.next_request().raw.close()
            nothing_there(source)


class TestUnixStream:
    """Connections to Unix sockets."""

    def test_a_connection(self) -> None:
        """The peer is known by its credentials, and the socket counts."""
        with listening(socket.AF_UNIX, abstract()) as listener, connected(listener) as client:
            source = UnixStream(listener, with_groups=False)
            assert source.transport is Transport.UNIX
            request = source.next_request()
            with request.raw as connection:
                assert isinstance(connection, CountedSocket)
                assert connection.family is socket.AF_UNIX
                assert connection.gettimeout() is None
                assert not connection.get_inheritable()
                assert request.client == MYSELF
                assert request.peer == Credentials(os.getuid(), os.getgid())
                client.sendall(b"hello")
                assert connection.recv(100) == b"hello"
                assert (connection.received, connection.sent) == (5, 0)
            nothing_there(source)

    def test_the_address_of_the_peer(self, tmp_path: Path) -> None:
        """A handler gets as ``client_address`` what ``accept`` says, the peer's name or nothing."""
        with listening(socket.AF_UNIX, abstract()) as listener:
            source = UnixStream(listener, with_groups=False)
            with connected(listener):
                request = source.next_request()
                request.raw.close()
                assert request.client_address == ""
            name = str(tmp_path / "client")
            with socket.socket(socket.AF_UNIX) as client:
                client.bind(name)
                client.connect(listener.getsockname())
                request = source.next_request()
                request.raw.close()
                assert request.client_address == name

    def test_groups(self) -> None:
        """Supplementary groups are read where a rule asks for them."""
        with listening(socket.AF_UNIX, abstract()) as listener, connected(listener):
            request = UnixStream(listener, with_groups=True).next_request()
            request.raw.close()
            assert request.peer == Credentials(os.getuid(), os.getgid(), frozenset(os.getgroups()))

    def test_unknown_groups(self) -> None:
        """A peer whose groups cannot be read is nobody, rather than one without groups."""
        # The kernel knows no groups of a TCP peer.
        with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener, connected(listener):
            request = UnixStream(listener, with_groups=True).next_request()
            request.raw.close()
            assert request.client == "unix"
            assert request.peer is None


class TestInetDatagram:
    """UDP packets."""

    @pytest.mark.parametrize(("family", "host"), INET)
    def test_a_packet(self, family: int, host: str) -> None:
        """The request is the data and the socket to answer by."""
        with (
            receiving(family, (host, 0)) as receiver,
            sending(receiver) as sender,
            receiver.dup() as shown,
        ):
            source = InetDatagram(receiver, inet(family)[1], shown, LIMIT)
            assert source.fileno() == receiver.fileno()
            sender.send(b"hello")
            request = source.next_request()
            data, answering = request.raw
            assert data == b"hello"
            assert answering is shown
            assert request.client_address == sender.getsockname()
            assert request.client == text_of(sender.getsockname())
            assert request.peer is None

    @pytest.mark.parametrize("length", [0, 1, LIMIT - 1, LIMIT])
    def test_lengths_up_to_the_limit(self, length: int) -> None:
        """A packet is taken whole, also an empty one and one of exactly the limit."""
        with receiving(socket.AF_INET, ("127.0.0.1", 0)) as receiver, sending(receiver) as sender:
            sender.send(b"x" * length)
            request = InetDatagram(receiver, Transport.UDP, receiver, LIMIT).next_request()
            assert request.raw == (b"x" * length, receiver)

    @pytest.mark.parametrize("length", [LIMIT + 1, LIMIT + 2, 60_000])
    def test_longer_ones(self, length: int) -> None:
        """They are dropped, never cut, and the next packet is taken."""
        with receiving(socket.AF_INET, ("127.0.0.1", 0)) as receiver, sending(receiver) as sender:
            source = InetDatagram(receiver, Transport.UDP, receiver, LIMIT)
            sender.send(b"x" * length)
            sender.send(b"next")
            with pytest.raises(TooLong) as caught:
                source.next_request()
            client = text_of(sender.getsockname())
            assert str(caught.value) == f"datagram from {client} is longer than {LIMIT} bytes"
            assert source.next_request().raw[0] == b"next"

    def test_nobody(self) -> None:
        """It does not wait although the socket, which others share, is a blocking one."""
        with receiving(socket.AF_INET, ("127.0.0.1", 0)) as receiver:
            nothing_there(InetDatagram(receiver, Transport.UDP, receiver, LIMIT))
            assert os.get_blocking(receiver.fileno())


class TestUnixDatagram:
    """Packets sent to a Unix socket."""

    def test_a_packet(self) -> None:
        """The sender is known by its credentials."""
        with receiving(socket.AF_UNIX, abstract()) as receiver, sending(receiver) as sender:
            source = UnixDatagram(receiver, receiver, LIMIT)
            assert source.transport is Transport.UNIXGRAM
            sender.send(b"hello")
            request = source.next_request()
            assert request.raw == (b"hello", receiver)
            assert request.client == MYSELF
            assert request.peer == Credentials(os.getuid(), os.getgid())

    def test_the_address_of_the_sender(self) -> None:
        """A handler gets as ``client_address`` what ``recvfrom`` says in ``socketserver``."""
        with (
            receiving(socket.AF_UNIX, abstract()) as receiver,
            receiving(socket.AF_UNIX, abstract()) as named,
            sending(receiver) as nameless,
        ):
            # It has no name, unless the kernel gives it one for its credentials' sake.
            source = UnixDatagram(receiver, receiver, LIMIT)
            for send in (
                lambda: nameless.send(b"x"),
                lambda: named.sendto(b"x", receiver.getsockname()),
            ):
                send()
                send()
                expected = receiver.recvfrom(LIMIT)[1]
                assert source.next_request().client_address == expected
            assert expected == named.getsockname()

    def test_without_credentials(self) -> None:
        """A sender that nobody knows is nobody."""
        with (
            receiving(socket.AF_UNIX, abstract(), passcred=False) as receiver,
            sending(receiver) as sender,
        ):
            sender.send(b"hello")
            request = UnixDatagram(receiver, receiver, LIMIT).next_request()
            assert request.client == "unix"
            assert request.peer is None

    @pytest.mark.parametrize("length", [0, LIMIT])
    def test_lengths_up_to_the_limit(self, length: int) -> None:
        """A packet is taken whole, also an empty one and one of exactly the limit."""
        with receiving(socket.AF_UNIX, abstract()) as receiver, sending(receiver) as sender:
            sender.send(b"x" * length)
            request = UnixDatagram(receiver, receiver, LIMIT).next_request()
            assert request.raw[0] == b"x" * length

    @pytest.mark.parametrize("length", [LIMIT + 1, 60_000])
    def test_longer_ones(self, length: int) -> None:
        """They are dropped, and it is known who sent them."""
        with receiving(socket.AF_UNIX, abstract()) as receiver, sending(receiver) as sender:
            source = UnixDatagram(receiver, receiver, LIMIT)
            sender.send(b"x" * length)
            sender.send(b"next")
            with pytest.raises(TooLong, match=f"datagram from {MYSELF} is longer than 100 bytes"):
                source.next_request()
            assert source.next_request().raw[0] == b"next"

    def test_descriptors_that_come_along(self) -> None:
        """Nobody can fill the process with descriptors by sending it some."""
        with receiving(socket.AF_UNIX, abstract()) as receiver, sending(receiver) as sender:
            source = UnixDatagram(receiver, receiver, LIMIT)
            before = count_descriptors()
            for _ in range(10):
                socket.send_fds(sender, [b"take these"], [0, 1, 2])
                assert source.next_request().peer == Credentials(os.getuid(), os.getgid())
            assert count_descriptors() <= before

    def test_nobody(self) -> None:
        """It does not wait although the socket is a blocking one."""
        with receiving(socket.AF_UNIX, abstract()) as receiver:
            nothing_there(UnixDatagram(receiver, receiver, LIMIT))
            assert os.get_blocking(receiver.fileno())


@pytest.fixture
def ends() -> Iterator[tuple[CountedSocket, socket.socket]]:
    """A socket that counts, and the one at its other end."""
    with ExitStack() as stack:
        here, there = socket.socketpair()
        stack.enter_context(there)
        counted = stack.enter_context(CountedSocket(fileno=here.detach()))
        counted.settimeout(PATIENCE)
        there.settimeout(PATIENCE)
        yield counted, there


Ends = tuple[CountedSocket, socket.socket]

RECEIVERS: dict[str, Callable[[CountedSocket, int], object]] = {
    "recv": lambda counted, flags: counted.recv(10, flags),
    "recv_into": lambda counted, flags: counted.recv_into(bytearray(10), 0, flags),
    "recv_into, by name": lambda counted, flags: counted.recv_into(
        bytearray(10), nbytes=10, flags=flags
    ),
    "recvfrom": lambda counted, flags: counted.recvfrom(10, flags),
    "recvfrom_into": lambda counted, flags: counted.recvfrom_into(bytearray(10), 0, flags),
    "recvmsg": lambda counted, flags: counted.recvmsg(10, 0, flags),
    "recvmsg_into": lambda counted, flags: counted.recvmsg_into(
        [bytearray(3), bytearray(7)], 0, flags
    ),
}

SENDERS: dict[str, tuple[Callable[[CountedSocket], object], bytes]] = {
    "send": (lambda counted: counted.send(b"seven b"), b"seven b"),
    "send, flags": (lambda counted: counted.send(b"x", socket.MSG_NOSIGNAL), b"x"),
    "sendall": (lambda counted: counted.sendall(b"seven b"), b"seven b"),
    "sendall, flags": (lambda counted: counted.sendall(b"x", socket.MSG_NOSIGNAL), b"x"),
    "sendall of a memoryview": (
        lambda counted: counted.sendall(memoryview(bytes(8)).cast("Q")),
        bytes(8),
    ),
    "sendall of an array": (
        lambda counted: counted.sendall(array.array("I", [1, 2, 3])),
        array.array("I", [1, 2, 3]).tobytes(),
    ),
    "send of an array": (lambda counted: counted.send(array.array("H", [7, 7])), b"\7\0\7\0"),
    "sendmsg": (lambda counted: counted.sendmsg([b"three", b"", b"parts"]), b"threeparts"),
    "sendmsg with a descriptor": (
        lambda counted: counted.sendmsg(
            [b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
        ),
        b"x",
    ),
    "sendfile of a file in memory": (
        lambda counted: counted.sendfile(io.BytesIO(b"0123456789" * 1000)),
        b"0123456789" * 1000,
    ),
    "sendfile of a part in memory": (
        lambda counted: counted.sendfile(io.BytesIO(b"0123456789"), 2, 5),
        b"23456",
    ),
}


class TestCountedSocket:
    """Whatever a handler calls, the bytes are counted once."""

    @pytest.mark.parametrize("name", RECEIVERS)
    def test_received(self, ends: Ends, name: str) -> None:
        """Each method that receives counts what came, and nothing at the end of the stream."""
        counted, other = ends
        receive = RECEIVERS[name]
        other.sendall(b"hello")
        receive(counted, 0)
        assert (counted.received, counted.sent) == (5, 0)
        other.close()
        receive(counted, 0)
        assert (counted.received, counted.sent) == (5, 0)

    @pytest.mark.parametrize("name", RECEIVERS)
    def test_peeked_at(self, ends: Ends, name: str) -> None:
        """What MSG_PEEK shows is counted when it is received."""
        counted, other = ends
        receive = RECEIVERS[name]
        other.sendall(b"hello")
        receive(counted, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        assert counted.received == 0
        receive(counted, 0)
        assert counted.received == 5

    def test_without_flags(self, ends: Ends) -> None:
        """The forms with the fewest arguments work as a socket's."""
        counted, other = ends
        other.sendall(b"abcdefg")
        assert counted.recv(1) == b"a"
        assert counted.recvfrom(1)[0] == b"b"
        assert counted.recvmsg(1)[0] == b"c"
        buffer = bytearray(1)
        assert counted.recv_into(buffer) == 1
        assert counted.recvfrom_into(buffer)[0] == 1
        assert counted.recvmsg_into([buffer])[0] == 1
        assert counted.recv_into(memoryview(bytearray(10)), 5) == 1
        assert counted.received == 7

    def test_received_by_a_file(self, ends: Ends) -> None:
        """A file made of the socket reads through it, with what it reads ahead."""
        counted, other = ends
        other.sendall(b"one\ntwo\nthree")
        with counted.makefile("rb") as lines:
            assert lines.readline() == b"one\n"
        assert counted.received == 13
        other.sendall(b"four")
        with counted.makefile("rb", buffering=0) as raw:
            assert raw.read(2) == b"fo"
        assert counted.received == 15

    def test_sent_by_a_file(self, ends: Ends) -> None:
        """A file made of the socket writes through it, when it is flushed."""
        counted, other = ends
        with counted.makefile("wb") as buffered:
            buffered.write(b"hello")
            assert counted.sent == 0
        assert counted.sent == 5
        with counted.makefile("wb", buffering=0) as raw:
            raw.write(b"at once")
            assert counted.sent == 12
        with counted.makefile("w", encoding="utf-8") as text:
            text.write("bäh")
        assert counted.sent == 16
        assert other.recv(100) == "helloat oncebäh".encode()

    @pytest.mark.parametrize("name", SENDERS)
    def test_sent(self, ends: Ends, name: str) -> None:
        """Each method that sends counts bytes, not items, and each byte once."""
        counted, other = ends
        send, expected = SENDERS[name]
        send(counted)
        assert (counted.received, counted.sent) == (0, len(expected))
        assert other.recv(len(expected) + 1, socket.MSG_DONTWAIT) == expected

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [((), b"x" * 5000), ((4000,), b"x" * 1000), ((10, 20), b"x" * 20)],
    )
    def test_sent_from_a_file(
        self, ends: Ends, tmp_path: Path, arguments: tuple[int, ...], expected: bytes
    ) -> None:
        """What ``sendfile`` lets the kernel copy is counted as well."""
        counted, other = ends
        path = tmp_path / "file"
        path.write_bytes(b"x" * 5000)
        with path.open("rb") as file:
            assert counted.sendfile(file, *arguments) == len(expected)
        assert counted.sent == len(expected)
        assert other.recv(10_000) == expected

    def test_sent_from_an_empty_file(self, ends: Ends, tmp_path: Path) -> None:
        """An empty file is no bytes."""
        counted, _ = ends
        (tmp_path / "file").touch()
        with (tmp_path / "file").open("rb") as file:
            assert counted.sendfile(file) == 0
        assert counted.sendfile(io.BytesIO()) == 0
        assert counted.sent == 0

    def test_after_other_bytes(self, ends: Ends, tmp_path: Path) -> None:
        """``sendfile`` adds to what was sent before, by whichever way it goes."""
        counted, _ = ends
        counted.sendall(b"12345")
        counted.sendfile(io.BytesIO(b"123"))
        (tmp_path / "file").write_bytes(b"12")
        with (tmp_path / "file").open("rb") as file:
            counted.sendfile(file)
        assert counted.sent == 10

    def test_not_all_of_it(self, ends: Ends) -> None:
        """Where the peer does not read, only what ``send`` took is counted."""
        counted, _ = ends
        counted.setblocking(False)
        accepted = 0
        with suppress(BlockingIOError):
            while True:
                accepted += counted.send(bytes(100_000))
        assert counted.sent == accepted > 0

    def test_nothing_there(self, ends: Ends) -> None:
        """A failure counts nothing."""
        counted, other = ends
        counted.setblocking(False)
        with pytest.raises(BlockingIOError):
            counted.recv(10)
        other.close()
        with pytest.raises(BrokenPipeError):
            counted.send(b"x")
        assert (counted.received, counted.sent) == (0, 0)

    def test_a_stream_handler(self, ends: Ends) -> None:
        """``rfile`` and ``wfile`` of ``socketserver`` count both ways."""

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(self.rfile.readline().upper())

        counted, other = ends
        other.sendall(b"hello\n")
        Handler(counted, "", None)  # type: ignore[arg-type]
        assert other.recv(100) == b"HELLO\n"
        assert (counted.received, counted.sent) == (6, 6)

    def test_is_a_socket(self, ends: Ends) -> None:
        """Handlers find a real socket, which can be given away."""
        counted, other = ends
        assert isinstance(counted, socket.socket)
        with counted.dup() as copy:
            copy.sendall(b"x")
        assert other.recv(10) == b"x"
        descriptor = counted.detach()
        os.close(descriptor)
        assert counted.fileno() == -1
