"""Every transport in every execution, by handlers and server classes: the same cases for all.

One daemon serves them. A row of ``TRANSPORTS`` says how to listen and how to connect, one of
``EXECUTIONS`` what runs.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.activated import activate
from tests.integration.administered import WAY_IN, Administered
from tests.integration.daemons import PATIENCE, Project, RunningDaemon, read_all

HANDLERS: Final = """
    import socket
    from socketserver import BaseRequestHandler, TCPServer, ThreadingMixIn, UDPServer
    from netd.handlers import AsyncRequestHandler, streams

    def answered(data):
        if data == b"raise":
            raise RuntimeError("as was asked for")
        return data.upper()

    class Upper(BaseRequestHandler):
        def handle(self):
            if isinstance(self.request, tuple):
                data, sock = self.request
                sock.sendto(answered(data), self.client_address)
                return
            data = b""
            while not data.endswith(b"\\n"):
                data += self.request.recv(65536)
            self.request.sendall(answered(data[:-1]))

    class AsyncUpper(AsyncRequestHandler):
        async def handle(self):
            if isinstance(self.request, tuple):
                data, transport = self.request
                transport.write(answered(data), self.client_address)
                return
            rfile, wfile = streams(self.request)
            data = b""
            while not data.endswith(b"\\n"):
                data += await rfile.read(65536)
            await wfile.write(answered(data[:-1]))

    class Streams(ThreadingMixIn, TCPServer):
        def verify_request(self, request, client_address):
            return True

    class Datagrams(ThreadingMixIn, UDPServer):
        def finish_request(self, request, client_address):
            super().finish_request(request, client_address)
"""

PROGRAM: Final = """
    import sys
    data = sys.stdin.buffer.readline()[:-1]
    if data == b"raise":
        sys.exit(1)
    sys.stdout.buffer.write(data.upper())
"""

ANY, STREAM, DATAGRAM = "any", "stream", "datagram"


@dataclass(frozen=True)
class Execution:
    """What a service runs, and which requests it can serve."""

    keys: str
    serves: str = ANY


EXECUTIONS: Final = {
    "thread": Execution('handler = "handlers:Upper"'),
    "process": Execution('handler = "handlers:Upper"\nconcurrency = "process"\nprocesses = 2'),
    "fork": Execution('handler = "handlers:Upper"\nconcurrency = "process"\nmax_requests = 1'),
    "reactor": Execution('handler = "handlers:AsyncUpper"'),
    "program": Execution("program = ['{python}', '-I', '{program}']", STREAM),
    "server": Execution('server = "handlers:Streams"\nhandler = "handlers:Upper"', STREAM),
    "datagrams": Execution('server = "handlers:Datagrams"\nhandler = "handlers:Upper"', DATAGRAM),
    "forking": Execution(
        'server = "socketserver:ForkingTCPServer"\nhandler = "handlers:Upper"', STREAM
    ),
}


@dataclass(frozen=True)
class Way:
    """How a service listens and a client comes; ``{}`` is the service's name."""

    listen: str
    family: int
    serves: str = STREAM
    by_tls: bool = False
    passed: bool = False
    """Whether a service manager has bound it."""


TRANSPORTS: Final = {
    "tcp": Way("tcp:0:interface=127.0.0.1", socket.AF_INET),
    "tcp6": Way("tcp6:0:interface=[::1]", socket.AF_INET6),
    "tls": Way("tls:0:interface=127.0.0.1", socket.AF_INET, by_tls=True),
    "tls6": Way("tls6:0:interface=[::1]", socket.AF_INET6, by_tls=True),
    "unix": Way("unix:{}.s", socket.AF_UNIX),
    "unix-tls": Way("unix:{}.t:tls=yes", socket.AF_UNIX, by_tls=True),
    "abstract": Way("unix:@{pid}.{}", socket.AF_UNIX),
    "udp": Way("udp:0:interface=127.0.0.1", socket.AF_INET, DATAGRAM),
    "udp6": Way("udp6:0:interface=[::1]", socket.AF_INET6, DATAGRAM),
    "unixgram": Way("unixgram:{}.d", socket.AF_UNIX, DATAGRAM),
    "activated": Way("systemd:{}.s", socket.AF_INET, passed=True),
    "activated-datagrams": Way("systemd:{}.d", socket.AF_INET, DATAGRAM, passed=True),
}


def fit(execution: Execution, way: Way) -> bool:
    return execution.serves in (ANY, way.serves)


class Matrix:
    """The daemon with a service for each execution, on all the transports that it can serve."""

    def __init__(self, project: Project, stack: ExitStack) -> None:
        self._project = project
        project.handlers(HANDLERS)
        program = project.directory / "program.py"
        program.write_text(textwrap.dedent(PROGRAM))
        passed: dict[str, socket.socket] = {}
        self._where: dict[tuple[str, str], Any] = {}
        order: dict[str, list[str]] = {}
        text = f'[defaults.tls]\nself_signed = "{project.directory}/self-signed.pem"\n'
        for name, execution in EXECUTIONS.items():
            ways = {key: way for key, way in TRANSPORTS.items() if fit(execution, way)}
            order[name] = list(ways)
            listen = [way.listen.format(name, pid=project.directory.name) for way in ways.values()]
            keys = execution.keys.format(python=sys.executable, program=program)
            text += f"\n[services.{name}]\nlisten = {json.dumps(listen)}\n{keys}\n"
            for way, address in zip(ways.values(), listen, strict=True):
                if way.passed:
                    passed[address.partition(":")[2]] = stack.enter_context(bound(way))
        project.configure(text + WAY_IN)
        self.daemon: RunningDaemon = activate(project, list(passed.values()), list(passed))
        self.daemon.wait_until_ready()
        administered = Administered(project)
        for name, keys_of in order.items():
            for number, key in enumerate(keys_of):
                self._where[name, key] = administered.address(name, number)

    @contextmanager
    def client(self, execution: str, key: str) -> Iterator[socket.socket]:
        """A connection to a service, or a datagram socket that is connected to it."""
        way = TRANSPORTS[key]
        kind = socket.SOCK_DGRAM if way.serves == DATAGRAM else socket.SOCK_STREAM
        with socket.socket(way.family, kind) as client:
            client.settimeout(PATIENCE)
            if way.family == socket.AF_UNIX and kind == socket.SOCK_DGRAM:
                client.bind(b"")
            client.connect(self._where[execution, key])
            if not way.by_tls:
                yield client
                return
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(client) as wrapped:
                yield wrapped

    def ask(self, execution: str, key: str, request: bytes) -> bytes:
        """Send a request, and return the whole answer."""
        with self.client(execution, key) as client:
            if client.type == socket.SOCK_DGRAM:
                client.send(request)
                return client.recv(65536)
            client.sendall(request + b"\n")
            return read_all(client)


def bound(way: Way) -> socket.socket:
    """A socket as a service manager binds it."""
    kind = socket.SOCK_DGRAM if way.serves == DATAGRAM else socket.SOCK_STREAM
    sock = socket.socket(way.family, kind)
    sock.bind(("127.0.0.1", 0))
    if way.serves == STREAM:
        sock.listen()
    return sock


@pytest.fixture(scope="module")
def matrix() -> Iterator[Matrix]:
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    project = Project(directory)
    try:
        with ExitStack() as stack:
            yield Matrix(project, stack)
    finally:
        project.clean_up()
        shutil.rmtree(directory)


EVERY: Final = [
    pytest.param(execution, key, id=f"{execution}-{key}")
    for execution in EXECUTIONS
    for key, way in TRANSPORTS.items()
    if fit(EXECUTIONS[execution], way)
]


@pytest.mark.parametrize(("execution", "key"), EVERY)
class TestEach:
    def test_answers(self, matrix: Matrix, execution: str, key: str) -> None:
        assert matrix.ask(execution, key, b"hello") == b"HELLO"

    def test_a_large_one(self, matrix: Matrix, execution: str, key: str) -> None:
        """As long as a datagram may be; a connection carries more than any buffer has."""
        size = 8192 if TRANSPORTS[key].serves == DATAGRAM else 1 << 20
        assert matrix.ask(execution, key, b"x" * size) == b"X" * size

    def test_a_failure(self, matrix: Matrix, execution: str, key: str) -> None:
        """Costs its own client the answer, and nobody else anything."""
        with matrix.client(execution, key) as client:
            is_stream = client.type == socket.SOCK_STREAM
            client.sendall(b"raise" + b"\n" * is_stream)
            if is_stream:
                assert read_all(client) == b""
        verdict = "ended with status 1" if execution == "program" else "failed"
        matrix.daemon.log.wait(rf"\[{execution}#info\] \S+ {word_of(key)} {verdict}")
        assert matrix.ask(execution, key, b"again") == b"AGAIN"

    def test_many_at_once(self, matrix: Matrix, execution: str, key: str) -> None:
        """Everybody gets his own answer."""
        requests = [b"client %d" % number for number in range(8)]
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = pool.map(lambda request: matrix.ask(execution, key, request), requests)
            assert list(answers) == [request.upper() for request in requests]


@pytest.mark.parametrize(
    ("execution", "key"),
    [one for one in EVERY if TRANSPORTS[str(one.values[1])].serves == DATAGRAM],
)
class TestDatagrams:
    def test_one_that_is_too_long(self, matrix: Matrix, execution: str, key: str) -> None:
        """Is dropped, never cut, and the log says whose it was."""
        with matrix.client(execution, key) as client:
            client.send(b"x" * 8193)
            client.send(b"short")
            assert client.recv(100) == b"SHORT"
        matrix.daemon.log.wait(rf"\[{execution}#warn\] dropped: datagram .* longer than 8192 bytes")

    def test_an_empty_one(self, matrix: Matrix, execution: str, key: str) -> None:
        """Is one, too."""
        assert matrix.ask(execution, key, b"") == b""


def word_of(key: str) -> str:
    """How the log calls a transport."""
    words = {"unix-tls": "unix", "abstract": "unix", "activated": "tcp"}
    return words.get(key, "udp" if key == "activated-datagrams" else key)
