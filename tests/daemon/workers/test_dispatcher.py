"""Real connections, and a reactor that does what a test says."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from netd.accept.pause import PAUSE, Pause
from netd.accept.pending import LAST_CALL, PendingConnections
from netd.accept.refusal import CROWDED, TIMED_OUT
from netd.daemon.workers.dispatcher import Dispatcher
from netd.ipc.handoff import HandoffMetadata, receive_connection
from netd.log.record import Traffic
from netd.model.address import InetAddress, Transport
from netd.model.service import Access, Reference, Runs, Service
from netd.model.tls import HANDSHAKE_TIMEOUT
from tests.daemon.fakes import FakeReactor, texts
from tests.reactors import PATIENCE

ADDRESS = InetAddress(Transport.TLS, 0, "127.0.0.1")
SERVICE = Service(
    "s",
    (ADDRESS,),
    Runs("handler", Reference("m", "H")),
    "s",
    concurrency="process",
    threads=1,
    processes=4,
)
HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n"


class Stage:
    """A dispatcher at work."""

    def __init__(
        self, service: Service, undo: ExitStack, reactor: FakeReactor | None = None
    ) -> None:
        listener = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        listener.setblocking(False)
        self.listener = listener
        self.address = listener.getsockname()
        self.reactor = FakeReactor() if reactor is None else reactor
        pending = PendingConnections(
            service.handshakes, HANDSHAKE_TIMEOUT, self.reactor, chance=lambda: 0.999
        )
        self.said: list[tuple[str, str]] = []
        self.pause = Pause(lambda *line: self.said.append(line), self.reactor.callLater)
        self.dispatcher = Dispatcher(service, ADDRESS, listener, pending, self.pause, self.reactor)
        undo.callback(self.dispatcher.close)
        self.refusals: list[tuple[str, str]] = []
        self.carried: list[Traffic] = []
        self.dispatcher.tell(self._refused)
        self.dispatcher.open()
        self._undo = undo

    def _refused(self, client: str, reason: str, since: float, carried: Traffic) -> None:
        self.refusals.append((client, reason))
        self.carried.append(carried)

    def connect(self, words: bytes = b"") -> socket.socket:
        """A client that has said *words*, and has been taken."""
        client = self._undo.enter_context(socket.create_connection(self.address, PATIENCE))
        client.sendall(words)
        assert select.select([self.listener], [], [], PATIENCE)[0]
        self.dispatcher.watched.doRead()
        return client

    def let_read(self) -> None:
        """Let those read who can."""
        self.reactor.read()

    def say(self, client: socket.socket, words: bytes) -> None:
        """Have a client say more, and whoever waits for it hear that."""
        client.sendall(words)
        assert select.select([self.reactor.readers[-1].fileno()], [], [], PATIENCE)[0]
        self.let_read()

    def handed(self) -> HandoffMetadata:
        """What a worker is given next."""
        descriptor, handed = receive_connection(self.dispatcher.queue)
        socket.close(descriptor)
        return handed

    def is_empty(self) -> bool:
        return not select.select([self.dispatcher.queue], [], [], 0)[0]


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_nobody_is_handed_on_before_he_has_begun(undo: ExitStack) -> None:
    """Nothing of what he says is received."""
    stage = Stage(SERVICE, undo)
    client = stage.connect()
    assert stage.is_empty()
    assert not stage.dispatcher.is_empty
    stage.say(client, b"\x16hello")
    descriptor, handed = receive_connection(stage.dispatcher.queue)
    with socket.socket(fileno=descriptor) as connection:
        assert connection.recv(100) == b"\x16hello"
    assert handed.client_address == client.getsockname()
    assert handed.client == "{}:{}".format(*client.getsockname())
    assert stage.dispatcher.is_empty
    assert stage.refusals == []


def test_denied(undo: ExitStack) -> None:
    """The lists are asked at once."""
    stage = Stage(replace(SERVICE, access=Access(deny=("127.0.0.1",))), undo)
    client = stage.connect()
    assert client.recv(1) == b""
    assert [reason for _, reason in stage.refusals] == ["deny"]
    assert stage.dispatcher.refused == 1


def test_a_dry_run_is_for_the_worker_to_log(undo: ExitStack) -> None:
    stage = Stage(replace(SERVICE, access=Access(deny=("127.0.0.1",), dry_run=True)), undo)
    stage.connect(b"\x16")
    stage.let_read()
    assert not stage.is_empty()


class TestHeader:
    PROXIED = replace(SERVICE, proxies=("127.0.0.1",))

    def test_says_who_the_client_is(self, undo: ExitStack) -> None:
        stage = Stage(self.PROXIED, undo)
        client = stage.connect(HEADER)
        stage.let_read()
        assert stage.is_empty()
        stage.say(client, b"\x16")
        handed = stage.handed()
        assert (handed.client_address, handed.is_proxied) == (("192.0.2.1", 4711), True)

    def test_lists_speak_of_the_client(self, undo: ExitStack) -> None:
        access = Access(deny=("192.0.2.0/24",))
        stage = Stage(replace(self.PROXIED, access=access), undo)
        stage.connect(HEADER + b"\x16")
        stage.let_read()
        assert stage.refusals == [("192.0.2.1:4711", "deny")]

    def test_is_due(self, undo: ExitStack) -> None:
        stage = Stage(self.PROXIED, undo)
        stage.connect(b"\x16\x03\x01")
        stage.let_read()
        ((_, reason),) = stage.refusals
        assert reason.startswith("proxy-header, ")
        ((received, sent, round_trip),) = stage.carried
        assert (received, sent) == (3, 0)
        assert round_trip


class TestBounds:
    def test_time(self, undo: ExitStack) -> None:
        """Who has not begun in time is turned away, and nobody else."""
        stage = Stage(SERVICE, undo)
        client = stage.connect()
        stage.reactor.advance(HANDSHAKE_TIMEOUT)
        assert client.recv(1) == b""
        assert [reason for _, reason in stage.refusals] == [TIMED_OUT]

    def test_crowd(self, undo: ExitStack) -> None:
        """The one that has been waited for longest makes room."""
        stage = Stage(replace(SERVICE, handshakes=2), undo)
        first, *_ = [stage.connect() for _ in range(3)]
        assert first.recv(1) == b""
        assert [reason for _, reason in stage.refusals] == [CROWDED]

    def test_gone(self, undo: ExitStack) -> None:
        stage = Stage(SERVICE, undo)
        stage.connect().close()
        stage.let_read()
        assert [reason for _, reason in stage.refusals] == ["gone"]

    def test_full_queue(self, undo: ExitStack) -> None:
        """Who finds no room there is put into it as soon as there is some."""
        stage = Stage(SERVICE, undo)
        stage.dispatcher._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        clients = [stage.connect(b"\x16") for _ in range(60)]
        stage.let_read()
        assert not stage.dispatcher.is_empty
        assert stage.dispatcher.watched not in stage.reactor.readers
        handed = 0
        while handed < len(clients):
            while not stage.is_empty():
                stage.handed()
                handed += 1
            for writer in list(stage.reactor.writers):
                writer.doWrite()
            stage.let_read()  # those in the backlog
        assert stage.dispatcher.is_empty
        assert stage.dispatcher.watched in stage.reactor.readers


class Reluctant(FakeReactor):
    """A reactor that cannot watch any more while *is_full*, as epoll at ``max_user_watches``."""

    is_full = False

    def addReader(self, reader: IReadDescriptor) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "no space for watches")
        super().addReader(reader)


class TestListenerLasts:
    """Whatever happens after accept(2), the listener is not lost."""

    def test_a_bug_costs_one_connection(self, undo: ExitStack) -> None:
        stage = Stage(replace(SERVICE, access=Access(deny=("127.0.0.1",))), undo)
        stage.dispatcher.tell(raising)
        with capturedLogs() as logged:
            assert stage.connect().recv(1) == b""
        assert "ZeroDivisionError" in "".join(texts(logged))
        stage.dispatcher.tell(stage._refused)
        assert stage.dispatcher.watched in stage.reactor.readers
        stage.connect()
        assert [reason for _, reason in stage.refusals] == ["deny"]

    def test_no_room_to_watch(self, undo: ExitStack) -> None:
        """The connection is refused, as in a pool of threads."""
        reactor = Reluctant()
        stage = Stage(SERVICE, undo, reactor)
        reactor.is_full = True
        assert stage.connect().recv(1) == b""
        assert [reason.partition(",")[0] for _, reason in stage.refusals] == ["unwatched"]
        assert stage.dispatcher.watched in reactor.readers
        reactor.is_full = False
        stage.connect(b"\x16")
        stage.let_read()
        assert not stage.is_empty()

    def test_dropped_by_the_reactor(self, undo: ExitStack) -> None:
        """As Twisted does on a hang-up, or after ``doRead`` has raised."""
        stage = Stage(SERVICE, undo)
        stage.reactor.removeReader(stage.dispatcher.watched)
        stage.dispatcher.watched.connectionLost(Failure(OSError("shut down")))
        stage.reactor.advance(PAUSE)
        assert stage.dispatcher.watched in stage.reactor.readers


def raising(*_: object) -> None:
    raise ZeroDivisionError


class TestEnd:
    def test_shut(self, undo: ExitStack) -> None:
        """Nobody new is taken; who has been taken goes on."""
        stage = Stage(SERVICE, undo)
        client = stage.connect()
        stage.dispatcher.shut()
        assert stage.dispatcher.watched not in stage.reactor.readers
        stage.say(client, b"\x16")
        assert not stage.is_empty()

    def test_last_call(self, undo: ExitStack) -> None:
        stage = Stage(SERVICE, undo)
        client = stage.connect()
        stage.dispatcher.last_call()
        assert stage.dispatcher.is_expecting
        stage.reactor.advance(LAST_CALL)
        assert client.recv(1) == b""
        assert not stage.dispatcher.is_expecting

    def test_two_generations(self, undo: ExitStack) -> None:
        """The listener is the same, and the end of one is not the other's."""
        stage = Stage(SERVICE, undo)
        pending = PendingConnections(10, 5.0, stage.reactor)
        other = Dispatcher(SERVICE, ADDRESS, stage.listener, pending, stage.pause, stage.reactor)
        other.open()
        stage.dispatcher.close()
        assert stage.listener.fileno() >= 0
        assert [reader.fileno() for reader in stage.reactor.readers] == [other.watched.fileno()]
        other.close()
        assert stage.reactor.readers == []
