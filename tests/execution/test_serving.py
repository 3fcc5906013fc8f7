"""``netd.execution.serving``: one request, with real sockets and a real scoreboard."""

from __future__ import annotations

import errno
import gc
import os
import socket
import socketserver
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from netd.admission.filter import RequestFilter
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.execution.request import Request, TooLong
from netd.execution.serving import Handler, ServedListener, Serving
from netd.execution.tracebacks import user_traceback
from netd.ipc.layout import ActiveConnection, Geometry
from netd.ipc.scoreboard import Counts, Scoreboard
from netd.listening.counted import CountedSocket
from netd.log.record import AccessRecord, LogRecord
from netd.model.address import Transport
from netd.model.peer import Credentials
from netd.model.service import Access
from tests.execution.recording import Recording, read_all
from tests.reactors import HandReactor

PATIENCE = 30.0
DENY = Gate(AccessLists.of(Access(deny=("127.0.0.0/8",))), None, of_unix=False)
"""Refuses the clients of all tests here that have an Internet address."""


GEOMETRY = Geometry(1, 3, 3)


class Stage:
    """What is around one Serving: a server that nobody listens to, a board, a journal."""

    def __init__(self) -> None:
        descriptor = Scoreboard.make("test", GEOMETRY)
        self.board = Scoreboard(descriptor, GEOMETRY)
        os.close(descriptor)
        self.log_buffer = Recording()
        self.server = self._stream = socketserver.TCPServer(
            ("127.0.0.1", 0), socketserver.BaseRequestHandler, bind_and_activate=False
        )
        self.datagrams = socketserver.UDPServer(
            ("127.0.0.1", 0), socketserver.BaseRequestHandler, bind_and_activate=False
        )
        self._listener = socket.create_server(("127.0.0.1", 0))

    def close(self) -> None:
        self.board.close()
        self._stream.server_close()
        self.datagrams.server_close()
        self._listener.close()

    def serving(
        self,
        handler: Handler,
        gate: Gate | None = None,
        dry_run: bool = False,
        transport: str = "tcp",
        server: socketserver.BaseServer | None = None,
    ) -> Serving:
        block = self.board.block(0)
        serving = Serving(
            ServedListener("time", Transport(transport), gate, dry_run, block, self.log_buffer, 7)
        )
        serving.serve_by(server or self.server, handler)
        return serving

    def client(self) -> tuple[Request, socket.socket]:
        """A TCP client: what was taken of it, and its own end."""
        client = socket.create_connection(self._listener.getsockname(), PATIENCE)
        request, address = self._listener.accept()
        return Request(request, address, f"{address[0]}:{address[1]}", None), client

    def run(
        self, handler: Handler, gate: Gate | None = None, dry_run: bool = False
    ) -> tuple[Request, bytes]:
        """Serve one client that says a line; returns it, and what it got."""
        request, client = self.client()
        with client:
            client.sendall(b"hello\n")
            self.serving(handler, gate, dry_run).serve(0, request)
            assert request.raw.fileno() == -1
            return request, read_all(client)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with closing(Stage()) as made:
        yield made


def outcomes(stage: Stage) -> list[tuple[str, str, str, str, tuple[int | None, int | None]]]:
    """The ends of requests in the journal, without their times."""
    return [
        (record.service, record.transport, record.client, record.verdict, record.traffic[:2])
        for record in stage.log_buffer.records
        if isinstance(record, AccessRecord)
    ]


def errors(stage: Stage) -> list[str]:
    """The texts in the journal, all of which are errors of the service."""
    found = [record for record in stage.log_buffer.records if isinstance(record, LogRecord)]
    assert all((record.service, record.level) == ("time", "error") for record in found)
    return [record.text for record in found]


class Shout(socketserver.StreamRequestHandler):
    """Answers a line in capitals."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


def raising(error: BaseException) -> Handler:
    def handler(request: socket.socket, address: Any, server: Any) -> None:
        request.recv(100)
        raise error

    return handler


class TestServed:
    """A request that goes well."""

    def test_a_stream(self, stage: Stage) -> None:
        """The handler answers, the connection is closed, counted and logged."""
        request, answer = stage.run(Shout)
        assert answer == b"HELLO\n"
        assert outcomes(stage) == [("time", "tcp", request.client, "served", (6, 6))]
        assert errors(stage) == []
        assert stage.board.counts() == Counts(served=1)
        assert stage.board.active_connections() == []

    def test_what_the_handler_gets(self, stage: Stage) -> None:
        """The request, the address and the server, as ``socketserver`` passes them."""
        seen: list[Any] = []
        request, _ = stage.run(lambda *arguments: seen.extend(arguments))
        assert seen == [request.raw, request.client_address, stage.server]
        assert seen[0] is request.raw
        assert seen[2] is stage.server

    def test_times(self, stage: Stage) -> None:
        """The record says when the request ended, and how long it was inside."""
        before = time.monotonic()
        stage.run(Shout)
        after = time.monotonic()
        (record,) = stage.log_buffer.records
        assert isinstance(record, AccessRecord)
        assert before <= record.ended <= after
        assert 0 <= record.seconds <= after - before

    def test_on_the_scoreboard(self, stage: Stage) -> None:
        """While the handler runs, its connection is listed, with its listener."""
        seen: list[ActiveConnection] = []
        request, client = stage.client()
        before = time.monotonic()
        with client:
            stage.serving(lambda *_: seen.extend(stage.board.active_connections())).serve(
                2, request
            )
        ((listener, name, since),) = ((each.listener, each.client, each.since) for each in seen)
        assert (listener, name) == (7, request.client)
        assert before <= since <= time.monotonic()
        assert stage.board.active_connections() == []

    def test_a_datagram(self, stage: Stage) -> None:
        """A packet has nothing to close, and its answers are not counted."""
        raw = (b"hello", stage.datagrams.socket)
        request = Request(raw, ("127.0.0.1", 9), "127.0.0.1:9", None)
        seen: list[Any] = []
        serving = stage.serving(
            lambda *arguments: seen.extend(arguments), transport="udp", server=stage.datagrams
        )
        serving.serve(1, request)
        assert seen == [raw, ("127.0.0.1", 9), stage.datagrams]
        assert stage.datagrams.socket.fileno() != -1
        assert outcomes(stage) == [("time", "udp", "127.0.0.1:9", "served", (5, None))]

    def test_a_unix_connection(self, stage: Stage) -> None:
        """Its bytes are those that its socket counted."""
        here, there = socket.socketpair()
        connection = CountedSocket(fileno=here.detach())
        with there:
            there.sendall(b"hi\n")
            request = Request(connection, "", "uid:1,pid:2", Credentials(1, 1))
            stage.serving(Shout, transport="unix").serve(0, request)
            assert read_all(there) == b"HI\n"
        assert outcomes(stage) == [("time", "unix", "uid:1,pid:2", "served", (3, 3))]

    def test_a_handler_that_closes(self, stage: Stage) -> None:
        """Nobody knows what a closed socket carried; otherwise it is a request like any other."""
        request, _ = stage.run(lambda request, *_: request.close())
        assert outcomes(stage) == [("time", "tcp", request.client, "served", (None, None))]

    def test_a_handler_that_keeps_its_connection(self, stage: Stage) -> None:
        """What ``detach`` took away is not closed."""
        kept: list[int] = []
        request, client = stage.client()
        with client:
            stage.serving(lambda request, *_: kept.append(request.detach())).serve(0, request)
            with socket.socket(fileno=kept[0]) as mine:
                mine.sendall(b"still here")
                assert client.recv(100) == b"still here"
        assert outcomes(stage) == [("time", "tcp", request.client, "served", (None, None))]

    def test_a_copy_that_a_handler_keeps(self, stage: Stage) -> None:
        """``socketserver`` shuts the connection down under a copy, and so does netd."""
        kept: list[socket.socket] = []
        request, client = stage.client()
        with client:
            stage.serving(lambda request, *_: kept.append(request.dup())).serve(0, request)
            assert read_all(client) == b""
            kept[0].close()

    def test_counters_go_on(self, stage: Stage) -> None:
        """The counters of all threads add up."""
        for thread in (0, 1, 0, 2):
            request, client = stage.client()
            with client:
                stage.serving(lambda *_: None).serve(thread, request)
        # Each Serving above made lanes of its own, which read what the page says.
        assert stage.board.counts() == Counts(served=4)


class TestRaising:
    """Whatever leaves a handler ends its own connection and nothing else."""

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("no"),
            OSError(errno.EPIPE, "no"),
            MemoryError("no"),
            SystemExit("no"),
            KeyboardInterrupt("no"),
            GeneratorExit("no"),
            BaseException("no"),
            ExceptionGroup("no", [ValueError("one"), KeyError("two")]),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_everything(self, stage: Stage, error: BaseException) -> None:
        """It is logged once with its traceback, counted as failed, and the client is let go."""
        request, answer = stage.run(raising(error))
        assert answer == b""
        assert outcomes(stage) == [("time", "tcp", request.client, "failed", (6, 0))]
        (text,) = errors(stage)
        first, second, *_, last = text.splitlines()
        assert first == f"{request.client} tcp: the handler raised"
        if isinstance(error, ExceptionGroup):
            assert "Exception Group Traceback" in second
            assert "KeyError: 'two'" in text
        else:
            assert second == "Traceback (most recent call last):"
            assert last.startswith(type(error).__name__)
        assert stage.board.counts() == Counts(served=1, failed=1)
        assert stage.board.active_connections() == []

    def test_the_error_stands_before_the_end(self, stage: Stage) -> None:
        """The traceback is logged before the line of the request that it ended."""
        stage.run(raising(ValueError()))
        assert [type(record) for record in stage.log_buffer.records] == [LogRecord, AccessRecord]

    def test_in_setup(self, stage: Stage) -> None:
        """A handler class that fails while it is made is a handler that fails."""

        class Broken(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                raise RuntimeError("in setup")

        stage.run(Broken)
        (text,) = errors(stage)
        assert text.endswith("RuntimeError: in setup")

    def test_exit_of_a_handler(self, stage: Stage) -> None:
        """``sys.exit`` is no way out."""
        stage.run(lambda *_: sys.exit(3))
        assert errors(stage)[0].endswith("SystemExit: 3")

    def test_an_error_that_cannot_be_shown(self, stage: Stage) -> None:
        """An exception whose own parts are broken is logged as far as it goes."""

        class Odd(Exception):
            def __str__(self) -> str:
                raise ValueError("not even this")

        class Odder(Exception):
            @property
            def __cause__(self) -> BaseException | None:  # type: ignore[override]
                raise ValueError("nor this")

        for error in (Odd(), Odder()):
            stage.run(raising(error))
        first, second = errors(stage)
        assert "Odd" in first
        assert second.endswith("Odder, which cannot be shown")
        assert "test_serving.py" in second
        assert stage.board.counts() == Counts(served=2, failed=2)

    def test_what_the_handler_had_is_let_go(self, stage: Stage) -> None:
        """Nothing of a handler that failed has to wait for the collector of cycles."""

        class Resource:
            pass

        def handler(*_: object) -> None:
            mine = Resource()
            resources.append(weakref.ref(mine))
            raise ValueError

        resources: list[weakref.ref[Resource]] = []
        gc.disable()
        try:
            stage.run(handler)
            assert resources[0]() is None
        finally:
            gc.enable()

    def test_no_memory_for_the_log(self, stage: Stage) -> None:
        """Even what is not to be raised leaves the slot free for the next client."""

        class Forgetful(Recording):
            def _keep(self, record: AccessRecord | LogRecord) -> bool:
                raise MemoryError

        stage.log_buffer = Forgetful()
        request, client = stage.client()
        with client, pytest.raises(MemoryError):
            stage.serving(lambda *_: None).serve(0, request)
        assert stage.board.active_connections() == []

    def test_many_in_turn(self, stage: Stage) -> None:
        """A slot that failed serves the next client as any other."""
        stage.run(raising(SystemExit()))
        assert stage.run(Shout)[1] == b"HELLO\n"
        assert [each[3] for each in outcomes(stage)] == ["failed", "served"]


class TestTraceback:
    """What of a traceback is shown."""

    def test_begins_in_the_users_code(self, stage: Stage) -> None:
        """No line of netd's stands before the handler's."""
        stage.run(raising(ValueError("deep")))
        (text,) = errors(stage)
        assert os.sep + os.path.join("netd", "execution") not in text
        assert text.splitlines()[2].lstrip().startswith(f'File "{__file__}"')

    def test_causes_are_shown(self) -> None:
        """What an error was raised from stands before it."""
        try:
            try:
                raise KeyError("first")
            except KeyError as cause:
                raise ValueError("second") from cause
        except ValueError as error:
            text = user_traceback(error)
        assert text.index("KeyError: 'first'") < text.index("ValueError: second")

    def test_never_raised(self) -> None:
        """An error without a traceback is its name."""
        assert user_traceback(ValueError("as is")) == "ValueError: as is"


class TestRefused:
    """Clients that the gate does not let in."""

    def test_the_handler_is_not_called(self, stage: Stage) -> None:
        """A refused client is closed, counted and logged with the reason."""
        called: list[object] = []
        request, answer = stage.run(lambda *_: called.append(1), DENY)
        assert called == []
        assert answer == b""
        assert outcomes(stage) == [("time", "tcp", request.client, "refused: deny", (6, 0))]
        assert stage.board.counts() == Counts(refused=1)
        assert stage.board.active_connections() == []

    def test_in_a_dry_run(self, stage: Stage) -> None:
        """It is logged and counted, and served all the same."""
        request, answer = stage.run(Shout, DENY, dry_run=True)
        assert answer == b"HELLO\n"
        assert outcomes(stage) == [
            ("time", "tcp", request.client, "would be refused: deny", (0, 0)),
            ("time", "tcp", request.client, "served", (6, 6)),
        ]
        assert stage.board.counts() == Counts(served=1, refused=1)

    def test_admitted(self, stage: Stage) -> None:
        """Who is not refused leaves no trace of the question."""
        gate = Gate(AccessLists.of(Access(allow=("127.0.0.1",))), None, of_unix=False)
        assert stage.run(Shout, gate)[1] == b"HELLO\n"
        assert [each[3] for each in outcomes(stage)] == ["served"]

    def test_on_the_scoreboard(self, stage: Stage) -> None:
        """Somebody whose admission takes long is seen."""
        seen: list[ActiveConnection] = []

        def look(request: object, address: object) -> bool:
            seen.extend(stage.board.active_connections())
            return False

        lists = AccessLists.of(Access())
        asked = RequestFilter(look, 5.0, HandReactor(), lambda *_: None)
        request, _ = stage.run(Shout, Gate(lists, asked, of_unix=False))
        assert [each.client for each in seen] == [request.client]
        assert [each[3] for each in outcomes(stage)] == ["refused: verify_request"]
        assert stage.board.active_connections() == []

    def test_a_datagram(self, stage: Stage) -> None:
        """A refused packet is dropped without an answer; the socket, which is shared, stays."""
        request = Request((b"x", stage.datagrams.socket), ("127.0.0.1", 9), "127.0.0.1:9", None)
        called: list[object] = []
        serving = stage.serving(
            lambda *_: called.append(1), DENY, transport="udp", server=stage.datagrams
        )
        serving.serve(0, request)
        assert called == []
        assert stage.datagrams.socket.fileno() != -1
        assert outcomes(stage) == [("time", "udp", "127.0.0.1:9", "refused: deny", (1, None))]


class TestClosing:
    """The server object ends the connection, and may fail at it."""

    @pytest.mark.parametrize(
        "error", [OSError("no"), ValueError("no"), SystemExit()], ids=lambda e: type(e).__name__
    )
    @pytest.mark.parametrize("gate", [None, DENY], ids=["served", "refused"])
    def test_that_raises(self, stage: Stage, error: BaseException, gate: Gate | None) -> None:
        """It is logged; the request is ended and counted all the same, and the slot is free."""

        class Stubborn(socketserver.TCPServer):
            def shutdown_request(self, request: Any) -> None:
                raise error

            def close_request(self, request: Any) -> None:
                raise error

        with Stubborn(("", 0), Shout, bind_and_activate=False) as server:
            request, client = stage.client()
            with client:
                client.sendall(b"hello\n")
                stage.serving(Shout, gate, server=server).serve(0, request)
                assert request.raw.fileno() == -1
        ((*_, verdict, _carried),) = outcomes(stage)
        assert verdict == ("served" if gate is None else "refused: deny")
        (text,) = errors(stage)
        method = "shutdown_request" if gate is None else "close_request"
        assert text.startswith(f"{request.client} tcp: {method}() raised\nTraceback")
        assert stage.board.active_connections() == []
        assert stage.board.counts() == (Counts(served=1) if gate is None else Counts(refused=1))

    def test_each_by_its_own_method(self, stage: Stage) -> None:
        """As in ``socketserver``: who was served is shut down, who was refused only closed."""
        calls: list[str] = []

        class Noting(socketserver.TCPServer):
            def shutdown_request(self, request: Any) -> None:
                calls.append("shutdown")
                super().shutdown_request(request)

            def close_request(self, request: Any) -> None:
                calls.append("close")
                super().close_request(request)

        with Noting(("", 0), Shout, bind_and_activate=False) as server:
            stage.server = server
            stage.run(Shout, DENY)
            assert calls == ["close"]
            stage.run(Shout)
            assert calls == ["close", "shutdown", "close"]

    def test_a_client_that_has_gone(self, stage: Stage) -> None:
        """Shutting down what the client has reset is no error."""
        request, client = stage.client()
        client.close()
        stage.serving(lambda *_: None).serve(0, request)
        assert outcomes(stage) == [("time", "tcp", request.client, "served", (0, 0))]


class TestDropped:
    """Datagrams that were too long."""

    def test_counted_and_logged(self, stage: Stage) -> None:
        """The log says from whom and how much is allowed; nothing else happens."""
        stage.serving(Shout, transport="udp").drop(1, TooLong("192.0.2.1:7", 100))
        (record,) = stage.log_buffer.records
        assert isinstance(record, LogRecord)
        assert (record.service, record.level) == ("time", "warn")
        assert record.text == "dropped: datagram from 192.0.2.1:7 is longer than 100 bytes"
        assert stage.board.counts() == Counts(dropped=1)
        assert stage.board.active_connections() == []


class TestTogether:
    """Several threads serve at once."""

    def test_each_in_its_lane(self, stage: Stage) -> None:
        """Three connections are active concurrently, and each thread counts in its own lane."""
        inside, seen = threading.Barrier(4), threading.Barrier(4)

        def meet(*_: object) -> None:
            inside.wait(PATIENCE)
            seen.wait(PATIENCE)

        serving = stage.serving(meet)
        clients = [stage.client() for _ in range(3)]
        threads = [
            threading.Thread(target=serving.serve, args=(number, request), daemon=True)
            for number, (request, _) in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        inside.wait(PATIENCE)
        active_connections = stage.board.active_connections()
        seen.wait(PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)
        assert {each.client for each in active_connections} == {
            request.client for request, _ in clients
        }
        assert len({each.id for each in active_connections}) == 3
        assert [lane.served for lane in stage.board.block(0).lanes] == [1, 1, 1]
        assert stage.board.counts() == Counts(served=3)
        for _, client in clients:
            client.close()


class TestDisconnect:
    """A connection that an administrator ends."""

    def test_only_the_one_that_is_meant(self, stage: Stage) -> None:
        """By its ID."""
        entered = threading.Event()

        def wait(request: socket.socket, address: Any, server: Any) -> None:
            entered.set()
            request.recv(100)

        serving = stage.serving(wait)
        request, client = stage.client()
        thread = threading.Thread(target=serving.serve, args=(1, request))
        thread.start()
        with client:
            assert entered.wait(PATIENCE)
            (active_connection,) = stage.board.active_connections()
            serving.disconnect(active_connection.id - 1)
            serving.disconnect(active_connection.id + 1)
            assert thread.is_alive()
            serving.disconnect(active_connection.id)
            thread.join(PATIENCE)
            assert read_all(client) == b""
        said = [record.text for record in stage.log_buffer.records if isinstance(record, LogRecord)]
        assert said == [f"{request.client} tcp: disconnected by an administrator"]
        serving.disconnect(active_connection.id)

    def test_a_datagram_is_no_connection(self, stage: Stage) -> None:
        """Nothing comes of it."""
        ids: list[int] = []

        def handler(request: Any, address: Any, server: Any) -> None:
            ids.extend(one.id for one in stage.board.active_connections())
            serving.disconnect(ids[0])

        serving = stage.serving(handler, transport="udp", server=stage.datagrams)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            serving.serve(0, Request((b"hello", sock), ("192.0.2.1", 5), "192.0.2.1:5", None))
        assert ids
        assert [one for one in stage.log_buffer.records if isinstance(one, LogRecord)] == []
