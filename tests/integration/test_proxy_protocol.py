"""The PROXY protocol before every execution: by hand, and by a real HAProxy."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from netd.proxy.header import HeaderReader, InvalidHeader
from tests.integration.daemons import (
    PATIENCE,
    Project,
    RunningDaemon,
    datagram_client,
    read_all,
    until,
)
from tests.proxy.proxied import LOCAL, binary, line, summed
from tests.tls.authorities import authority, issued

FOUR: Final = ("192.0.2.7", 4711), ("198.51.100.1", 443)
SIX: Final = ("2001:db8::7", 4711, 0, 0), ("2001:db8::1", 443, 0, 0)

HANDLERS: Final = """
    import socketserver
    from twisted.internet.protocol import DatagramProtocol, Protocol
    from netd.handlers import AsyncRequestHandler, streams

    class Who(socketserver.BaseRequestHandler):
        def handle(self):
            found = repr(self.client_address).encode()
            if isinstance(self.request, tuple):
                data, connection = self.request
                connection.sendto(found + data, self.client_address)
            else:
                self.request.sendall(found + self.request.recv(100))

    class AsyncWho(AsyncRequestHandler):
        async def handle(self):
            found = repr(self.client_address).encode()
            if isinstance(self.request, tuple):
                data, transport = self.request
                transport.write(found + data, self.client_address)
            else:
                rfile, wfile = streams(self.request)
                await wfile.write(found + await rfile.read(100))

    class Greeting(Protocol):
        def connectionMade(self):
            self.transport.write(repr(self.transport.getPeer()).encode())
            self.transport.loseConnection()

    class Packets(DatagramProtocol):
        def datagramReceived(self, data, address):
            self.transport.write(repr(address).encode() + data, address)

    class Overriding(socketserver.ThreadingUDPServer):
        def get_request(self):
            request, address = super().get_request()
            print("got", request[0], address[0])
            return request, address
"""

SERVICES: Final = {
    "threads": 'handler = "handlers:Who"',
    "processes": 'handler = "handlers:Who"\nconcurrency = "process"\nprocesses = 3',
    "forks": 'handler = "handlers:Who"\nconcurrency = "process"\nmax_requests = 1',
    "reactor": 'handler = "handlers:AsyncWho"',
}
"""Services that serve whatever there is."""

CONFIGURATION: Final = """
[defaults]
proxy_protocol = {from = ["127.0.0.1", "unix"]}
access = {deny = ["192.0.2.66"]}
tls = {certificate = "server.pem"}

[services.greeting]
protocol = "handlers:Greeting"
listen = ["tcp:0:interface=127.0.0.1"]

[services.packets]
protocol = "handlers:Packets"
listen = ["udp:0:interface=127.0.0.1"]

[services.overriding]
server = "handlers:Overriding"
handler = "handlers:Who"
listen = ["udp:0:interface=127.0.0.1"]

[services.program]
program = ["/bin/sh", "-c", "echo $REMOTE_ADDR $TCPREMOTEPORT"]
listen = ["tcp:0:interface=127.0.0.1"]

[services.others]
handler = "handlers:Who"
listen = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1"]
proxy_protocol = {from = ["192.0.2.0/24"]}
"""

EVERY: Final = """
[services.{name}]
{runs}
listen = [
    "tcp:0:interface=127.0.0.1", "tls:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1",
    "unix:{name}", "unixgram:{name}.dgram",
]
"""


class Served:
    """The daemon that the tests of this module share."""

    def __init__(self, daemon: RunningDaemon, directory: Path) -> None:
        self.daemon = daemon
        self.directory = directory
        self._ports = 0

    def connect(self, service: str, transport: str = "tcp") -> socket.socket:
        if transport == "unix":
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE)
            client.connect(str(self.directory / service))
            return client
        return socket.create_connection(self.daemon.address(transport, service), PATIENCE)

    def ask(self, service: str, data: bytes, transport: str = "tcp") -> bytes:
        with closing(self.connect(service, transport)) as client:
            client.sendall(data)
            with suppress(ConnectionResetError):
                return read_all(client)
        return b""

    def next_port(self) -> int:
        """A number that no other test has."""
        self._ports += 1
        return self._ports

    def name_of(self, client: socket.socket, transport: str) -> str:
        """What the log calls a client."""
        if transport == "unix":
            return f"uid:{os.getuid()},pid:{os.getpid()}"
        host, port = client.getsockname()
        return f"{host}:{port}"

    @contextmanager
    def sender(self, service: str, transport: str = "udp") -> Iterator[socket.socket]:
        if transport == "unixgram":
            path = str(self.directory / f"{service}.dgram")
            with datagram_client(socket.AF_UNIX, path, "") as client:
                yield client
        else:
            address = self.daemon.address("udp", service)
            with datagram_client(socket.AF_INET, address) as client:
                yield client


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    directory.chmod(0o755)
    project = Project(directory)
    leaf = issued("host.example")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
    project.handlers(HANDLERS)
    every = "".join(EVERY.format(name=name, runs=runs) for name, runs in SERVICES.items())
    project.configure(CONFIGURATION + every)
    yield Served(project.start(), directory)
    project.clean_up()
    shutil.rmtree(directory)


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@pytest.mark.parametrize("service", SERVICES)
class TestEveryExecution:
    @pytest.mark.parametrize("transport", ["tcp", "unix"])
    @pytest.mark.parametrize("header", [line(*FOUR), binary(*SIX), summed(binary(*SIX))])
    def test_a_stream(self, served: Served, service: str, transport: str, header: bytes) -> None:
        client = FOUR[0] if header.startswith(b"PROXY") else SIX[0]
        assert served.ask(service, header + b"x", transport) == repr(client).encode() + b"x"

    def test_with_tls(self, served: Served, service: str) -> None:
        connection = served.connect(service, "tls")
        connection.sendall(binary(*FOUR))
        with client_context().wrap_socket(connection, server_hostname="host.example") as client:
            client.sendall(b"x")
            assert read_all(client) == repr(FOUR[0]).encode() + b"x"

    def test_the_log(self, served: Served, service: str) -> None:
        client = ("192.0.2.9", 1000 + list(SERVICES).index(service))
        served.ask(service, line(client, FOUR[1]) + b"x")
        served.daemon.log.wait(rf"\[{service}#info\] 192.0.2.9:{client[1]} tcp served")

    def test_rules(self, served: Served, service: str) -> None:
        client = ("192.0.2.66", 1000 + list(SERVICES).index(service))
        assert served.ask(service, line(client, FOUR[1]) + b"x") == b""
        served.daemon.log.wait(rf"192.0.2.66:{client[1]} tcp refused: deny")

    def test_no_header(self, served: Served, service: str) -> None:
        with closing(served.connect(service)) as client:
            port = client.getsockname()[1]
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with suppress(ConnectionResetError):
                assert read_all(client) == b""
        served.daemon.log.wait(rf"127.0.0.1:{port} tcp refused: proxy-header, does not begin")

    @pytest.mark.parametrize(
        ("transport", "carried"),
        [("tls", r"in=8 out=0 rtt=\S+ms"), ("unix", "in=0 out=0")],
    )
    def test_account_of_a_refusal(
        self, served: Served, service: str, transport: str, carried: str
    ) -> None:
        """What the client has sent, whichever process refuses it; on Unix what netd has read."""
        with closing(self.refused(served, service, transport)) as client:
            name = served.name_of(client, transport)
        pattern = rf"\[{service}#info\] {name} {transport} refused: proxy-header, .* {carried}$"
        served.daemon.log.wait(pattern, patience=5)

    def refused(self, served: Served, service: str, transport: str) -> socket.socket:
        client = served.connect(service, transport)
        client.sendall(b"nothing!")
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
        return client

    @pytest.mark.parametrize("transport", ["tcp", "tls", "unix"])
    def test_account_of_a_client_that_is_denied(
        self, served: Served, service: str, transport: str
    ) -> None:
        """The header of its proxy was read."""
        ends = ("192.0.2.66", 4000 + served.next_port()), FOUR[1]
        assert served.ask(service, line(*ends) + b"\x16\x03\x01", transport) == b""
        size = len(line(*ends))
        carried = f"in={size}" if transport == "unix" else f"in={size + 3}"
        pattern = rf"{ends[0][0]}:{ends[0][1]} {transport} refused: deny \S+ {carried} out=0"
        served.daemon.log.wait(pattern, patience=5)

    def test_a_proxy_of_its_own(self, served: Served, service: str) -> None:
        with closing(served.connect(service)) as client:
            client.sendall(binary(*FOUR, command=LOCAL) + b"x")
            assert read_all(client) == repr(client.getsockname()).encode() + b"x"

    def test_nothing_runs_before_the_header_is_there(self, served: Served, service: str) -> None:
        header = binary(*SIX)
        with closing(served.connect(service)) as client:
            client.sendall(header[:-1])
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(PATIENCE)
            client.sendall(header[-1:] + b"x")
            assert read_all(client) == repr(SIX[0]).encode() + b"x"

    @pytest.mark.parametrize("transport", ["udp", "unixgram"])
    @pytest.mark.parametrize("ends", [FOUR, SIX])
    def test_a_datagram(
        self, served: Served, service: str, transport: str, ends: tuple[Any, Any]
    ) -> None:
        """The answer goes to the proxy."""
        with served.sender(service, transport) as client:
            client.send(binary(*ends, transport=2) + b"query")
            assert client.recv(100) == repr(ends[0]).encode() + b"query"

    def test_datagrams_that_are_refused(self, served: Served, service: str) -> None:
        """And the next one is served."""
        with served.sender(service) as client:
            port = client.getsockname()[1]
            client.send(b"query")
            client.send(line(("192.0.2.66", port), FOUR[1]) + b"query")
            client.send(line(*FOUR) + bytes(8193))
            client.send(line(*FOUR) + bytes(8192))
            assert client.recv(10000) == repr(FOUR[0]).encode() + bytes(8192)
        wait = served.daemon.log.wait
        wait(rf"127.0.0.1:{port} udp refused: proxy-header, does not begin")
        wait(rf"192.0.2.66:{port} udp refused: deny")
        wait(rf"\[{service}#warn\] dropped: datagram from 192.0.2.7:4711 is longer than 8192")


@pytest.mark.parametrize("service", ["threads", "processes", "reactor"])
def test_spoilt_headers(served: Served, service: str) -> None:
    """No handler is called, and each is refused, with a reason."""
    draw = random.Random(4711)
    headers: list[bytes] = []
    while len(headers) < 300:
        spoilt = bytearray(summed(binary(*SIX)) if draw.random() < 0.5 else line(*FOUR))
        spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
        with suppress(InvalidHeader):
            HeaderReader().feed(bytes(spoilt))
            continue
        headers.append(bytes(spoilt))
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(served.connect(service))) for _ in headers]
        for client, header in zip(clients, headers, strict=True):
            client.sendall(header)
        ports = {str(client.getsockname()[1]) for client in clients}
        for client in clients:
            with suppress(ConnectionResetError):
                assert read_all(client) == b""

    def are_refused() -> bool:
        text = "\n".join(served.daemon.log.lines)
        return {*re.findall(r"127.0.0.1:(\d+) tcp refused: proxy-header, ", text)} >= ports

    until(are_refused, "all are refused")


class TestOthers:
    def test_server_first(self, served: Served) -> None:
        assert b"host='192.0.2.7', port=4711" in served.ask("greeting", line(*FOUR))

    @pytest.mark.parametrize("ends", [FOUR, SIX])
    def test_a_protocol_of_datagrams(self, served: Served, ends: tuple[Any, Any]) -> None:
        with served.sender("packets") as client:
            client.send(binary(*ends, transport=2) + b"query")
            assert client.recv(100) == repr(ends[0][:2]).encode() + b"query"

    def test_an_override_of_get_request(self, served: Served) -> None:
        with served.sender("overriding") as client:
            client.send(b"no header")
            client.send(line(*FOUR) + b"query")
            assert client.recv(100) == repr(FOUR[0]).encode() + b"query"
        served.daemon.log.wait("got b'query' 192.0.2.7")
        served.daemon.log.wait("refused: proxy-header, does not begin")

    def test_a_program(self, served: Served) -> None:
        assert served.ask("program", line(*FOUR)) == b"192.0.2.7 4711\n"

    def test_who_is_no_proxy(self, served: Served) -> None:
        """What it sends is data, header or not."""
        said = line(*FOUR)
        with closing(served.connect("others")) as client:
            client.sendall(said)
            assert read_all(client) == repr(client.getsockname()).encode() + said
        with served.sender("others") as sender:
            sender.send(said)
            assert sender.recv(100) == repr(sender.getsockname()).encode() + said


HAPROXY: Final = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 30s
    timeout client 30s
    timeout server 30s
"""

PROXY: Final = """
listen {name}
    bind fd@{descriptor}
    server one {backend} {keywords}
"""

KEYWORDS: Final = {
    "one": "send-proxy",
    "two": "send-proxy-v2",
    "sum": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    "checked": "send-proxy-v2 check inter 200ms",
}


class Proxied:
    """HAProxy, in front of services."""

    def __init__(self, listeners: dict[str, socket.socket]) -> None:
        self._listeners = listeners

    def connect(self, service: str, transport: str, keywords: str) -> socket.socket:
        listener = self._listeners[f"{service}-{transport}-{keywords}"]
        return socket.create_connection(listener.getsockname(), PATIENCE)


@pytest.fixture(scope="module")
def haproxy(served: Served) -> Iterator[Proxied]:
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("haproxy is not there")
    text, listeners = HAPROXY, {}
    with ExitStack() as stack:
        for service in ("threads", "processes", "reactor"):
            for transport in ("tcp", "tls"):
                host, port = served.daemon.address(transport, service)
                for word, keywords in KEYWORDS.items():
                    name = f"{service}-{transport}-{word}"
                    listener = socket.create_server(("127.0.0.1", 0))
                    listeners[name] = stack.enter_context(closing(listener))
                    text += PROXY.format(
                        name=name,
                        descriptor=listener.fileno(),
                        backend=f"{host}:{port}",
                        keywords=keywords,
                    )
        file = served.directory / "haproxy.cfg"
        file.write_text(text)
        with subprocess.Popen(
            [program, "-db", "-f", str(file)],
            pass_fds=[listener.fileno() for listener in listeners.values()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            yield Proxied(listeners)
            process.kill()


@pytest.mark.parametrize("keywords", KEYWORDS)
@pytest.mark.parametrize("service", ["threads", "processes", "reactor"])
class TestHaproxy:
    def test_a_client(self, haproxy: Proxied, service: str, keywords: str) -> None:
        with haproxy.connect(service, "tcp", keywords) as client:
            client.sendall(b"x")
            assert read_all(client) == repr(client.getsockname()).encode() + b"x"

    def test_tls_behind_it(self, haproxy: Proxied, service: str, keywords: str) -> None:
        connection = haproxy.connect(service, "tls", keywords)
        here = connection.getsockname()
        with client_context().wrap_socket(connection, server_hostname="host.example") as client:
            client.sendall(b"x")
            assert read_all(client) == repr(here).encode() + b"x"


def test_health_checks_of_haproxy(served: Served, haproxy: Proxied) -> None:
    """They are connections of its own, without a client."""
    seen = len(served.daemon.log.lines)

    def checked() -> bool:
        lines = served.daemon.log.lines[seen:]
        return any(re.search(r"\[threads#info\] 127.0.0.1:\d+ tcp", line) for line in lines)

    until(checked, "HAProxy checks")
