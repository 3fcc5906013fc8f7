"""Connections of the reactor that come by a proxy, with TLS behind it and without."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.execution.reactor.hosts import PATIENCE, Host, hosting, read_all
from tests.execution.reactor.test_tls import context
from tests.proxy.proxied import LOCAL, binary, line
from tests.tls.authorities import table

FOUR = ("192.0.2.7", 4711), ("198.51.100.1", 443)
SIX = ("2001:db8::7", 4711, 0, 0), ("2001:db8::1", 443, 0, 0)
UNIX = "/run/client", "/run/service"

PROXIES = ["127.0.0.1", "::1", "unix"]


@pytest.fixture(scope="module")
def introduce() -> Iterator[Host]:
    with hosting("Introduce", "tcp", "tcp6", "unix", proxies=PROXIES) as host:
        yield host


@pytest.fixture(scope="module")
def facts() -> Iterator[Host]:
    deny = ["192.0.2.8"]
    with hosting("TlsFacts", "tls", "unix", tls=table(), proxies=PROXIES, deny=deny) as host:
        yield host


class TestWho:
    @pytest.mark.parametrize("transport", ["tcp", "tcp6", "unix"])
    @pytest.mark.parametrize("ends", [FOUR, SIX, UNIX])
    def test_both_ends(self, introduce: Host, transport: str, ends: tuple[Any, Any]) -> None:
        """Of whatever family, by whatever listener."""
        with introduce.connect(transport) as client:
            client.sendall(binary(*ends))
            said = read_all(client).decode()
        for end in ends:
            for part in end[:2] if isinstance(end, tuple) else [end]:
                assert repr(part) in said
        shown = "unix" if ends is UNIX else str(ends[0][0])
        assert shown in introduce.heard(f" {transport} served ", shown)

    @pytest.mark.parametrize("header", [binary(*FOUR, command=LOCAL), b"PROXY UNKNOWN\r\n"])
    def test_a_proxys_own_connection(self, introduce: Host, header: bytes) -> None:
        with introduce.connect() as client:
            client.sendall(header)
            host, port = client.getsockname()
            assert f"host='{host}', port={port}" in read_all(client).decode()

    def test_an_asynchronous_handler(self) -> None:
        with hosting("AsyncLook", proxies=PROXIES) as host, host.connect() as client:
            client.sendall(line(*SIX))
            assert f"{SIX[0]!r} _Server" in read_all(client).decode()

    def test_who_is_inside(self) -> None:
        with hosting("Echo", proxies=PROXIES) as host, host.connect() as client:
            client.sendall(line(*FOUR) + b"x")
            assert client.recv(1) == b"x"
            (found,) = host.scoreboard.active_connections()
            assert found.client == "192.0.2.7:4711"


class TestRules:
    def test_speak_of_the_real_client(self) -> None:
        allow, deny = ["192.0.2.0/24", "127.0.0.1"], ["192.0.2.8"]
        with hosting("Line", proxies=["127.0.0.1"], allow=allow, deny=deny) as host:
            assert host.ask(line(*FOUR) + b"x") == b"x"
            for client in ("192.0.2.8", "10.0.0.1"):
                with suppress(OSError):
                    assert host.ask(line((client, 1), FOUR[1]) + b"x") == b""
            host.heard("192.0.2.8:1 tcp refused: deny")
            host.heard("10.0.0.1:1 tcp refused: not-allowed")

    def test_who_is_no_proxy_is_nobody_else(self) -> None:
        """What it sends is data."""
        with hosting("Echo", proxies=["10.0.0.1"], allow=["127.0.0.1"]) as host:
            said = line(*FOUR)
            with host.connect() as client:
                client.sendall(said)
                assert client.recv(100) == said
            host.heard("127.0.0.1:", "served")

    def test_a_reload_asks_about_the_real_client(self) -> None:
        with hosting("Echo", proxies=["127.0.0.1"]) as host, host.connect() as client:
            client.sendall(line(*FOUR) + b"x")
            assert client.recv(1) == b"x"
            host.say("deny 192.0.2.7")
            with suppress(OSError):
                assert read_all(client) == b""
            host.heard("192.0.2.7:4711: ended by the new lists: deny")


class TestHeader:
    def test_byte_by_byte(self, introduce: Host) -> None:
        with introduce.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            for byte in binary(*FOUR, [(0xE0, b"custom")]):
                client.sendall(bytes([byte]))
                time.sleep(0.001)
            assert "192.0.2.7" in read_all(client).decode()

    @pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", binary(*FOUR)[:12] + b"\x33"])
    def test_that_is_none(self, introduce: Host, said: bytes) -> None:
        """Nobody is served; and nobody guesses that there might be none."""
        with introduce.connect() as client:
            client.sendall(said)
            port = client.getsockname()[1]
            with suppress(OSError):
                assert read_all(client) == b""
        introduce.heard(f"127.0.0.1:{port} tcp refused: proxy-header, ")

    def test_that_does_not_come(self) -> None:
        with hosting("Introduce", proxies=PROXIES, patience=0.1) as host:
            with host.connect() as silent, host.connect() as half:
                half.sendall(binary(*FOUR)[:-1])
                assert read_all(silent) == b""
                assert read_all(half) == b""
            found = [entry for entry in host.everything() if "refused" in entry]
            assert len(found) == 2
            assert all("refused: handshake_timeout" in entry for entry in found)
            assert host.alive == 0

    def test_a_proxy_that_goes(self, introduce: Host) -> None:
        with introduce.connect() as client:
            client.sendall(binary(*FOUR)[:-1])
            port = client.getsockname()[1]
        introduce.heard(f"127.0.0.1:{port} tcp refused: gone")


class TestTls:
    @pytest.mark.parametrize("transport", ["tls", "unix"])
    @pytest.mark.parametrize("write", [line, binary])
    def test_behind_the_header(self, facts: Host, transport: str, write: Any) -> None:
        client = facts.connect(transport)
        client.sendall(write(*FOUR))
        with context().wrap_socket(client, server_hostname="host.example") as secure:
            found = json.loads(read_all(secure))
        assert "192.0.2.7" in found["peer"]
        assert "198.51.100.1" in found["host"]

    def test_no_handshake_with_whom_the_lists_refuse(self, facts: Host) -> None:
        with facts.connect("tls") as client:
            client.sendall(line(("192.0.2.8", 1), FOUR[1]) + b"\x16")
            with suppress(OSError):
                assert read_all(client) == b""
        facts.heard("192.0.2.8:1 tls refused: deny", "out=0")

    def test_tls_in_the_place_of_the_header(self, facts: Host) -> None:
        client = facts.connect("tls")
        with suppress(OSError), context().wrap_socket(client, server_hostname="host.example"):
            pytest.fail("a handshake without a header")
        facts.heard("127.0.0.1:", "refused: proxy-header")


def test_silent_clients_cost_little() -> None:
    """Of a process's memory, beside what the kernel keeps of their connections."""
    with hosting("Echo", "tls", tls=table(), handshakes=1_000_000, slots=5) as host:

        def resident() -> int:
            with open(f"/proc/{host.process.pid}/statm", encoding="ascii") as statm:
                return int(statm.read().split()[1]) * 4096

        for _ in range(2):  # the first ones are for what is made once
            before = resident()
            clients = [host.connect("tls") for _ in range(200)]
            deadline = time.monotonic() + PATIENCE
            descriptors = host.open_files()
            while time.monotonic() < deadline and host.open_files() > descriptors:
                time.sleep(0.01)
            time.sleep(0.1)
            grown = (resident() - before) / len(clients)
        assert grown < 16 << 10
