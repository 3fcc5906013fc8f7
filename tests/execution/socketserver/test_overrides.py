"""``netd.execution.socketserver.overrides``: what overrides of a server class do to a request."""

from __future__ import annotations

import gc
import os
import socket
import socketserver
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.execution.request import Request
from netd.execution.serving import ServedListener
from netd.execution.socketserver.hosting import hosted
from netd.execution.socketserver.overrides import OverridingServing
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Counts, Scoreboard
from netd.listening.handler_view import ListenerSocket
from netd.model.address import Transport
from netd.model.service import Access
from tests.descriptors import count_descriptors
from tests.execution.recording import Recording, read_all
from tests.reactors import PATIENCE

THREADS = 4


class Shout(socketserver.StreamRequestHandler):
    """Answers a line in capitals."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


class Raising(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        raise ValueError("in handle")


class Stage:
    """A server object of a class, and clients whose connections have been taken."""

    def __init__(self, kind: type, handler: type = Shout, access: Access | None = None) -> None:
        self._stack = ExitStack()
        page = Scoreboard.make("test", Geometry(1, THREADS, THREADS))
        self.board = Scoreboard(page, Geometry(1, THREADS, THREADS))
        os.close(page)
        self.block = self.board.block(0)
        self.log_buffer = Recording()
        self.suspended = 0
        self.listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        gate = None if access is None else Gate(AccessLists.of(access), None, of_unix=False)
        self.serving = OverridingServing(
            ServedListener("time", Transport.TCP, gate, False, self.block, self.log_buffer),
            self._suspend,
            lambda: {5, 7},
        )
        shown = self._stack.enter_context(ListenerSocket.copy_of(self.listener))
        self.server: Any = hosted(kind, shown, self.serving, handler, {})
        self.serving.host(self.server)

    def _suspend(self) -> None:
        self.suspended += 1

    def client(self) -> tuple[Request, socket.socket]:
        client = socket.create_connection(self.listener.getsockname(), PATIENCE)
        self._stack.enter_context(client)
        client.sendall(b"hello\n")
        request, address = self.listener.accept()
        return Request(request, address, f"{address[0]}:{address[1]}", None), client

    def run(self, thread: int = 0) -> bytes:
        """Serve one client; returns what it got."""
        request, client = self.client()
        self.serving.serve(thread, request)
        assert self.board.active_connections() == []
        return read_all(client)

    @property
    def errors(self) -> list[str]:
        """What was raised, by whom it was, and in which words."""
        found = []
        for text in self.log_buffer.texts:
            first, *_, last = text.splitlines()
            assert first.startswith("error: ")
            found.append(f"{first.split(maxsplit=1)[1].partition(' tcp: ')[2] or first}: {last}")
        return found

    def close(self) -> None:
        self.board.close()
        self.serving.handed.close()
        self._stack.close()


class Make:
    """Makes stages, which are closed at the end of a test."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def __call__(self, *arguments: Any, **keywords: Any) -> Stage:
        self.stages.append(Stage(*arguments, **keywords))
        return self.stages[-1]


@pytest.fixture
def make() -> Iterator[Make]:
    made = Make()
    yield made
    for stage in made.stages:
        stage.close()


def noting(base: type = socketserver.TCPServer) -> tuple[type, list[str]]:
    """A class that overrides everything a request comes by, and the list of its calls."""
    calls: list[str] = []
    names = [
        "verify_request", "process_request", "finish_request", "shutdown_request",
        "close_request", "handle_error", "service_actions",
    ]  # fmt: skip

    def override(name: str) -> Any:
        def method(self: Any, *arguments: Any) -> Any:
            calls.append(name)
            return getattr(super(made, self), name)(*arguments)

        return method

    made: type = type("Noting", (base,), {name: override(name) for name in names})
    return made, calls


class TestOrder:
    BASES = (
        socketserver.TCPServer,
        socketserver.ThreadingTCPServer,
        socketserver.ForkingTCPServer,
    )

    @pytest.mark.parametrize("base", BASES)
    def test_of_a_request(self, make: Make, base: type) -> None:
        """As ``socketserver`` calls them, whichever mix-in is behind them."""
        kind, calls = noting(base)
        assert make(kind).run() == b"HELLO\n"
        assert calls == [
            "verify_request", "process_request", "finish_request", "shutdown_request",
            "close_request", "service_actions",
        ]  # fmt: skip

    @pytest.mark.parametrize("base", BASES)
    def test_of_one_that_fails(self, make: Make, base: type) -> None:
        """The error is told before the connection is shut down."""
        kind, calls = noting(base)
        stage = make(kind, Raising)
        assert stage.run() == b""
        assert calls == [
            "verify_request", "process_request", "finish_request", "handle_error",
            "shutdown_request", "close_request", "service_actions",
        ]  # fmt: skip
        assert stage.errors == ["the handler raised: ValueError: in handle"]
        assert stage.log_buffer.verdicts == ["failed"]

    def test_of_one_that_is_refused(self, make: Make) -> None:
        """``socketserver`` shuts down what it does not verify."""
        kind, calls = noting()
        verified = type("Refusing", (kind,), {"verify_request": lambda *_: False})
        stage = make(verified)
        assert stage.run() == b""
        assert calls == ["shutdown_request", "close_request", "service_actions"]
        assert stage.log_buffer.verdicts == ["refused: verify_request"]
        assert stage.board.counts() == Counts(refused=1)
        assert stage.errors == []

    def test_of_one_that_the_lists_refuse(self, make: Make) -> None:
        """The server hears nothing of it but that it is to close the connection."""
        kind, calls = noting()
        stage = make(kind, access=Access(deny=("127.0.0.1",)))
        assert stage.run() == b""
        assert calls == ["close_request"]

    def test_process_request_thread(self, make: Make) -> None:
        """What ThreadingMixIn runs in a thread is run in the one that took the client."""
        calls = []

        class Server(socketserver.ThreadingTCPServer):
            def process_request_thread(self, request: Any, client_address: Any) -> None:
                calls.append(threading.current_thread())
                super().process_request_thread(request, client_address)

        assert make(Server).run() == b"HELLO\n"
        assert calls == [threading.current_thread()]

    def test_of_a_class_without_overrides(self, make: Make) -> None:
        """The handler is called at once."""
        stage = make(socketserver.ThreadingTCPServer)
        assert stage.run() == b"HELLO\n"
        assert not any(vars(stage.serving.overrides).values())
        assert stage.board.counts() == Counts(served=1)

    def test_of_overrides_on_the_object(self, make: Make) -> None:
        """They count as those of the class do."""
        stage = make(socketserver.TCPServer)
        stage.server.verify_request = lambda *_: False
        stage.serving.host(stage.server)
        assert stage.run() == b""

    def test_arguments(self, make: Make) -> None:
        """The connection and the client's address, as ``socketserver`` passes them."""
        seen = []

        class Server(socketserver.TCPServer):
            def verify_request(self, request: Any, client_address: Any) -> bool:
                seen.append((request, client_address))
                return True

            def process_request(self, request: Any, client_address: Any) -> None:
                seen.append((request, client_address))
                super().process_request(request, client_address)

        stage = make(Server)
        request, _ = stage.client()
        stage.serving.serve(0, request)
        assert seen == [(request.raw, request.client_address)] * 2

    def test_last_request(self, make: Make) -> None:
        """It is known when the last one came, for ``handle_timeout``."""
        stage = make(socketserver.TCPServer)
        before = time.monotonic()
        stage.run()
        assert before <= stage.serving.last_request <= time.monotonic()


class TestExclusive:
    """What runs in the loop of ``serve_forever`` there is called by one thread at a time here."""

    def test_one_at_a_time(self, make: Make) -> None:
        """Whichever of them it is, the time-outs and actions between requests included."""
        inside: list[str] = []
        most: list[int] = []

        class Server(socketserver.TCPServer):
            def verify_request(self, request: Any, client_address: Any) -> bool:
                self._alone("verify_request")
                return True

            def process_request(self, request: Any, client_address: Any) -> None:
                self._alone("process_request")
                super().process_request(request, client_address)

            def service_actions(self) -> None:
                self._alone("service_actions")

            def handle_timeout(self) -> None:
                self._alone("handle_timeout")

            def _alone(self, name: str) -> None:
                inside.append(name)
                for _ in range(50):
                    most.append(len(inside))
                    os.sched_yield()
                inside.remove(name)

        stage = make(Server)
        clients = [stage.client() for _ in range(THREADS)]
        threads = [
            threading.Thread(target=stage.serving.serve, args=(number, request))
            for number, (request, _) in enumerate(clients)
        ]
        threads += [threading.Thread(target=stage.serving.act)]
        threads += [threading.Thread(target=stage.serving.time_out)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert set(most) == {1}
        assert [read_all(client) for _, client in clients] == [b"HELLO\n"] * THREADS

    def test_handlers_run_outside_of_it(self, make: Make) -> None:
        """All handlers are inside at once, although ``process_request`` is overridden."""
        barrier = threading.Barrier(THREADS)

        class Meeting(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                barrier.wait(PATIENCE)

        class Server(socketserver.TCPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                super().process_request(request, client_address)

        stage = make(Server, Meeting)
        threads = [
            threading.Thread(target=stage.serving.serve, args=(number, stage.client()[0]))
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert stage.log_buffer.verdicts == ["served"] * THREADS

    def test_of_each_object(self, make: Make) -> None:
        """Two objects of a class do not wait for each other."""
        barrier = threading.Barrier(2)

        class Server(socketserver.TCPServer):
            def verify_request(self, request: Any, client_address: Any) -> bool:
                barrier.wait(PATIENCE)
                return True

        stages = [make(Server) for _ in range(2)]
        threads = [
            threading.Thread(target=stage.serving.serve, args=(0, stage.client()[0]))
            for stage in stages
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert all(stage.log_buffer.verdicts == ["served"] for stage in stages)


class Odd(Exception):
    """One that nobody can look at."""

    def __str__(self) -> str:
        raise ValueError("not even this")


ERRORS = [ValueError("no"), OSError(5, "no"), SystemExit("no"), KeyboardInterrupt("no"), Odd()]


class TestRaising:
    """What an override raises costs its request, and nothing else."""

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize(
        ("name", "answer", "verdict", "what"),
        [
            ("verify_request", b"", "refused: verify_request raised", "verify_request()"),
            ("process_request", b"", "failed", "process_request()"),
            ("finish_request", b"", "failed", "the handler"),
            ("shutdown_request", b"HELLO\n", "served", "shutdown_request()"),
            ("close_request", b"HELLO\n", "served", "shutdown_request()"),
        ],
    )
    def test_each(
        self, make: Make, name: str, answer: bytes, verdict: str, what: str, error: BaseException
    ) -> None:
        """It is logged once, the connection is closed, and the next client is served."""
        is_broken = True

        def override(self: Any, *arguments: Any) -> Any:
            if is_broken:
                raise error
            return getattr(super(kind, self), name)(*arguments)

        kind: type = type("Broken", (socketserver.TCPServer,), {name: override})
        stage = make(kind)
        request, client = stage.client()
        stage.serving.serve(0, request)
        assert read_all(client) == answer
        assert request.raw.fileno() == -1
        assert stage.log_buffer.verdicts == [verdict]
        [text] = stage.log_buffer.texts
        assert text.startswith(f"error: {request.client} tcp: {what} raised\n")
        assert "test_overrides.py" in text
        is_broken = False
        assert stage.run() == b"HELLO\n"
        assert stage.board.active_connections() == []

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("name", ["service_actions", "handle_timeout"])
    def test_between_requests(self, make: Make, name: str, error: BaseException) -> None:
        """It is logged by the method's name."""

        def override(self: Any) -> None:
            raise error

        stage = make(type("Broken", (socketserver.TCPServer,), {name: override}))
        (stage.serving.act if name == "service_actions" else stage.serving.time_out)()
        [text] = stage.log_buffer.texts
        assert text.startswith(f"error: {name}() raised\n")
        assert stage.run() == b"HELLO\n"

    def test_what_has_no_name(self, make: Make) -> None:
        """An override may be anything that can be called."""

        class Nameless:
            def __call__(self, *_: object) -> None:
                raise ValueError("no")

        stage = make(socketserver.TCPServer)
        stage.server.service_actions = Nameless()
        stage.server.shutdown_request = Nameless()
        stage.serving.host(stage.server)
        assert stage.run() == b"HELLO\n"
        assert stage.errors == [
            "shutdown_request() raised: ValueError: no",
            "error: service_actions() raised: ValueError: no",
        ]

    def test_handle_error(self, make: Make) -> None:
        """What it raises is logged with what it was told of; the connection is closed."""

        class Server(socketserver.TCPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                raise KeyError("in handle_error")

        stage = make(Server, Raising)
        assert stage.run() == b""
        assert stage.errors == ["handle_error() raised: KeyError: 'in handle_error'"]
        assert "ValueError: in handle" in stage.log_buffer.texts[0]
        assert stage.log_buffer.verdicts == ["failed"]

    def test_handle_error_that_says_nothing(self, make: Make) -> None:
        """Whoever overrides it may keep it to himself, for every part of a request."""

        class Server(socketserver.TCPServer):
            def verify_request(self, request: Any, client_address: Any) -> bool:
                raise ValueError("in verify_request")

            def handle_error(self, request: Any, client_address: Any) -> None:
                seen.append(repr(sys.exception()))

        seen: list[str] = []
        stage = make(Server)
        assert stage.run() == b""
        assert seen == ["ValueError('in verify_request')"]
        assert stage.log_buffer.texts == []

    def test_handle_error_of_somebody_else(self, make: Make) -> None:
        """A user's own thread may tell of an error, with a client as it likes."""
        stage = make(socketserver.TCPServer)
        stage.server.handle_error(None, ("192.0.2.1", 7))
        try:
            raise ValueError("of mine")
        except ValueError:
            stage.server.handle_error(None, ("192.0.2.1", 7))
        [text] = stage.log_buffer.texts
        assert text.startswith("error: 192.0.2.1:7 tcp: the handler raised\n")


class Deferring(socketserver.TCPServer):
    """Keeps requests until it is told to pass them on."""

    kept: list[tuple[Any, Any]]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.kept = [*getattr(self, "kept", []), (request, client_address)]

    def pass_on(self) -> None:
        super().process_request(*self.kept.pop(0))


class TestProcessRequest:
    """Which requests it passes on, and when, is its own affair."""

    def test_that_keeps_it(self, make: Make) -> None:
        """The connection is the server's then: it stays open, and is logged as what it is."""
        stage = make(Deferring)
        request, client = stage.client()
        stage.serving.serve(0, request)
        assert stage.log_buffer.verdicts == ["kept by process_request"]
        assert stage.board.counts() == Counts()
        with request.raw:
            request.raw.sendall(b"by means of its own")
        assert client.recv(100) == b"by means of its own"

    def test_that_passes_it_on_later(self, make: Make) -> None:
        """Another thread hands it to the pool, where it is served as any other."""
        stage = make(Deferring)
        request, client = stage.client()
        stage.serving.serve(0, request)
        thread = threading.Thread(target=stage.server.pass_on)
        thread.start()
        thread.join(PATIENCE)
        handed = stage.serving.handed.next_request()
        assert handed == request
        stage.serving.serve_handed(2, handed)
        assert read_all(client) == b"HELLO\n"
        assert stage.log_buffer.verdicts == ["kept by process_request", "served"]
        assert stage.block.lanes[2].served == 1
        assert stage.board.counts() == Counts(served=1)
        assert stage.board.active_connections() == []

    def test_that_passes_on_an_earlier_one(self, make: Make) -> None:
        """It is served by the thread that is there."""

        class Lagging(Deferring):
            def process_request(self, request: Any, client_address: Any) -> None:
                super().process_request(request, client_address)
                if len(self.kept) == 2:
                    self.pass_on()

        stage = make(Lagging)
        clients = [stage.client() for _ in range(2)]
        for request, _ in clients:
            stage.serving.serve(0, request)
        assert read_all(clients[0][1]) == b"HELLO\n"
        assert len(stage.serving.handed) == 0
        assert stage.log_buffer.verdicts == ["kept by process_request", "served"]
        clients[1][0].raw.close()

    def test_that_passes_on_another(self, make: Make) -> None:
        """What it wraps is what the handler gets, and what is closed; it is the same client."""

        class Wrapping(socketserver.TCPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                again = socket.socket(fileno=request.detach())
                super().process_request(again, "somebody")

        class Seeing(Shout):
            def handle(self) -> None:
                seen.append((self.request, self.client_address))
                super().handle()

        seen: list[Any] = []
        stage = make(Wrapping, Seeing)
        request, client = stage.client()
        stage.serving.serve(0, request)
        assert read_all(client) == b"HELLO\n"
        [(connection, address)] = seen
        assert address == "somebody"
        assert connection.fileno() == -1
        [record] = stage.log_buffer.records
        assert record.client == request.client  # type: ignore[union-attr]

    def test_that_passes_on_two(self, make: Make) -> None:
        """Each is served, one after the other, and closed."""

        class Doubling(socketserver.TCPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                super().process_request(request.dup(), client_address)
                super().process_request(request, client_address)

        stage = make(Doubling)
        request, client = stage.client()
        client.sendall(b"again\n")
        client.shutdown(socket.SHUT_WR)
        stage.serving.serve(0, request)
        assert read_all(client).startswith(b"HELLO\n")
        assert len(stage.log_buffer.verdicts) == 2

    def test_that_raises_after_it_has_passed_on_another(self, make: Make) -> None:
        """What it wrapped is closed with what it was given."""

        class Wrapping(socketserver.TCPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                again = socket.socket(fileno=request.detach())
                super().process_request(again, client_address)
                raise ValueError("afterwards")

        stage = make(Wrapping)
        before = count_descriptors()
        request, client = stage.client()
        stage.serving.serve(0, request)
        assert read_all(client) == b""
        client.close()
        assert count_descriptors() == before
        assert stage.log_buffer.verdicts == ["failed"]

    def test_that_raises_after_it_has_passed_it_on(self, make: Make) -> None:
        """It failed, and is closed once."""
        closed = []

        class Raising(socketserver.TCPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                super().process_request(request, client_address)
                raise ValueError("afterwards")

            def shutdown_request(self, request: Any) -> None:
                closed.append(request)
                super().shutdown_request(request)

        stage = make(Raising)
        request, _ = stage.client()
        stage.serving.serve(0, request)
        assert closed == [request.raw]
        assert stage.board.counts() == Counts(failed=1)

    def test_nothing_is_held(self, make: Make) -> None:
        """A request that has been served does not wait for the next one to be let go."""

        class Server(socketserver.TCPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                super().process_request(request, client_address)

        stage = make(Server)
        request, _ = stage.client()
        reference = weakref.ref(request.raw)
        gc.disable()
        try:
            stage.serving.serve(0, request)
            del request
            assert reference() is None
        finally:
            gc.enable()

    def test_of_a_server_that_does_not_override_it(self, make: Make) -> None:
        """A handler that calls it with what it has made up is served here and now."""
        stage = make(socketserver.TCPServer)
        request, client = stage.client()
        stage.server.process_request(request.raw, request.client_address)
        assert read_all(client) == b"HELLO\n"
        assert len(stage.serving.handed) == 0


class TestForks:
    """A process that an override forks, and that comes back, does not go on as a thread of ours."""

    @pytest.mark.parametrize(
        "name", ["verify_request", "process_request", "service_actions", "finish_request"]
    )
    @pytest.mark.parametrize("raises", [False, True])
    def test_comes_back(self, make: Make, name: str, raises: bool, tmp_path: Any) -> None:
        """It ends there; the worker's own part of the request goes on."""
        children: list[int] = []

        def override(self: Any, *arguments: Any) -> Any:
            pid = os.fork()
            if pid:
                children.append(pid)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            elif raises:
                raise SystemExit
            return None

        kind = type("Forking", (socketserver.TCPServer,), {name: override})
        stage = make(kind)
        us = os.getpid()
        request, _ = stage.client()
        stage.serving.serve(0, request)
        if os.getpid() != us:  # it has gone on, which is what must not be
            os._exit(77)
        (child,) = children
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == int(raises)
        request.raw.close()


class TestHost:
    def test_shutdown(self, make: Make) -> None:
        """It suspends the service."""
        stage = make(socketserver.TCPServer)
        stage.server.shutdown()
        assert stage.suspended == 1

    def test_active_children(self, make: Make) -> None:
        """They are the service's busy processes."""
        assert make(socketserver.ForkingTCPServer).server.active_children == {5, 7}

    def test_recheck_of_who_was_handed_over(self, make: Make) -> None:
        """Other lists end the connection of a client that is served late, as any other's."""
        stage = make(Deferring)
        request, client = stage.client()
        stage.serving.serve(0, request)
        stage.server.pass_on()
        entered = threading.Event()

        class Waiting(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                entered.set()
                while self.request.recv(100):
                    pass

        stage.server.RequestHandlerClass = Waiting
        handed = stage.serving.handed.next_request()
        thread = threading.Thread(target=stage.serving.serve_handed, args=(0, handed))
        thread.start()
        assert entered.wait(PATIENCE)
        stage.serving.recheck(AccessLists.of(Access(deny=("127.0.0.1",))))
        thread.join(PATIENCE)
        assert read_all(client) == b""
