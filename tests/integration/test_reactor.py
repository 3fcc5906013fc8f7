"""What the reactor runs, on the real daemon: small services, protocols, asynchronous handlers."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.daemons import (
    BIN,
    PATIENCE,
    Project,
    RunningDaemon,
    datagram_client,
    read_all,
    read_exactly,
)

BOTH = 'listen = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1"]'


@contextmanager
def sender(daemon: RunningDaemon, service: str, port: int | None = None) -> Iterator[socket.socket]:
    """A client for a service's datagrams; with *port*, from there on another address."""
    bind = None if port is None else ("127.0.0.2", port)
    with datagram_client(socket.AF_INET, daemon.address("udp", service), bind) as client:
        yield client


def answer(daemon: RunningDaemon, service: str, data: bytes = b"") -> bytes:
    """What one datagram is answered with."""
    with sender(daemon, service) as client:
        client.send(data)
        return client.recv(10_000)


def is_silent(client: socket.socket) -> bool:
    """Whether nothing has come; for when something would be there already."""
    client.setblocking(False)
    try:
        client.recv(10_000)
    except BlockingIOError:
        return True
    return False


def small_services(*names: str) -> str:
    return "\n".join(f'[services.{name}]\nhandler = "{name}"\n{BOTH}' for name in names)


class TestSmallServices:
    @pytest.mark.long
    def test_by_name(self, project: Project) -> None:
        """All five, on streams and datagrams, without any handler of one's own."""
        project.configure(small_services("echo", "discard", "daytime", "chargen", "time"))
        daemon = project.start()
        assert daemon.ask(b"hello", "echo") == answer(daemon, "echo", b"hello") == b"hello"
        assert daemon.ask(b"hello", "discard") == b""
        assert daemon.ask(b"", "daytime").endswith(b"\r\n")
        assert answer(daemon, "daytime").endswith(b"\r\n")
        only_time = "(?<!day)time"
        for said in (daemon.ask(b"", only_time), answer(daemon, only_time)):
            assert abs(int.from_bytes(said) - 2_208_988_800 - time.time()) < PATIENCE
        with daemon.tcp("chargen") as client:
            assert read_exactly(client, 74) == bytes(range(32, 104)) + b"\r\n"
        daemon.log.wait(r"\[chargen#info\] 127\.0\.0\.1:\d+ tcp lost ")
        assert len(answer(daemon, "chargen")) <= 512
        assert daemon.stop() == 0

    def test_unknown_name(self, project: Project) -> None:
        project.configure('[services.s]\nhandler = "ehco"\nlisten = ["tcp:0"]')
        checked = project.check()
        assert checked.returncode == 78
        (problem,) = checked.stderr.splitlines()
        assert problem.startswith(f"{project.file}:3: services.s.handler: no handler is ")
        assert 'did you mean "echo"' in problem

    @pytest.mark.long
    def test_never_each_other(self, project: Project) -> None:
        """Two workers of one daemon; nothing tells one of the other's port."""
        project.configure(small_services("echo", "chargen"))
        daemon = project.start()
        for service, other in (("echo", "chargen"), ("chargen", "echo")):
            _, port = daemon.address("udp", other)
            with sender(daemon, service, port) as forged:
                forged.send(b"forged")
                answer(daemon, service)
                assert is_silent(forged)

    @pytest.mark.long
    def test_nor_those_of_another_daemon(self, project: Project, other: Project) -> None:
        project.configure(small_services("echo"))
        other.configure(small_services("echo"))
        one, two = project.start(), other.start()
        for daemon, far in ((one, two), (two, one)):
            with sender(daemon, "echo", far.address("udp", "echo")[1]) as forged:
                forged.send(b"forged")
                answer(daemon, "echo")
                assert is_silent(forged)


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A second project, for a daemon beside the first one."""
    made = Project(tmp_path_factory.mktemp("other"))
    yield made
    made.clean_up()


PLUGIN = """
from netd.handlers.registry import NamedHandler

finger = NamedHandler("finger", "fingerd:Finger", "who is logged in")
"""

FINGER = """
from netd.handlers import AsyncStreamRequestHandler

class Finger(AsyncStreamRequestHandler):
    async def handle(self):
        await self.wfile.write(b"nobody asks for " + await self.rfile.readline())
"""


class TestInstalledPackage:
    """One that provides a handler, beside one whose plugin is broken."""

    @pytest.fixture
    def environment(self, tmp_path: Path) -> dict[str, str]:
        site = tmp_path / "site"
        plugins = site / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (site / "fingerd.py").write_text(FINGER)
        (plugins / "fingerd_plugin.py").write_text(PLUGIN)
        (plugins / "broken_plugin.py").write_text("import no_such_module\n")
        return os.environ | {"PYTHONPATH": str(site)}

    def test_serves(self, project: Project, environment: dict[str, str]) -> None:
        project.configure(
            '[services.who]\nhandler = "finger"\nlisten = ["tcp:0:interface=127.0.0.1"]'
        )
        daemon = project.start(env=environment)
        assert daemon.ask(b"me\n") == b"nobody asks for me\n"

    @pytest.mark.long
    def test_checks(self, project: Project, environment: dict[str, str]) -> None:
        project.configure('[services.who]\nhandler = "finger"\nlisten = ["tcp:0"]')
        command = [str(BIN / "netdctl"), "check", str(project.file)]
        checked = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert (checked.returncode, checked.stdout) == (0, f"{project.file}: ok (1 services)\n")


PROTOCOLS = """
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol

class Echo(Protocol):
    def __init__(self, before="> "):
        self.before = before.encode()

    def dataReceived(self, data):
        if data == b"raise":
            raise ValueError("of the protocol")
        self.transport.write(self.before + data)

class Counting(Factory):
    count = 0

    def startFactory(self):
        print("the factory has been started")

    def buildProtocol(self, address):
        self.count += 1
        return Echo(f"{self.count} ")

class Broken(Factory):
    def startFactory(self):
        raise ValueError("cannot start")

counting = Counting()

class Packets(DatagramProtocol):
    def datagramReceived(self, datagram, address):
        self.transport.write(b"> " + datagram, address)
"""


class TestProtocols:
    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("protocol", "more", "answers"),
        [
            ("Echo", "", [b"> x", b"> x"]),
            ("Echo", 'options = {before = "< "}', [b"< x", b"< x"]),
            ("Counting", "", [b"1 x", b"2 x"]),
            ("counting", "", [b"1 x", b"2 x"]),
        ],
    )
    def test_streams(
        self, project: Project, protocol: str, more: str, answers: list[bytes]
    ) -> None:
        project.handlers(PROTOCOLS)
        project.configure(
            f'[services.s]\nprotocol = "handlers:{protocol}"\n{more}\n'
            'listen = ["tcp:0:interface=127.0.0.1"]'
        )
        daemon = project.start()
        assert [daemon.ask(b"x") for _ in answers] == answers
        daemon.log.wait(r"\[s#info\] 127\.0\.0\.1:\d+ tcp served \S+ in=1 out=3")

    def test_datagrams(self, project: Project) -> None:
        project.handlers(PROTOCOLS)
        project.configure(
            '[services.s]\nprotocol = "handlers:Packets"\nlisten = ["udp:0:interface=127.0.0.1"]'
        )
        assert answer(project.start(), "s", b"x") == b"> x"

    def test_exception(self, project: Project) -> None:
        """It costs its own connection, and is logged with client and traceback."""
        project.handlers(PROTOCOLS)
        project.configure(
            '[services.s]\nprotocol = "handlers:Echo"\nlisten = ["tcp:0:interface=127.0.0.1"]'
        )
        daemon = project.start()
        with daemon.tcp() as inside:
            assert daemon.ask(b"raise") == b""
            daemon.log.wait(r"\[s#error\] 127\.0\.0\.1:\d+ tcp: the protocol raised")
            daemon.log.wait("ValueError: of the protocol")
            inside.sendall(b"still there")
            assert inside.recv(100) == b"> still there"

    @pytest.mark.long
    def test_cannot_be_started(self, project: Project) -> None:
        project.handlers(PROTOCOLS)
        project.configure(
            '[services.s]\nprotocol = "handlers:Broken"\nlisten = ["tcp:0:interface=127.0.0.1"]'
        )
        daemon = project.launch()
        daemon.log.wait("s cannot be started|cannot be started")
        daemon.log.wait("ValueError: cannot start")
        assert daemon.stop() == 0


ASYNCHRONOUS = """
import os
from twisted.internet import reactor
from twisted.internet.task import deferLater
from netd.handlers import AsyncDatagramRequestHandler, AsyncRequestHandler
from netd.handlers import AsyncStreamRequestHandler, streams

class Lines(AsyncStreamRequestHandler):
    async def handle(self):
        async for line in self.rfile:
            await self.wfile.write(line.upper())

class Packets(AsyncDatagramRequestHandler):
    async def handle(self):
        await self.wfile.write((await self.rfile.read()).upper())

class Any(AsyncRequestHandler):
    async def handle(self):
        text = f"{type(self.server).__name__} {sorted(vars(self))}".encode()
        if isinstance(self.request, tuple):
            self.request[1].write(text, self.client_address)
        else:
            await streams(self.request)[1].write(text)

async def verify(request, client_address):
    await deferLater(reactor, 0.01)
    return client_address[0] != "127.0.0.2"
"""


class TestHandlers:
    def start(self, project: Project, handler: str, listen: str, more: str = "") -> RunningDaemon:
        project.handlers(ASYNCHRONOUS)
        project.configure(f'[services.s]\nhandler = "handlers:{handler}"\n{listen}\n{more}')
        return project.start()

    def test_streams(self, project: Project) -> None:
        """Many at once, in one thread, and each in order."""
        daemon = self.start(project, "Lines", 'listen = ["tcp:0:interface=127.0.0.1"]')
        clients = [daemon.tcp() for _ in range(50)]
        for number, client in enumerate(clients):
            client.sendall(f"line {number}\nand more\n".encode())
            client.shutdown(socket.SHUT_WR)
        for number, client in enumerate(clients):
            assert read_all(client) == f"LINE {number}\nAND MORE\n".encode()
            client.close()

    @pytest.mark.long
    def test_datagrams(self, project: Project) -> None:
        daemon = self.start(project, "Packets", 'listen = ["udp:0:interface=127.0.0.1"]')
        assert answer(daemon, "s", b"data") == b"DATA"

    @pytest.mark.long
    def test_both(self, project: Project) -> None:
        """One handler on streams and datagrams, with a real server object, and nothing else."""
        daemon = self.start(project, "Any", BOTH)
        found = b" ['client_address', 'request', 'server']"
        assert daemon.ask() == b"ThreadingTCPServer" + found
        assert answer(daemon, "s") == b"ThreadingUDPServer" + found

    @pytest.mark.long
    def test_filter(self, project: Project) -> None:
        """An ``async`` one, which is asked about the transport."""
        daemon = self.start(
            project,
            "Lines",
            'listen = ["tcp:0:interface=127.0.0.1"]',
            'access = {verify_request = "handlers:verify"}',
        )
        assert daemon.ask(b"x\n") == b"X\n"
        with socket.socket() as stranger:
            stranger.settimeout(PATIENCE)
            stranger.bind(("127.0.0.2", 0))
            stranger.connect(daemon.address("tcp"))
            assert stranger.recv(10) == b""
        daemon.log.wait(r"127\.0\.0\.2:\d+ tcp refused: verify_request ")

    @pytest.mark.long
    def test_stop_with_somebody_inside(self, project: Project) -> None:
        """He is served to his end, then the daemon leaves in good order."""
        daemon = self.start(project, "Lines", 'listen = ["tcp:0:interface=127.0.0.1"]')
        with daemon.tcp() as client:
            client.sendall(b"one\n")
            assert read_exactly(client, 4) == b"ONE\n"
            daemon.signal(15)
            client.sendall(b"two\n")
            assert read_exactly(client, 4) == b"TWO\n"
        assert daemon.wait() == 0


class TestHandlerTimeout:
    HANDLER = """
        from twisted.internet.defer import Deferred
        from netd.handlers import AsyncRequestHandler
        class Handler(AsyncRequestHandler):
            async def handle(self):
                if isinstance(self.request, tuple):
                    if self.request[0] == b"wait":
                        await self.deeper()
                    self.request[1].write(b"served", self.client_address)
                else:
                    await self.deeper()
            async def deeper(self):
                await Deferred()   # for ever
    """

    @pytest.mark.long
    def test_ends_a_handler_and_its_connection(self, project: Project) -> None:
        """The log says where it was, through every coroutine; the service goes on."""
        project.handlers(self.HANDLER)
        project.configure(
            f'[services.slow]\nhandler = "handlers:Handler"\nhandler_timeout = "300ms"\n{BOTH}'
        )
        daemon = project.start()
        with daemon.tcp("slow") as client, pytest.raises(ConnectionResetError):
            client.recv(10)
        daemon.log.wait("the handler has run for more than 0.3 s, and its connection is closed")
        daemon.log.wait(r"in handle$")
        daemon.log.wait(r"in deeper$")
        daemon.log.wait("tcp failed")
        with sender(daemon, "slow") as client:
            client.send(b"wait")
            daemon.log.wait("the handler has run for more than 0.3 s", count=2)
            daemon.log.wait("udp failed")
        assert answer(daemon, "slow", b"go") == b"served"
        assert daemon.stop() == 0
        assert daemon.log.matching("stopped: 3 served, 0 refused, 2 failed")
