"""Connections that begin otherwise, in a pool of real threads."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import pytest

from netd.accept.first_bytes import FirstBytes
from netd.accept.pending import Client, PendingConnections
from netd.accept.refusal import CROWDED, TIMED_OUT
from netd.execution.blocking_tls import Handshakes, TlsSocket
from netd.execution.request import Refused, Request, TooLong
from netd.execution.sources.stream import InetStream
from netd.execution.threads.pending import HandshakeSource, PendingHandshake
from netd.execution.threads.pool import AcceptingThreads
from netd.execution.threads.settings import PoolSettings, PoolSources
from netd.model.address import Transport
from netd.tls.blocking import blocking_context
from tests.reactors import PATIENCE, ThreadReactor
from tests.tls.authorities import authority, table

HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n"


class Service:
    """Serves by *handle*, and keeps whom it has been told to refuse."""

    def __init__(self, handle: Callable[[Request], None]) -> None:
        self._handle = handle
        self.refused: list[Refused] = []
        self.refusals = threading.Semaphore(0)
        self.expecting: set[int] = set()
        """Threads that count as busy before they serve."""
        self.early: Callable[[Client], str | None] = lambda _: None

    def serve(self, thread: int, request: Request) -> None:
        self.expecting.discard(thread)
        with request.raw:
            self._handle(request)

    def refuse(self, thread: int, refused: Refused) -> None:
        refused.request.raw.close()
        self.refused.append(refused)
        self.refusals.release()

    def refuses_early(self, client: Client) -> str | None:
        return self.early(client)

    def wait_for_refusals(self, count: int = 1) -> list[str]:
        """The reasons of all who have been refused, when *count* more of them have."""
        for _ in range(count):
            assert self.refusals.acquire(timeout=PATIENCE)
        return [one.refusal.reason for one in self.refused]

    def drop(self, thread: int, why: TooLong) -> None:
        raise NotImplementedError

    def mark_busy(self, thread: int) -> None:
        assert thread not in self.expecting
        self.expecting.add(thread)

    def mark_idle(self, thread: int) -> None:
        self.expecting.remove(thread)

    def after_fork(self) -> None:
        raise NotImplementedError

    def child_forked(self) -> None:
        raise NotImplementedError

    def count_by(self, admitted: Callable[[], None]) -> None:
        raise NotImplementedError

    def take_away(self, request: socket.socket) -> int:
        raise NotImplementedError

    def lost(self, thread: int) -> None:
        raise NotImplementedError


def greet(request: Request) -> None:
    """Say who the client is, after its line."""
    with request.raw.makefile("rb") as lines:
        request.raw.sendall(request.client.encode() + b" " + lines.readline())


class Served:
    """A service at work, and where it listens."""

    def __init__(
        self,
        reactor: ThreadReactor,
        listener: socket.socket,
        service: Service,
        maximum: int,
        handshakes: Handshakes | None,
        proxied: bool,
        most: int,
        seconds: float,
        patience: float,
    ) -> None:
        self.service = service
        self.address = listener.getsockname()
        self.waiting = PendingConnections(
            most, seconds, reactor, threading.Lock(), chance=lambda: 0.999
        )
        source = HandshakeSource(
            InetStream(listener, Transport.TLS),
            self.waiting,
            service.refuses_early,
            (lambda *_: True) if proxied else None,
            handshakes,
            patience,
        )
        self._reactor = reactor
        self._stopped = threading.Event()
        self.threads = AcceptingThreads(
            PoolSettings("test", maximum, partial(threading.Thread, daemon=True)),
            PoolSources({source: service}, pending=self.waiting),
            reactor,
            lambda level, text: None,
        )
        reactor.run(self.threads.start)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE)

    def stop(self) -> None:
        self._reactor.run(self.threads.stop, self._stopped.set)

    def is_stopped(self, patience: float = PATIENCE) -> bool:
        return self._stopped.wait(patience)


@contextmanager
def served(
    handle: Callable[[Request], None] = greet,
    *,
    tls: bool = True,
    proxied: bool = False,
    maximum: int = 4,
    most: int = 100,
    seconds: float = PATIENCE,
    patience: float = 0.0,
    kind: type[Handshakes] = Handshakes,
) -> Iterator[Served]:
    handshakes = kind(blocking_context(table()), True, None) if tls else None
    with ExitStack() as undo:
        listener = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        listener.setblocking(False)
        reactor = undo.enter_context(ThreadReactor())
        service = Service(handle)
        made = Served(
            reactor, listener, service, maximum, handshakes, proxied, most, seconds, patience
        )
        yield made
        if not made._stopped.is_set():
            made.stop()
        assert made.is_stopped()


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def shake_hands(connection: socket.socket) -> ssl.SSLSocket:
    return client_context().wrap_socket(connection, server_hostname="host.example")


def ask(connection: socket.socket, text: bytes = b"hello\n") -> bytes:
    with connection:
        connection.sendall(text)
        parts = []
        while part := connection.recv(4096):
            parts.append(part)
        return b"".join(parts)


class TestHandshake:
    def test_is_done_before_the_handler(self) -> None:
        """The handler gets a socket of ssl's whose handshake is over."""
        seen: list[Any] = []

        def handle(request: Request) -> None:
            connection = request.raw
            seen.append((type(connection), connection.version(), connection.gettimeout()))
            greet(request)

        with served(handle) as service:
            assert ask(shake_hands(service.connect())).endswith(b" hello\n")
        assert seen == [(TlsSocket, "TLSv1.3", None)]

    def test_a_silent_client_costs_no_thread(self) -> None:
        """Others are served by the only one there is, and the silent one, when it speaks."""
        with served(maximum=1) as service, ExitStack() as silent:
            clients = [silent.enter_context(service.connect()) for _ in range(50)]
            assert ask(shake_hands(service.connect())).endswith(b" hello\n")
            assert ask(shake_hands(clients[7])).endswith(b" hello\n")

    def test_one_that_stops_in_the_middle_costs_no_thread(self) -> None:
        """Its first words are answered, and it is waited for, with others in between."""
        with served(maximum=1) as service:
            slow = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = client_context().wrap_bio(*slow, server_hostname="host.example")
            with service.connect() as connection:
                with suppress(ssl.SSLWantReadError):
                    client.do_handshake()
                connection.sendall(slow[1].read())
                slow[0].write(connection.recv(1))
                assert ask(shake_hands(service.connect())).endswith(b" hello\n")
                while True:
                    try:
                        client.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        slow[0].write(connection.recv(65536))
                client.write(b"at last\n")
                connection.sendall(slow[1].read())
                assert connection.recv(1)

    def test_one_that_fails_closed_while_the_next_is_taken(self) -> None:
        """The next one has its number, and is not taken for it."""
        client = socket.socket()
        client.settimeout(PATIENCE)
        is_connected = threading.Event()

        class Failing(Handshakes):
            def begin(self, connection: socket.socket) -> TlsSocket:
                if is_connected.is_set():
                    return super().begin(connection)
                is_connected.set()
                connection.close()
                client.connect(service.address)
                while len(service.waiting) < 2:
                    select.select([], [], [], 0.001)
                raise ValueError("as ssl does of a connection that has been reset")

        with client, served(kind=Failing) as service:
            with service.connect() as first:
                first.sendall(b"\x16")
                assert service.service.wait_for_refusals() == ["handshake"]
            assert ask(shake_hands(client)).endswith(b" hello\n")
            assert not len(service.waiting)

    @pytest.mark.parametrize("patience", [0.0, 0.05])
    def test_cut_at_every_byte(self, patience: float) -> None:
        """Whatever arrives of the first words, the service goes on."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context().wrap_bio(incoming, outgoing, server_hostname="host.example")
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        hello = outgoing.read()
        with served(patience=patience, most=10_000) as service:
            for length in range(1, len(hello), 1 if not patience else 97):
                with service.connect() as connection:
                    connection.sendall(hello[:length])
            assert ask(shake_hands(service.connect())).endswith(b" hello\n")

    @pytest.mark.parametrize(
        "words", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\x80" * 300, b"hello\n"]
    )
    def test_what_is_no_handshake_never_reaches_a_handler(self, words: bytes) -> None:
        """CVE-2023-40217: not even when the connection has ended right behind it."""
        with served() as service:
            # It may be closed already, and reset.
            with service.connect() as connection, suppress(OSError):
                connection.sendall(words)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(100):
                    pass
            assert service.service.wait_for_refusals() == ["handshake"]

    def test_words_and_a_reset(self) -> None:
        """As above; the connection is not even connected any more."""
        with served() as service:
            for _ in range(20):
                with service.connect() as connection:
                    connection.sendall(b"hello\n")
                    linger = b"\1\0\0\0\0\0\0\0"
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            assert set(service.service.wait_for_refusals(20)) <= {"handshake", "gone"}

    def test_who_goes_without_a_word(self) -> None:
        with served() as service:
            service.connect().close()
            assert service.service.wait_for_refusals() == ["gone"]


class TestBounds:
    def test_time(self) -> None:
        """Who has not begun in time is turned away; in a second half as well as at first."""
        with served(seconds=0.1) as service, service.connect() as connection:
            assert connection.recv(1) == b""
            assert service.service.wait_for_refusals() == [TIMED_OUT]

    def test_crowd(self) -> None:
        """No more than so many are waited for: who has waited longest makes room for the next."""
        with served(most=3) as service, ExitStack() as silent:
            first, *others = (silent.enter_context(service.connect()) for _ in range(4))
            assert first.recv(1) == b""
            assert service.service.wait_for_refusals() == [CROWDED]
            assert len(service.waiting) == 3
            assert ask(shake_hands(others[-1])).endswith(b" hello\n")

    def test_flood(self) -> None:
        """However many say nothing, whoever means it is served."""
        with served(most=20) as service, ExitStack() as silent:
            for number in range(200):
                silent.enter_context(service.connect())
                if number % 20 == 0:
                    assert ask(shake_hands(service.connect())).endswith(b" hello\n")

    def test_patience(self) -> None:
        """A worker with one client each waits for its words first, and then with others."""
        with served(maximum=1, patience=0.05) as service, service.connect():
            assert ask(shake_hands(service.connect())).endswith(b" hello\n")
        assert not service.service.expecting

    def test_patience_has_an_end(self) -> None:
        """Those who stop in their handshakes do not take the others' time, however many they are.

        Each would for as long as it may, half a minute.
        """
        with served(maximum=1, patience=0.1) as service, ExitStack() as stopped:
            for _ in range(40):
                connection = stopped.enter_context(service.connect())
                connection.sendall(b"\x16\x03\x01")
            began = time.monotonic()
            assert ask(shake_hands(service.connect())).endswith(b" hello\n")
            assert time.monotonic() - began < 2.0  # 0.45, and not 4

    def test_a_client_that_was_too_long_in_the_queue(self) -> None:
        """The time counts from when the daemon took it; nobody looks at what it says."""
        ours, theirs = socket.socketpair()
        with ours, theirs, ThreadReactor() as reactor:
            waiting = PendingConnections(10, 1.0, reactor, threading.Lock())
            request = Request(ours, "", "unix", None, since=time.monotonic() - 1.5)
            source = InetStream(ours, Transport.TLS)
            source.next_request = lambda: request  # type: ignore[method-assign]
            handshakes = Handshakes(blocking_context(table()), True, None)
            entrance = HandshakeSource(
                source, waiting, Service(greet).refuses_early, None, handshakes, 0.1
            )
            with pytest.raises(Refused) as refused:
                entrance.next_request()
            assert (refused.value.refusal.reason, refused.value.since) == (TIMED_OUT, request.since)

    def test_early_lists(self) -> None:
        """Who is refused by his address does not get as far as a handshake."""
        with served() as service:
            service.service.early = lambda _: "deny"
            with service.connect() as connection:
                assert connection.recv(1) == b""
            assert service.service.wait_for_refusals() == ["deny"]


class TestEnd:
    def test_who_has_been_taken_is_served(self) -> None:
        """A stop waits for the handshake of those who are in."""
        with served() as service, service.connect() as connection:
            while not len(service.waiting):
                select.select([], [], [], 0.001)
            service.stop()
            assert not service.is_stopped(0.02)
            assert ask(shake_hands(connection)).endswith(b" hello\n")
            assert service.is_stopped()

    def test_nobody(self) -> None:
        with served() as service:
            service.stop()
            assert service.is_stopped()


class TestHeader:
    def test_names_the_client(self) -> None:
        """What follows is the request's."""
        with served(tls=False, proxied=True) as service:
            assert ask(service.connect(), HEADER + b"hello\n") == b"192.0.2.1:4711 hello\n"

    def test_comes_before_the_handshake(self) -> None:
        with served(proxied=True) as service:
            connection = service.connect()
            connection.sendall(HEADER)
            assert ask(shake_hands(connection)) == b"192.0.2.1:4711 hello\n"

    def test_byte_by_byte(self) -> None:
        """In whatever pieces it comes."""
        with served(tls=False, proxied=True) as service:
            connection = service.connect()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(HEADER)):
                connection.sendall(HEADER[number : number + 1])
            assert ask(connection) == b"192.0.2.1:4711 hello\n"

    def test_is_due(self) -> None:
        """What comes instead of it is not served."""
        with served(tls=False, proxied=True) as service:
            with suppress(OSError):
                assert ask(service.connect()) == b""
            assert service.service.wait_for_refusals() == ["proxy-header"]

    def test_lists_are_asked_about_the_client(self) -> None:
        """And not about the proxy."""
        with served(tls=False, proxied=True) as service:
            service.service.early = lambda request: f"not {request.client_address[0]}"
            with suppress(OSError):
                ask(service.connect(), HEADER)
            assert service.service.wait_for_refusals() == ["not 192.0.2.1"]


def test_a_beginning_that_is_overdue_does_not_go_on() -> None:
    """Whoever goes on with it next closes it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        arrival = FirstBytes(ours, "", "unix", 0.0, awaits_header=False, awaits_byte=True)
        pending = PendingHandshake(Request(ours, "", "unix", None), arrival, lambda _: None, None)
        pending.end(TIMED_OUT)
        with pytest.raises(Refused, match=TIMED_OUT):
            pending.go_on()


class Interrupted(Handshakes):
    """Calls *meanwhile* when TLS has taken the descriptor from the connection's first socket."""

    meanwhile: Callable[[], None]

    def begin(self, connection: socket.socket) -> TlsSocket:
        wrapped = super().begin(connection)
        self.meanwhile()
        return wrapped


def test_a_beginning_that_is_hung_up_while_its_socket_changes() -> None:
    """The socket that was shut down had no descriptor: the connection must not be waited for."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"\x16")
        arrival = FirstBytes(ours, "", "unix", 0.0, awaits_header=False, awaits_byte=True)
        handshakes = Interrupted(blocking_context(table()), True, None)
        pending = PendingHandshake(
            Request(ours, "", "unix", None), arrival, lambda _: None, handshakes
        )
        handshakes.meanwhile = lambda: pending.end(TIMED_OUT)
        ours.setblocking(False)
        with pytest.raises(Refused, match=TIMED_OUT) as refused:
            pending.go_on()
        refused.value.request.raw.close()
