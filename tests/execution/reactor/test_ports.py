"""``netd.execution.reactor.ports``: a shared datagram socket, as protocols see it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from netd.execution.reactor.ports import ReactorListenerSocket, UdpTransport, UnixgramTransport
from tests.execution.reactor.test_receiving import FdReactor


class Protocol(DatagramProtocol):
    stopped = 0

    def stopProtocol(self) -> None:
        self.stopped += 1


class Receiver:
    """What a transport tells, noted."""

    service = "test"

    def __init__(self) -> None:
        self.told: list[Any] = []

    def receive(self) -> None:
        self.told.append("receive")

    def may_receive(self) -> bool:
        return True

    def dropped_by_reactor(self, error: BaseException) -> None:
        self.told.append(error)

    def say(self, level: str, text: str) -> None:
        self.told.append((level, text))

    def say_raised(self, client: str, what: str, error: BaseException) -> None:
        self.told.append((client, what, error))


class Stage:
    """A listener, a transport around a copy of it, and a client."""

    def __init__(self, kind: Any = UdpTransport) -> None:
        self.reactor = FdReactor()
        self.receiver = Receiver()
        self.protocol = Protocol()
        family = socket.AF_INET if kind is UdpTransport else socket.AF_UNIX
        self.listener, self.client = (socket.socket(family, socket.SOCK_DGRAM) for _ in "12")
        for one in (self.listener, self.client):
            one.bind(("127.0.0.1", 0) if kind is UdpTransport else "")
        self.client.settimeout(10)
        copy = ReactorListenerSocket.copy_of(self.listener)
        self.transport = kind(copy, self.protocol, self.receiver, 8192, self.reactor)
        self.protocol.makeConnection(self.transport)
        self.transport.startReading()

    def close(self) -> None:
        self.transport.connectionLost()
        self.listener.close()
        self.client.close()


@pytest.fixture
def udp() -> Iterator[Stage]:
    with closing(Stage()) as made:
        yield made


@pytest.fixture
def unixgram() -> Iterator[Stage]:
    with closing(Stage(UnixgramTransport)) as made:
        yield made


class TestWriting:
    @pytest.mark.parametrize("answering", [True, False])
    def test_sends(self, udp: Stage, answering: bool) -> None:
        """To who is being answered, and to others."""
        address = udp.client.getsockname()
        udp.transport.answered = address if answering else None
        udp.transport.write(b"data", address)
        assert udp.client.recvfrom(100) == (b"data", udp.listener.getsockname())

    @pytest.mark.parametrize("answering", [True, False])
    def test_what_is_wrong(self, udp: Stage, answering: bool) -> None:
        """Is said as by Twisted, on either way."""
        address = udp.client.getsockname()
        udp.transport.answered = address if answering else None
        with pytest.raises(MessageLengthError):
            udp.transport.write(bytes(100_000), address)
        with pytest.raises(InvalidAddressError):
            udp.transport.write(b"x", ("localhost", 1))

    def test_nobody_wants_an_answer(self, udp: Stage) -> None:
        """A datagram from port 0 (RFC 768) is not one that could not be answered."""
        udp.transport.answered = address = ("127.0.0.1", 0)
        udp.transport.write(b"x", address)

    def test_no_room(self, unixgram: Stage) -> None:
        """Is no error, and nothing is waited for; the socket is a blocking one."""
        for _ in range(5000):
            unixgram.transport.write(b"x", unixgram.client.getsockname())
        assert os.get_blocking(unixgram.listener.fileno())
        assert unixgram.client.recv(100) == b"x"

    @pytest.mark.parametrize("address", [None, ""])
    def test_client_without_address(self, unixgram: Stage, address: Any) -> None:
        unixgram.transport.write(b"x", address)


class TestSocket:
    def test_sendto_does_not_wait(self, unixgram: Stage) -> None:
        """Of handlers that use it themselves."""
        copy, address = unixgram.transport.getHandle(), unixgram.client.getsockname()
        with suppress(BlockingIOError):
            for _ in range(5000):
                copy.sendto(b"x", address)
        with pytest.raises(BlockingIOError):
            copy.sendto(b"x", address)
        with pytest.raises(BlockingIOError):
            copy.sendto(b"x", 0, address)

    def test_joined_before(self, udp: Stage) -> None:
        """By another process: the membership is the socket's."""
        copy = udp.transport.getHandle()
        member = struct.pack("4s4s", socket.inet_aton("239.255.10.2"), bytes([127, 0, 0, 1]))
        for _ in range(2):
            copy.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        copy.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, member)
        with pytest.raises(OSError, match="assign requested address"):
            copy.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, member)


class TestEnd:
    def test_service_stops(self, udp: Stage) -> None:
        """The protocol is told, the copy is closed, the listener is not."""
        udp.transport.connectionLost()
        assert udp.protocol.stopped == 1
        assert udp.reactor.readers == set()
        udp.listener.getsockname()
        udp.transport.connectionLost()
        assert udp.protocol.stopped == 1

    def test_protocol_stops(self, udp: Stage) -> None:
        """It is said, for a service that hears nobody looks like one that works."""
        stopped: list[Any] = []
        udp.transport.stopListening().addCallback(stopped.append)
        assert udp.reactor.readers == set()
        udp.reactor.advance(0)
        assert stopped == [None]
        ((level, text),) = udp.receiver.told
        assert level == "warn"
        assert str(udp.listener.getsockname()[1]) in text
        udp.transport.startReading()
        assert udp.reactor.readers == set()
        assert udp.transport.stopListening() is None

    def test_reactor_complains(self, udp: Stage) -> None:
        """The listener is paused, and the protocol is not told."""
        error = OSError("shut down")
        udp.transport.connectionLost(Failure(error))
        assert udp.receiver.told == [error]
        assert udp.protocol.stopped == 0

    def test_stop_protocol_raises(self, udp: Stage) -> None:
        def stop() -> None:
            raise KeyError("x")

        udp.protocol.stopProtocol = stop  # type: ignore[method-assign]
        udp.transport.connectionLost()
        ((client, what, error),) = udp.receiver.told
        assert (client, what) == ("-", "stopProtocol")
        assert isinstance(error, KeyError)

    def test_connecting_is_refused(self, udp: Stage) -> None:
        with pytest.raises(RuntimeError, match="cannot be connected"):
            udp.transport.connect("127.0.0.1", 9)
