"""Datagrams that the reactor serves: real sockets, a real reactor in a process of its own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.execution.reactor.hosts import hosting

DATAGRAMS = ("udp", "udp6", "unixgram")


@pytest.mark.parametrize("transport", DATAGRAMS)
class TestEveryTransport:
    def test_protocol_serves(self, transport: str, tmp_path: Path) -> None:
        """One DatagramProtocol for each listener, with its options, started and stopped."""
        with hosting("EchoPackets", transport, options={"before": "> "}) as host:
            client = host.sender(transport, _path(transport, tmp_path))
            for data in (b"hello", b"", b"again"):
                client.send(data)
                assert client.recv(100) == b"> " + data
            lines = host.everything()
            assert lines.count("startProtocol") == lines.count("stopProtocol") == 1
            assert host.scoreboard.counts().served == 3
            assert not any("served" in line for line in lines)

    def test_addresses(self, transport: str, tmp_path: Path) -> None:
        """getHost() is the listener's; a client's address is in the form of Twisted's."""
        with hosting("IntroducePackets", transport) as host:
            client = host.sender(transport, _path(transport, tmp_path))
            client.send(b"x")
            said = client.recv(1000).decode()
            own, there = client.getsockname(), client.getpeername()
            if transport == "unixgram":
                assert said == f"UNIXAddress('{there}') {own!r}"
            else:
                assert said.endswith(repr(own[:2]))
                assert f"host={there[0]!r}, port={there[1]}" in said

    def test_too_long(self, transport: str, tmp_path: Path) -> None:
        """A packet above the limit is dropped, counted and logged; one at the limit is not."""
        with hosting("EchoPackets", transport, datagram_size=10) as host:
            client = host.sender(transport, _path(transport, tmp_path))
            client.send(b"elevenbytes")
            client.send(b"tenbytes..")
            assert client.recv(100) == b"tenbytes.."
            host.heard("dropped: datagram from", "longer than 10 bytes")
            host.everything()
            assert host.scoreboard.counts().dropped == 1

    def test_exceptions(self, transport: str, tmp_path: Path) -> None:
        """They cost their own packet, and are logged once with client and traceback."""
        with hosting("EchoPackets", transport) as host:
            client = host.sender(transport, _path(transport, tmp_path))
            client.send(b"raise")
            client.send(b"next")
            assert client.recv(100) == b"next"
            lines = host.everything()
            assert sum("ValueError: in datagramReceived" in line for line in lines) == 1
            assert sum(f"{transport}: the protocol raised" in line for line in lines) == 1
            counts = host.scoreboard.counts()
            assert (counts.served, counts.failed) == (2, 1)

    def test_more_than_a_batch(self, transport: str, tmp_path: Path) -> None:
        with hosting("EchoPackets", transport) as host:
            client = host.sender(transport, _path(transport, tmp_path))
            for round_ in range(40):
                sent = [f"{round_} {number}".encode() for number in range(8)]
                for data in sent:
                    client.send(data)
                assert [client.recv(100) for _ in sent] == sent

    def test_socket_stays_as_it_is(self, transport: str, tmp_path: Path) -> None:
        """It is still blocking and bound, and another process can receive from it."""
        with hosting("EchoPackets", transport) as host:
            client = host.sender(transport, _path(transport, tmp_path))
            client.send(b"x")
            assert client.recv(100) == b"x"
            host.everything()
            listener = host.listeners[transport]
            assert os.get_blocking(listener.fileno())
            client.send(b"for another one")
            assert listener.recv(100) == b"for another one"

    def test_handler_serves(self, transport: str, tmp_path: Path) -> None:
        """A handler for each packet; what it writes goes back as one, and it is logged."""
        with hosting("AsyncPacket", transport) as host:
            client = host.sender(transport, _path(transport, tmp_path))
            client.send(b"two\nlines")
            assert client.recv(100) == b"two\nlines"
            host.heard(f" {transport} served ", "in=9")

    def test_handler_that_writes_nothing(self, transport: str, tmp_path: Path) -> None:
        """Nothing is sent for it."""
        with hosting("AsyncPacket", transport) as host:
            client = host.sender(transport, _path(transport, tmp_path))
            client.send(b"")
            client.send(b"next")
            assert client.recv(100) == b"next"

    def test_handler_finds(self, transport: str, tmp_path: Path) -> None:
        """What socketserver gives, and nothing else."""
        with hosting("AsyncLook", transport) as host:
            client = host.sender(transport, _path(transport, tmp_path))
            client.send(b"!")
            address = client.getsockname()
            expected = f"['client_address', 'request', 'server'] {address!r} _Server!"
            assert client.recv(1000).decode() == expected


def _path(transport: str, directory: Path) -> str | None:
    return str(directory / "client") if transport == "unixgram" else None


class TestUdpTransport:
    def test_what_it_can_do(self) -> None:
        """Answer later, and in pieces; not look names up, and not send what is too long."""
        with hosting("Various", "udp") as host:
            client = host.sender()
            client.send(b"later")
            assert client.recv(100) == b"later"
            client.send(b"pieces")
            assert client.recv(100) == b"<pieces>"
            client.send(b"name")
            host.heard("InvalidAddressError")
            client.send(b"long")
            host.heard("MessageLengthError")

    def test_is_not_connected(self) -> None:
        """The socket would hear nobody else, in any process."""
        with hosting("Various", "udp") as host:
            client = host.sender()
            client.send(b"connect")
            host.heard("RuntimeError: a listener that processes share cannot be connected")
            client.send(b"x")
            assert client.recv(100) == b"<x>"

    def test_group_joined_already(self) -> None:
        """By the process before this one: memberships are the socket's, which is the same."""
        with hosting("Various", "udp") as host:
            client = host.sender()
            for _ in range(2):
                client.send(b"join")
                assert client.recv(1000) == b"joined"

    def test_protocol_stops_listening(self) -> None:
        """In this process only."""
        with hosting("Various", "udp") as host:
            client = host.sender()
            client.send(b"stop")
            host.heard("stopped listening")
            client.send(b"for another one")
            assert host.listeners["udp"].recv(100) == b"for another one"
            assert host.everything()[-1] == "STOPPED"


class TestUnixgram:
    def test_client_without_address(self) -> None:
        """Nobody can answer it, and that is no error."""
        for what in ("EchoPackets", "AsyncPacket"):
            with hosting(what, "unixgram") as host:
                host.sender("unixgram").send(b"x")
                lines = host.everything()
                assert host.scoreboard.counts().failed == 0, lines

    def test_client_that_does_not_read(self, tmp_path: Path) -> None:
        """It holds up nobody: its answers are dropped when there is no room for them."""
        with hosting("EchoPackets", "unixgram", "udp") as host:
            deaf = host.sender("unixgram", str(tmp_path / "deaf"))
            for _ in range(1000):
                deaf.send(b"x")
            other = host.sender("udp")
            other.send(b"hello")
            assert other.recv(100) == b"hello"


class TestAdmission:
    def test_lists(self) -> None:
        """Refused packets are logged, with their size, and counted."""
        with hosting("EchoPackets", "udp", "udp6", deny=["127.0.0.1"]) as host:
            host.sender().send(b"refused")
            client = host.sender("udp6")
            client.send(b"x")
            assert client.recv(10) == b"x"
            host.heard("udp refused: deny", "in=7")
            host.everything()
            assert host.scoreboard.counts().refused == 1

    def test_dry_run(self) -> None:
        with hosting("EchoPackets", "udp", deny=["127.0.0.1"], dry_run=True) as host:
            client = host.sender()
            client.send(b"x")
            assert client.recv(10) == b"x"
            host.heard("would be refused: deny")

    def test_filter(self) -> None:
        """It gets (data, transport)."""
        with hosting("EchoPackets", "udp", verify="polite") as host:
            client = host.sender()
            client.send(b"no")
            client.send(b"yes")
            assert client.recv(10) == b"yes"
            host.heard("udp refused: verify_request", "in=2")

    def test_filter_raises(self) -> None:
        with hosting("EchoPackets", "udp", verify="broken") as host:
            host.sender().send(b"x")
            host.heard("udp refused: verify_request raised", "in=1")
            host.heard("ValueError: in the filter")
            assert host.everything()[-1] == "STOPPED"

    def test_filter_that_waits(self) -> None:
        with hosting("EchoPackets", "udp", verify="slow") as host:
            client = host.sender()
            client.send(b"x")
            assert client.recv(10) == b"x"
            assert host.everything()[-1] == "STOPPED"

    def test_filter_overruns(self) -> None:
        with hosting("EchoPackets", "udp", verify="stuck", verify_timeout=0.02) as host:
            host.sender().send(b"x")
            host.heard("udp refused: verify_timeout")
            assert host.scoreboard.active_connections() == []


class TestHandlers:
    def test_exception(self) -> None:
        with hosting("AsyncPacket", "udp") as host:
            client = host.sender()
            client.send(b"raise")
            host.heard(f"127.0.0.1:{client.getsockname()[1]} udp: the handler raised")
            host.heard("KeyError: 'in handle'")
            host.heard(" udp failed ")

    def test_one_that_waits(self) -> None:
        """It is listed, holds up nobody, and a stop waits for it."""
        with hosting("AsyncPacket", "udp") as host:
            client = host.sender()
            client.send(b"wait")
            host.heard("waiting")
            (active_connection,) = host.scoreboard.active_connections()
            assert active_connection.client == f"127.0.0.1:{client.getsockname()[1]}"
            client.send(b"next")
            assert {client.recv(10), client.recv(10)} == {b"wait", b"next"}
            assert host.everything()[-1] == "STOPPED"
            assert host.scoreboard.active_connections() == []

    def test_stop_waits_for_it(self) -> None:
        with hosting("AsyncDelayed", "udp") as host:
            client = host.sender()
            client.send(b"x")
            host.heard("delayed")
            lines = host.everything()
            assert client.recv(10) == b"x"
            assert lines[-1] == "STOPPED"


def test_streams_and_datagrams_of_one_handler() -> None:
    """A handler on the base class serves both."""
    with hosting("AsyncLook", "tcp", "udp") as host:
        client = host.sender()
        client.send(b"!")
        assert client.recv(1000).endswith(b"!")
        with host.connect() as stream:
            expected = f"{stream.getsockname()!r} _Server"
            assert stream.recv(1000).decode().endswith(expected)


def test_listener_that_is_shut_down() -> None:
    """It rests, instead of spinning."""
    with hosting("Line") as host:
        host.listeners["tcp"].shutdown(socket.SHUT_RDWR)
        host.heard("cannot accept")
