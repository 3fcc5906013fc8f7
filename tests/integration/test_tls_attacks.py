"""Attacks on TLS listeners of every execution, while others are served."""

from __future__ import annotations

import re
import resource
import secrets
import selectors
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.integration.daemons import PATIENCE, Project, RunningDaemon, read_all, until
from tests.tls.authorities import authority, issued

SILENT: Final = 5_000

HONEST: Final = 4
"""Clients at once that work meanwhile."""

TIMEOUT: Final = 4.0
"""Seconds for a handshake."""

SERVICES: Final = ("threads", "processes", "reactor")

HANDLERS: Final = """
    import socketserver
    from netd.handlers import AsyncStreamRequestHandler

    class Upper(socketserver.StreamRequestHandler):
        def handle(self):
            print("called")
            self.wfile.write(self.rfile.readline().upper())

    class AsyncUpper(AsyncStreamRequestHandler):
        async def handle(self):
            print("called")
            await self.wfile.write((await self.rfile.readline()).upper())
"""

CONFIGURATION: Final = """
[defaults.tls]
certificate = "server.pem"
handshake_timeout = {timeout}

[defaults.tls.sni."other.example"]
certificate = "server.pem"

[defaults.tls.sni."*.other.example"]
certificate = "server.pem"

[services.threads]
handler = "handlers:Upper"
listen = ["tls:0:interface=127.0.0.1"]

[services.processes]
handler = "handlers:Upper"
listen = ["tls:0:interface=127.0.0.1"]
concurrency = "process"
processes = 4

[services.reactor]
handler = "handlers:AsyncUpper"
listen = ["tls:0:interface=127.0.0.1"]
"""


@contextmanager
def many_descriptors() -> Iterator[None]:
    """Let this process, and whom it starts, have enough descriptors for all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * SILENT
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this user may open {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def silent_clients(address: tuple[str, int], stack: ExitStack) -> list[socket.socket]:
    """So many, connected; those who were dropped meanwhile included."""
    clients = []
    for _ in range(SILENT):
        client = socket.create_connection(address, PATIENCE)
        clients.append(stack.enter_context(closing(client)))
        client.setblocking(False)
    return clients


def wait_until_gone(clients: list[socket.socket], patience: float) -> int:
    """How many are still connected after *patience* seconds; it returns when none is."""
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        deadline = time.monotonic() + patience
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(0.1):
                selector.unregister(key.fileobj)
        return len(selector.get_map())


class Served:
    """The daemon that the tests of this module share."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        self.addresses = {name: daemon.address("tls", name) for name in SERVICES}
        self.context = ssl.create_default_context()
        authority().configure_trust(self.context)
        self.context.check_hostname = False
        self._lock = threading.Lock()
        self.asked = 0
        """How many clients have asked for something."""

    def connect(self, service: str) -> socket.socket:
        return socket.create_connection(self.addresses[service], PATIENCE)

    def ask(self, service: str, name: str = "host.example") -> bool:
        """Whether a client is served."""
        with self._lock:
            self.asked += 1
        try:
            with (
                self.connect(service) as plain,
                self.context.wrap_socket(plain, server_hostname=name) as client,
            ):
                client.sendall(b"hello\n")
                return read_all(client) == b"HELLO\n"
        except OSError:
            return False

    def hello(self) -> bytes:
        """What a client says first."""
        outgoing = ssl.MemoryBIO()
        client = self.context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="host.example")
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        return outgoing.read()

    def memory(self) -> int:
        """Bytes that the largest of its processes has in memory."""
        pids = [self.daemon.pid, *self.daemon.workers()]
        found = [Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in pids]
        return max(map(int, found)) * resource.getpagesize()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    project = Project(directory)
    names = ("host.example", "other.example", "*.other.example")
    issued(*names).private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
    project.handlers(HANDLERS)
    project.configure(CONFIGURATION.format(timeout=TIMEOUT))
    with many_descriptors():
        found = Served(project.start())
        yield found
        log = found.daemon.log
        status = found.daemon.stop()
        project.clean_up()
        shutil.rmtree(directory)
        assert status == 0
        # A client that breaks off is its handler's to deal with.
        assert all("the handler raised" in line for line in log.matching("#error"))
        # No handler was called for anybody else.
        assert len(log.matching("called")) <= found.asked


@pytest.mark.parametrize("service", SERVICES)
class TestEveryExecution:
    def test_silent_clients(self, served: Served, service: str) -> None:
        """All are gone at the deadline, and 99 of a hundred others get their answer."""
        over = threading.Event()

        def ask_again() -> list[bool]:
            answers = []
            while not over.is_set():
                answers.append(served.ask(service))
            return answers

        with ExitStack() as stack, ThreadPoolExecutor(HONEST) as pool:
            asked = [pool.submit(ask_again) for _ in range(HONEST)]
            stack.callback(over.set)
            clients = silent_clients(served.addresses[service], stack)
            assert wait_until_gone(clients, TIMEOUT + 2) == 0
            over.set()
            answers = [answer for each in asked for answer in each.result()]
        assert len(answers) > 100
        assert sum(answers) >= 0.99 * len(answers)

    @pytest.mark.parametrize("is_reset", [False, True])
    def test_a_handshake_cut_anywhere(self, served: Served, service: str, is_reset: bool) -> None:
        """At every byte of a client's words: it is refused, and others are served."""
        words = served.hello()
        log = served.daemon.log
        before = len(log.lines)
        with ExitStack() as stack:
            clients = [
                stack.enter_context(closing(served.connect(service))) for _ in range(len(words))
            ]
            for length, client in enumerate(clients):
                client.sendall(words[:length])
            ports = {str(client.getsockname()[1]) for client in clients}
            for client in clients:
                if is_reset:
                    linger = struct.pack("ii", 1, 0)  # socket(7)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.close()

        def are_refused() -> bool:
            text = "\n".join(log.lines[before:])
            return {*re.findall(r":(\d+) tls refused: (?:gone|handshake)", text)} >= ports

        until(are_refused, "all are refused")
        assert served.ask(service)

    def test_a_flood_of_unknown_names(self, served: Served, service: str) -> None:
        """They cost no memory: nothing is kept of a name."""

        def flood(count: int) -> int:
            with ThreadPoolExecutor(4) as pool:
                names = (f"{secrets.token_hex(16)}.example" for _ in range(count))
                assert all(pool.map(lambda name: served.ask(service, name), names))
            return served.memory()

        before = flood(200)
        assert flood(600) - before < 2 << 20

    def test_renegotiation(self, served: Served, service: str) -> None:
        """A client that asks for it is told no, and served."""
        host, port = served.addresses[service]
        served.asked += 1
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2"],
            input=b"R\n",
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert b"RENEGOTIATING" in done.stdout + done.stderr
        assert b"no renegotiation" in done.stdout + done.stderr
        assert served.ask(service)
