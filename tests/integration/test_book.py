"""The book's programs, from the shipped conf/book.toml, each asked by the book's client."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
from pathlib import Path
from xmlrpc.client import Fault, ServerProxy

import pytest

from tests.integration.daemons import (
    PATIENCE,
    Project,
    RunningDaemon,
    datagram_client,
    netdctl,
    read_all,
)
from tests.integration.test_time_server import CONF, is_time


@pytest.fixture
def daemon(project: Project) -> RunningDaemon:
    """The shipped programs, each on a free port."""
    shutil.copytree(CONF, project.directory / "conf")
    project.file = project.directory / "conf" / "book.toml"
    project.file.write_text(on_free_ports(project.file))
    return project.start()


def on_free_ports(file: Path) -> str:
    """The shipped file's text, with port 0 everywhere."""
    return re.sub(r'"(tcp|udp|tls):\d+:', r'"\1:0:', file.read_text())


class TestBook:
    def test_passes_its_own_check(self) -> None:
        """What is shipped has no problem, and listens on the loopback only."""
        done = netdctl("check", str(CONF / "book.toml"))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("book.toml: ok (4 services)\n")
        listens = re.findall(r"^listen = (.*)$", (CONF / "book.toml").read_text(), re.MULTILINE)
        assert len(listens) == 4
        assert all(":interface=127.0.0.1" in one for one in listens)

    @pytest.mark.long
    def test_forking_time_server(self, daemon: RunningDaemon) -> None:
        """Every client gets the time."""
        for _ in range(3):
            with daemon.tcp("forking-time") as client:
                assert is_time(read_all(client))
        assert daemon.stop() == 0
        assert len(daemon.log.matching("tcp served")) == 3

    def test_tls_time_server(self, daemon: RunningDaemon, project: Project) -> None:
        """The time by TLS, as it is and by HTTP; certificate and key are one file."""
        context = ssl.create_default_context(cafile=project.directory / "run" / "book.pem")
        host, port = daemon.address("tls")

        def ask(*request: bytes) -> bytes:
            with (
                socket.create_connection((host, port), PATIENCE) as client,
                context.wrap_socket(client, server_hostname=host) as wrapped,
            ):
                for piece in request:
                    wrapped.sendall(piece)
                return read_all(wrapped)

        assert is_time(ask())
        assert is_time(ask(b"What time is it?\r\n"))
        head, _, body = ask(b"GET / HTTP/1.1\r\nHost: ", b"localhost\r\n\r\n").partition(
            b"\r\n\r\n"
        )
        assert head.startswith(b"HTTP/1.0 200 OK\r\n")
        assert is_time(body)

    def test_echo_server(self, daemon: RunningDaemon) -> None:
        """The answer is what was sent, with its word before it."""
        with datagram_client(socket.AF_INET, daemon.address("udp")) as client:
            for word in (b"hello", b"world\n"):
                client.send(word)
                assert client.recv(100) == b"echo: " + word

    def test_xml_rpc_server(self, daemon: RunningDaemon) -> None:
        """It adds, and faults as XML-RPC does."""
        host, port = daemon.address("tcp", "add")
        with ServerProxy(f"http://{host}:{port}") as server:
            assert server.add(2, 3) == 5
            assert server.add(2.5, -3) == -0.5
            with pytest.raises(Fault, match="TypeError"):
                server.add("2", 3)

    @pytest.mark.long
    def test_xml_rpc_server_turns_others_away(self, daemon: RunningDaemon) -> None:
        """A client of another address hears nothing; the next of 127.0.0.1 is served."""
        address = daemon.address("tcp", "add")
        with socket.create_connection(address, PATIENCE, ("127.0.0.2", 0)) as other:
            assert read_all(other) == b""
        daemon.log.wait(r"\[add#info\] 127\.0\.0\.2:\d+ tcp refused: verify_request ")
        with ServerProxy("http://{}:{}".format(*address)) as server:
            assert server.add(1, 1) == 2
