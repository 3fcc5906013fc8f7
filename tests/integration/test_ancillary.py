"""What comes with a datagram, and where its answer leaves from, in every execution."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.administered import Administered
from tests.integration.daemons import PATIENCE, Project

HANDLERS: Final = """
    import json
    from socketserver import BaseRequestHandler, DatagramRequestHandler, ThreadingUDPServer
    from twisted.internet.protocol import DatagramProtocol
    from netd.handlers import AsyncDatagramRequestHandler

    def told(handler):
        found = handler.ancillary
        return json.dumps(found, default=lambda data: data.hex()).encode()

    class Asks(DatagramRequestHandler):
        ancillary: dict

        def handle(self):
            self.wfile.write(told(self))

    class AsksBySocket(BaseRequestHandler):
        ancillary = None

        def __init__(self, *arguments, more=""):
            self.more = more
            super().__init__(*arguments)

        def handle(self):
            self.server.socket.sendto(told(self), self.client_address)

    class AsksNothing(DatagramRequestHandler):
        def handle(self):
            self.wfile.write(json.dumps({"has": hasattr(self, "ancillary")}).encode())

    class AsyncAsks(AsyncDatagramRequestHandler):
        ancillary: dict

        async def handle(self):
            self.wfile.write(told(self))

    class Protocol(DatagramProtocol):
        def datagramReceived(self, data, address):
            self.transport.write(b"{}", address)

    class Much(DatagramRequestHandler):
        def handle(self):
            self.wfile.write(self.packet * 3)
            self.finish()  # once more
            self.server.socket.sendto(b"too much", self.client_address)

    class AsyncMuch(AsyncDatagramRequestHandler):
        async def handle(self):
            self.socket.write(self.packet * 3, self.client_address)
            self.wfile.write(b"too much")

    class ProtocolMuch(DatagramProtocol):
        def datagramReceived(self, data, address):
            self.transport.write(data * 3, address)
            self.transport.write(b"too much", address)

    class Hooked(ThreadingUDPServer):
        def get_request(self):
            return super().get_request()

    class Finishing(ThreadingUDPServer):
        def finish_request(self, request, client_address):
            super().finish_request(request, client_address)
"""

RUNS: Final = {
    "thread": 'handler = "handlers:Asks"',
    "socket": 'handler = "handlers:AsksBySocket"\noptions = {more = "x"}',
    "process": 'handler = "handlers:Asks"\nconcurrency = "process"\nprocesses = 1',
    "fork": 'handler = "handlers:Asks"\nconcurrency = "process"\nmax_requests = 1',
    "reactor": 'handler = "handlers:AsyncAsks"',
    "server": 'server = "socketserver:ThreadingUDPServer"\nhandler = "handlers:Asks"',
    "finishing": 'server = "handlers:Finishing"\nhandler = "handlers:Asks"',
}
"""Services whose handlers ask for what came with their datagrams."""

OTHERS: Final = {
    "nothing": 'handler = "handlers:AsksNothing"',
    "protocol": 'protocol = "handlers:Protocol"',
    "hooked": 'server = "handlers:Hooked"\nhandler = "handlers:Asks"',
}
"""Services that answer all the same."""

MUCH: Final = {
    "much": 'handler = "handlers:Much"',
    "much_fork": 'handler = "handlers:Much"\nconcurrency = "process"\nmax_requests = 1',
    "much_async": 'handler = "handlers:AsyncMuch"',
    "much_protocol": 'protocol = "handlers:ProtocolMuch"',
    "much_hooked": 'server = "handlers:Hooked"\nhandler = "handlers:Much"',
}
"""Services that answer more than they may."""

OPTIONS: Final = """
[services.{}.socket]
IPV6_V6ONLY = false
IP_PKTINFO = true
IP_RECVTTL = true
IP_RECVTOS = true
IPV6_RECVHOPLIMIT = true
IPV6_RECVTCLASS = true
SO_TIMESTAMP = true
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Administered]:
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    project = Project(directory)
    project.handlers(HANDLERS)
    text = ""
    for name, runs in {**RUNS, **OTHERS}.items():
        text += f'\n[services.{name}]\nlisten = ["udp:0", "udp6:0", "unixgram:{name}"]\n{runs}\n'
        text += OPTIONS.format(name) if name in RUNS else ""
    for name, runs in MUCH.items():
        text += f"""
[services.{name}]
listen = ["udp:0:interface=127.0.0.1", "udp6:0:interface=[::1]"]
{runs}
limits = {{amplification = 3}}
"""
    administered = Administered(project)
    try:
        administered.start(text)
        yield administered
    finally:
        project.clean_up()
        shutil.rmtree(directory)


def ask(
    served: Administered, name: str, number: int, host: str, *options: tuple[int, int, int]
) -> tuple[dict[str, Any], str]:
    """Ask a service's listener at one of this machine's addresses: the answer, and its address."""
    port = served.address(name, number)[1]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        for option in options:
            client.setsockopt(*option)
        client.sendto(b"?", (host, port))
        answer, address = client.recvfrom(4096)
    told: dict[str, Any] = json.loads(answer)
    return told, address[0]


@pytest.mark.parametrize("name", RUNS)
class TestAncillary:
    def test_of_ipv4(self, served: Administered, name: str) -> None:
        """Plain values, by the names of the options that ask for them."""
        before = time.time()
        told, _ = ask(served, name, 0, "127.0.0.9", (0, 1, 0x20), (0, 2, 33))
        assert before - 1 <= told.pop("SO_TIMESTAMP") <= time.time() + 1
        assert told == {
            "IP_PKTINFO": {
                "address": "127.0.0.9",
                "local": "127.0.0.9",
                "index": socket.if_nametoindex("lo"),
                "interface": "lo",
            },
            "IP_RECVTTL": 33,
            "IP_RECVTOS": 0x20,
        }

    def test_of_ipv6(self, served: Administered, name: str) -> None:
        told, _ = ask(served, name, 1, "::1", (41, 67, 0x20), (41, 16, 33))
        assert told.pop("SO_TIMESTAMP")
        assert told == {
            "IPV6_RECVPKTINFO": {
                "address": "::1",
                "index": socket.if_nametoindex("lo"),
                "interface": "lo",
            },
            "IPV6_RECVHOPLIMIT": 33,
            "IPV6_RECVTCLASS": 0x20,
        }

    def test_of_unix(self, served: Administered, name: str) -> None:
        """Credentials are always there; descriptors that a client passes are not."""
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
            (served.directory / "netd.toml").open() as file,
        ):
            client.settimeout(PATIENCE)
            client.bind(b"")
            address = str(served.directory / name)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))]
            client.sendmsg([b"?"], rights, 0, address)
            told = json.loads(client.recv(4096))
        assert told.keys() == {"SO_PASSCRED", "SO_TIMESTAMP"}
        assert told["SO_PASSCRED"].keys() == {"pid", "uid", "gid"}


@pytest.mark.parametrize("name", [*RUNS, *OTHERS])
class TestAnswers:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.77"])
    def test_leave_from_where_was_asked(self, served: Administered, name: str, host: str) -> None:
        """Though the service is bound to all addresses."""
        assert ask(served, name, 0, host)[1] == host

    def test_of_ipv6(self, served: Administered, name: str) -> None:
        assert ask(served, name, 1, "::1")[1] == "::1"

    def test_of_both_families(self, served: Administered, name: str) -> None:
        """Where one listener serves both."""
        if name in OTHERS:
            pytest.skip("it serves one family")
        assert ask(served, name, 1, "127.0.0.77")[1] == "127.0.0.77"


def test_nobody_asks(served: Administered) -> None:
    """Then nothing is put on a handler."""
    assert ask(served, "nothing", 0, "127.0.0.1")[0] == {"has": False}


def test_a_get_request_of_ones_own(served: Administered) -> None:
    """Returns data and a socket, and nobody knows what came with it."""
    assert ask(served, "hooked", 0, "127.0.0.1")[0] == {}


@pytest.mark.parametrize("name", MUCH)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_amplification(served: Administered, name: str, host: str) -> None:
    """Three bytes for each of a client's own, in all; and the log says so."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    port = served.address(name, int(":" in host))[1]
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        for request in (b"12345", b"123456"):
            client.sendto(request, (host, port))
            assert client.recv(100) == request * 3
    served.daemon.log.wait(rf"\[{name}#warn\] \d+ answer\(s\) not sent, for amplification = 3:")
