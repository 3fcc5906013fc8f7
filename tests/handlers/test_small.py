"""``netd.handlers.small``: the classic services, and whom they do not answer."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from socketserver import BaseServer
from typing import Any

import pytest

from netd.handlers.reflection_guard import ReflectionGuard
from netd.handlers.small import (
    MOST_CHARACTERS,
    Chargen,
    Daytime,
    Discard,
    Echo,
    SmallService,
    Time,
    daytime,
    may_answer,
    most_answered,
    seconds_since_1900,
)
from tests.execution.reactor.hosts import PATIENCE, Host, hosting, read_all

AFTERNOON = time.struct_time((1982, 2, 22, 17, 37, 43, 0, 53, 0))


class TestPureParts:
    def test_daytime(self) -> None:
        """RFC 867's own form, which is for people, with CRLF."""
        zone = time.strftime("%Z", AFTERNOON)
        line = f"Monday, February 22, 1982 17:37:43-{zone}\r\n"
        assert daytime(AFTERNOON) == line.encode()

    @pytest.mark.parametrize(
        ("unix", "number"),
        [
            # The examples of RFC 868: 1970, 1976, 1980, and May of 1983.
            (0, 2_208_988_800),
            (189_302_400, 2_398_291_200),
            (315_532_800, 2_524_521_600),
            (420_595_200, 2_629_584_000),
            # 06:28:16 on 7 February 2036, when 32 bits are over.
            (2_085_978_496, 0),
            (2_085_978_495.9, 2**32 - 1),
        ],
    )
    def test_seconds(self, unix: float, number: int) -> None:
        assert seconds_since_1900(unix) == number.to_bytes(4)

    def test_replies(self) -> None:
        """To a datagram of whatever content."""
        assert reply(Echo, b"any\0thing") == b"any\0thing"
        assert reply(Echo, b"") == b""
        assert reply(Discard, b"x") is None
        before = time.time()
        answer = reply(Time, b"")
        assert answer is not None
        said = int.from_bytes(answer) - 2_208_988_800
        assert int(before) <= said <= time.time()
        answer = reply(Daytime, b"ignored")
        assert answer is not None
        assert re.fullmatch(rb"[A-Z]\w+day, [A-Z]\w+ \d\d, \d{4} [\d:]{8}-\S*\r\n", answer)

    def test_characters(self) -> None:
        """A datagram of up to 512 of them, in the popular pattern of 72 a line."""
        answers = [reply(Chargen, b"") or b"" for _ in range(100)]
        longest = max(answers, key=len)
        assert all(longest.startswith(answer) for answer in answers)
        assert 300 < len(longest) <= MOST_CHARACTERS
        first, second = longest.split(b"\r\n")[:2]
        assert first == bytes(range(32, 104))
        assert second == bytes(range(33, 105))

    @pytest.mark.parametrize(
        ("source", "answered"),
        [
            (0, False),
            (1, False),
            (7, False),
            (1023, False),
            (1024, True),
            (40000, True),
            (50000, False),  # never
            (60000, False),  # claimed
            ("/run/client", True),
            ("/run/echo", False),  # claimed
            ("", False),
            (None, False),
        ],
    )
    def test_may_answer(self, source: Any, answered: bool) -> None:
        """By the port or path that a datagram comes from."""
        assert may_answer(source, [50000], {60000, "/run/echo"}.__contains__) is answered


def reply(kind: type[SmallService], data: bytes) -> bytes | None:
    return kind((data, None), ("192.0.2.1", 4711), BaseServer("", None)).reply(data)  # type: ignore[arg-type]


STREAMS = ("tcp", "tcp6", "unix")


@contextmanager
def running(name: str, *transports: str, **settings: Any) -> Iterator[Host]:
    with hosting(f"netd.handlers.small:{name}", *transports, **settings) as host:
        yield host


@pytest.mark.parametrize("transport", STREAMS)
class TestStreams:
    def test_echo(self, transport: str) -> None:
        """Until the client has finished."""
        data = os.urandom(300_000)
        with running("Echo", transport) as host, host.connect(transport) as client:
            got = b""
            for start in range(0, len(data), 30_000):
                client.sendall(data[start : start + 30_000])
                got += client.recv(30_000, socket.MSG_WAITALL)
            assert got == data
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""

    def test_discard(self, transport: str) -> None:
        with running("Discard", transport) as host:
            assert host.ask(bytes(1 << 20), transport) == b""
            host.heard(f"in={1 << 20}")

    def test_daytime(self, transport: str) -> None:
        """Without waiting for anything from the client."""
        with running("Daytime", transport) as host, host.connect(transport) as client:
            assert read_all(client).endswith(b"\r\n")

    def test_time(self, transport: str) -> None:
        with running("Time", transport) as host, host.connect(transport) as client:
            assert abs(int.from_bytes(read_all(client)) - 2_208_988_800 - time.time()) < PATIENCE

    def test_chargen(self, transport: str) -> None:
        """For as long as the client takes it, whatever that says; its end is no failure."""
        with running("Chargen", transport) as host, host.connect(transport) as client:
            client.sendall(bytes(100_000))
            client.shutdown(socket.SHUT_WR)
            read = b""
            while len(read) < 500_000:
                read += client.recv(65536)
            assert read.startswith(bytes(range(32, 104)) + b"\r\n")
            assert read[: 95 * 74] == read[95 * 74 : 2 * 95 * 74]
            client.close()
            host.heard(f" {transport} lost ")
            host.everything()
            assert host.scoreboard.counts().failed == 0


def answers(client: socket.socket, data: bytes = b"x") -> bytes:
    client.send(data)
    return client.recv(1000)


def is_silent(client: socket.socket) -> bool:
    """Whether nothing has come; for when something would be there already."""
    client.setblocking(False)
    try:
        client.recv(1000)
    except BlockingIOError:
        return True
    return False


def at_port(host: Host, port: int) -> socket.socket:
    """A client whose datagrams come from *port* on another address of the loopback."""
    with ExitStack() as stack:
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.bind(("127.0.0.2", port))
        client.connect(host.address("udp"))
        stack.pop_all()
        return client


class TestDatagrams:
    @pytest.mark.parametrize("transport", ["udp", "udp6", "unixgram"])
    def test_answers(self, transport: str, tmp_path: Path) -> None:
        with running("Echo", transport) as host:
            client = host.sender(transport, f"{tmp_path}/c" if transport == "unixgram" else None)
            assert answers(client, b"hello") == b"hello"

    def test_discard_answers_nobody(self) -> None:
        with running("Discard", "udp") as host:
            client = host.sender()
            client.send(b"x")
            host.heard("udp served")
            assert is_silent(client)

    def test_never_itself(self) -> None:
        """Nor the same port on another machine, where the same service may be."""
        with running("Echo", "udp") as host:
            forged = at_port(host, host.address("udp")[1])
            with forged:
                forged.send(b"x")
                assert answers(host.sender(), b"hello") == b"hello"
                assert is_silent(forged)

    @pytest.mark.parametrize(("one", "other"), [("Echo", "Chargen"), ("Time", "Daytime")])
    def test_never_each_other(self, one: str, other: str) -> None:
        """In two processes that know nothing of each other, before either was ever asked."""
        with running(one, "udp") as first, running(other, "udp") as second:
            for host, port in (
                (first, second.address("udp")[1]),
                (second, first.address("udp")[1]),
            ):
                with at_port(host, port) as forged:
                    forged.send(b"x")
                    assert answers(host.sender())
                    assert is_silent(forged)

    def test_first_process_ends(self) -> None:
        """Of two that serve the same: the other one has told about its address, too."""
        with running("Echo", "udp") as first:
            port = first.address("udp")[1]
            with (
                running("Chargen", "udp") as other,
                hosting_again(first, "netd.handlers.small:Echo") as second,
            ):
                first.everything()
                assert answers(second.sender(), b"hello") == b"hello"
                with at_port(other, port) as forged:
                    forged.send(b"x")
                    assert answers(other.sender()) is not None
                    assert is_silent(forged)

    def test_ports_of_services(self) -> None:
        """Those below 1024, which only root can send from."""
        with running("Echo", "udp") as host:
            try:
                forged = at_port(host, 1023)
            except PermissionError:
                pytest.skip("only root can send from a port below 1024")
            with forged:
                forged.send(b"x")
                assert answers(host.sender(), b"hello") == b"hello"
                assert is_silent(forged)

    def test_ports_that_are_named(self) -> None:
        """By an option of the service."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forged:
            forged.bind(("127.0.0.1", 0))
            port = forged.getsockname()[1]
            with running("Echo", "udp", options={"never_answer": [port]}) as host:
                forged.sendto(b"x", host.address("udp"))
                assert answers(host.sender(), b"hello") == b"hello"
                assert is_silent(forged)

    def test_path_that_leads_to_another(self, tmp_path: Path) -> None:
        """A client gives way to another service before it is answered: that answers nobody."""
        with running("Echo", "unixgram") as echo, running("Chargen", "unixgram") as chargen:
            client = echo.sender("unixgram", f"{tmp_path}/x")
            echo.process.send_signal(signal.SIGSTOP)
            client.send(b"forged")
            (tmp_path / "x").unlink()
            (tmp_path / "x").symlink_to(chargen.address("unixgram"))
            echo.process.send_signal(signal.SIGCONT)
            chargen.heard("unixgram served", "in=6")
            echo.heard("unixgram served", "in=6")
            for host in (echo, chargen):
                answers(host.sender("unixgram", f"{tmp_path}/{host.process.pid}"), b"honest")
                host.everything()
                assert host.scoreboard.counts().served == 2


@contextmanager
def hosting_again(host: Host, what: str) -> Iterator[Host]:
    """Another process on the UDP socket of *host*, as where a service has several."""
    with hosting(what, "udp", sockets={"udp": host.listeners["udp"]}) as other:
        yield other


def test_nothing_is_claimed_for_streams() -> None:
    """A TCP port says nothing about the UDP port of the same number."""
    server: Any = BaseServer(("127.0.0.1", 4711), None)  # type: ignore[arg-type]
    guard = ReflectionGuard("small services")
    with socket.create_server(("127.0.0.1", 0)) as server.socket, closing(guard):
        server.server_address = server.socket.getsockname()
        Echo.listening(server)
        assert not guard.is_claimed(server.server_address[1])


@pytest.mark.parametrize(("size", "most"), [(0, 56), (1, 59), (100, 356)])
def test_most_answered(size: int, most: int) -> None:
    """Three times what came, with its headers: enough for date and time."""
    assert most_answered(size) == most
    assert len(daytime(time.localtime())) <= 56
