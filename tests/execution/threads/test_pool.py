"""``netd.execution.threads.pool``: real threads, real sockets, a reactor in a thread of its own."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import pytest

from netd.accept.pause import PAUSE
from netd.execution.interfaces import Service, Source
from netd.execution.recycle import Recycle
from netd.execution.request import Refused, Request, TooLong
from netd.execution.sources.datagram import InetDatagram
from netd.execution.sources.stream import InetStream
from netd.execution.threads.pool import AcceptingThreads
from netd.execution.threads.settings import IDLE_TIME, Bounds, PoolSettings, PoolSources
from netd.model.address import Transport
from tests.reactors import PATIENCE, ThreadReactor

SHORT: Final = 0.02
"""An idle time that passes in a test."""


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A stream socket as a worker inherits it."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        yield listener


def connected(listener: socket.socket) -> socket.socket:
    return socket.create_connection(listener.getsockname(), PATIENCE)


def ask(listener: socket.socket, text: bytes = b"hello\n") -> bytes:
    """Be a client from beginning to end; returns what came back."""
    with connected(listener) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(4096):
        parts.append(part)
    return b"".join(parts)


def echo(request: socket.socket) -> None:
    """Block until the client has said its line, and say it back."""
    request.settimeout(PATIENCE)
    with request.makefile("rb") as lines:
        request.sendall(lines.readline())


class Threaded:
    """What other sources, and other ways to take, ask of a service."""

    def refuse(self, thread: int, refused: Refused) -> None:
        raise NotImplementedError

    def mark_busy(self, thread: int) -> None:
        raise NotImplementedError

    def mark_idle(self, thread: int) -> None:
        raise NotImplementedError

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


class Handlers(Threaded):
    """A service that runs *handle* for each connection, and knows who is inside."""

    def __init__(self, handle: Callable[[socket.socket], None] = echo) -> None:
        self.handle = handle
        self.entered = threading.Semaphore(0)
        self.drops: list[str] = []
        self.most = 0
        self.numbers: set[int] = set()
        self._inside: set[int] = set()
        self._lock = threading.Lock()
        self.expecting: set[int] = set()
        self.admits = True
        self.admitted: Callable[[], None] = lambda: None

    def count_by(self, admitted: Callable[[], None]) -> None:
        self.admitted = admitted

    def mark_busy(self, thread: int) -> None:
        self.expecting.add(thread)

    def mark_idle(self, thread: int) -> None:
        self.expecting.discard(thread)

    def serve(self, thread: int, request: Request) -> None:
        self.expecting.discard(thread)
        if self.admits:
            self.admitted()
        with self._lock:
            assert thread not in self._inside, "two threads have the same number"
            self._inside.add(thread)
            self.numbers.add(thread)
            self.most = max(self.most, len(self._inside))
        self.entered.release()
        try:
            with request.raw:
                self.handle(request.raw)
        finally:
            with self._lock:
                self._inside.discard(thread)

    def drop(self, thread: int, why: TooLong) -> None:
        self.drops.append(str(why))

    def add(self, count: int) -> None:
        """Return when *count* more clients have been inside."""
        for _ in range(count):
            assert self.entered.acquire(timeout=PATIENCE), "a client was not taken"


class Faulty:
    """A listener from which taking fails as *errors* say, one after another."""

    transport = Transport.TCP
    may_block = False

    def __init__(self, listener: socket.socket, *errors: BaseException) -> None:
        self._source = InetStream(listener, Transport.TCP)
        self.errors: Iterator[BaseException] = iter(errors)
        self.failed = threading.Semaphore(0)
        self.takes = 0

    def fileno(self) -> int:
        return self._source.fileno()

    def next_request(self) -> Request:
        self.takes += 1
        for error in self.errors:
            self.failed.release()
            raise error
        return self._source.next_request()

    def add(self, failures: int) -> None:
        for _ in range(failures):
            assert self.failed.acquire(timeout=PATIENCE)


class WatchedThread(threading.Thread):
    """A thread of a pool, which says when it has gone."""

    def __init__(self, pool: Pool, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, daemon=True, **keywords)
        self._owner = pool

    def start(self) -> None:
        if self._owner.limit is not None and len(self._owner.started) >= self._owner.limit:
            self._owner.refusals.release()
            raise RuntimeError("can't start new thread")
        super().start()
        self._owner.started.append(self)

    def run(self) -> None:
        super().run()
        self._owner.gone.release()


class Pool:
    """TakingThreads with everything that happens to them on record."""

    def __init__(
        self,
        reactor: ThreadReactor,
        sources: Mapping[Source, Service],
        maximum: int,
        idle_time: float,
        limit: int | None,
        bounds: Bounds | None,
    ) -> None:
        self.reactor = reactor
        self.limit = limit
        """Threads that the system allows."""
        self.started: list[WatchedThread] = []
        self.refusals = threading.Semaphore(0)
        self.gone = threading.Semaphore(0)
        self.said: list[tuple[str, str]] = []
        self.stopped = threading.Event()
        self.stops = 0
        settings = PoolSettings("test", maximum, self._thread, idle_time, bounds)
        self.threads = AcceptingThreads(settings, PoolSources(sources), reactor, self._say)
        reactor.run(self.threads.start)

    def _say(self, level: str, text: str) -> None:
        self.said.append((level, text))

    def _thread(self, *args: Any, **keywords: Any) -> WatchedThread:
        return WatchedThread(self, *args, **keywords)

    def _end(self) -> None:
        assert self.reactor.is_here()
        self.stops += 1
        self.stopped.set()

    def stop(self) -> None:
        """Tell it to stop, without waiting."""
        self.reactor.run(self.threads.stop, self._end)

    def wait_until_one_is_idle(self) -> None:
        """Return when a thread is idle and nobody looks any more, a client being inside."""
        while self.reactor.run(lambda: self.threads.sizing.is_looking):
            self.reactor.let_pass(0.02)

    def alive(self) -> int:
        return sum(thread.is_alive() for thread in self.started)

    def wait_for_leavers(self, count: int) -> None:
        """Return when *count* more threads have gone."""
        for _ in range(count):
            assert self.gone.acquire(timeout=PATIENCE), "a thread stayed"

    def end(self) -> None:
        """Stop if nobody has, and see that nothing is left."""
        if not self.threads.sizing.is_stopping:
            self.stop()
        assert self.stopped.wait(PATIENCE)
        for thread in self.started:
            thread.join(PATIENCE)
        assert self.alive() == 0
        assert self.stops == 1


@contextmanager
def pool(
    sources: Mapping[Source, Service],
    maximum: int = 16,
    idle_time: float = IDLE_TIME,
    limit: int | None = None,
    bounds: Bounds | None = None,
) -> Iterator[Pool]:
    """A pool that has begun; stopped at the end, when the test has let all handlers go."""
    with ThreadReactor() as reactor:
        made = Pool(reactor, sources, maximum, idle_time, limit, bounds)
        yield made
        made.end()


def stream(listener: socket.socket) -> InetStream:
    return InetStream(listener, Transport.TCP)


class TestTaking:
    """A client is taken as soon as there is a thread for it."""

    def test_one_client(self) -> None:
        """What is taken is served, and nothing is said about it."""
        with listening() as listener, pool({stream(listener): Handlers()}) as threads:
            assert ask(listener) == b"hello\n"
            assert threads.said == []

    def test_rearmed_before_serving(self) -> None:
        """A second client is taken and served while the first one's handler blocks."""
        handlers = Handlers()
        with (
            listening() as listener,
            pool({stream(listener): handlers}),
            connected(listener) as first,
        ):
            handlers.add(1)
            assert ask(listener, b"second\n") == b"second\n"
            first.sendall(b"first\n")
            assert read_all(first) == b"first\n"

    def test_one_thread_serves_all_in_turn(self) -> None:
        """With one thread, clients wait in the backlog and each is served in its turn."""
        handlers = Handlers()
        with listening() as listener, pool({stream(listener): handlers}, maximum=1):
            clients = [connected(listener) for _ in range(20)]
            for number, client in enumerate(clients):
                with client:
                    client.sendall(b"%d\n" % number)
                    assert read_all(client) == b"%d\n" % number
            assert handlers.most == 1

    def test_each_source_has_its_service(self) -> None:
        """What comes from a source goes to the service that stands beside it."""
        shouting = Handlers(lambda request: request.sendall(b"loud\n"))
        with (
            listening() as quiet,
            listening() as loud,
            pool({stream(quiet): Handlers(), stream(loud): shouting}),
        ):
            for _ in range(5):
                assert ask(quiet) == b"hello\n"
                with connected(loud) as client:
                    assert read_all(client) == b"loud\n"

    def test_a_busy_source_does_not_starve_another(self) -> None:
        """With one thread and a queue at one source, the other source's client gets its turn."""
        first, second = Handlers(), Handlers()
        with ExitStack() as stack:
            here, there = (stack.enter_context(listening()) for _ in range(2))
            with pool({stream(here): first, stream(there): second}, maximum=1):
                clients = [stack.enter_context(connected(here)) for _ in range(10)]
                first.add(1)
                with connected(there) as other:
                    other.sendall(b"me\n")
                    clients[0].sendall(b"0\n")
                    clients[1].sendall(b"1\n")
                    assert read_all(other) == b"me\n"
                for client in clients[2:]:
                    client.sendall(b"more\n")
                    assert read_all(client) == b"more\n"

    def test_too_long_a_datagram(self) -> None:
        """It is reported to its service, and the next datagram is served."""
        served = threading.Event()
        drops: list[str] = []

        class Datagrams(Threaded):
            def serve(self, thread: int, request: Request) -> None:
                assert request.raw[0] == b"short"
                served.set()

            def drop(self, thread: int, why: TooLong) -> None:
                drops.append(str(why))

        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind(("127.0.0.1", 0))
            source = InetDatagram(receiver, Transport.UDP, receiver, limit=5)
            with pool({source: Datagrams()}, maximum=1):
                sender.connect(receiver.getsockname())
                sender.send(b"longer")
                sender.send(b"short")
                assert served.wait(PATIENCE)
            port = sender.getsockname()[1]
            assert drops == [f"datagram from 127.0.0.1:{port} is longer than 5 bytes"]


class TestGrowth:
    """There are as many threads as the handlers need, within the bound."""

    def test_handlers_that_block(self) -> None:
        """Every client has a thread although no handler returns before all are inside."""
        barrier = threading.Barrier(30)

        def meet(request: socket.socket) -> None:
            barrier.wait(PATIENCE)
            echo(request)

        handlers = Handlers(meet)
        with listening() as listener, pool({stream(listener): handlers}, maximum=30):
            clients = [connected(listener) for _ in range(30)]
            for client in clients:
                with client:
                    client.sendall(b"in\n")
                    assert read_all(client) == b"in\n"
        assert handlers.numbers == set(range(30))

    def test_never_above_the_maximum(self) -> None:
        """Further clients wait, however long the handlers take, and are served after them."""
        handlers = Handlers()
        with listening() as listener, pool({stream(listener): handlers}, maximum=3) as threads:
            clients = [connected(listener) for _ in range(7)]
            handlers.add(3)
            threads.reactor.let_pass(0.1)
            assert threads.alive() == 3
            assert not handlers.entered.acquire(blocking=False)
            for client in clients:
                with client:
                    client.sendall(b"x\n")
                    assert read_all(client) == b"x\n"
            assert handlers.most == 3

    def test_not_more_than_is_needed(self) -> None:
        """One idle thread is enough: nobody looks on, and nothing is added, while there is one."""
        handlers = Handlers()
        with (
            listening() as listener,
            pool({stream(listener): handlers}, maximum=50) as threads,
            connected(listener) as client,
        ):
            handlers.add(1)
            threads.wait_until_one_is_idle()
            started = len(threads.started)
            assert 2 <= started < 50
            threads.reactor.let_pass(0.1)
            assert len(threads.started) == started
            client.sendall(b"x\n")
            assert read_all(client) == b"x\n"

    def test_the_system_allows_no_more_threads(self) -> None:
        """It is said once, those there are go on, and more are started when they can be."""
        handlers = Handlers()
        with (
            listening() as listener,
            pool({stream(listener): handlers}, limit=1) as threads,
            connected(listener) as first,
            connected(listener) as second,
        ):
            for _ in range(3):
                assert threads.refusals.acquire(timeout=PATIENCE)
            assert threads.said == [("warn", "cannot start another thread: can't start new thread")]
            # Twisted's pool keeps what could not be started; it would pile up.
            assert threads.reactor.run(lambda: len(threads.threads.sizing._pool.threads)) == 1
            threads.limit = None
            handlers.add(2)
            for client in (first, second):
                client.sendall(b"x\n")
                assert read_all(client) == b"x\n"

    def test_no_thread_at_the_start(self) -> None:
        """A service that could not start its first thread tries again until it can."""
        with listening() as listener, pool({stream(listener): Handlers()}, limit=0) as threads:
            for _ in range(3):
                assert threads.refusals.acquire(timeout=PATIENCE)
            assert len(threads.said) == 1
            threads.limit = None
            assert ask(listener) == b"hello\n"


class TestRetirement:
    """Threads that are not needed leave, those that are stay."""

    def test_idle_threads_leave(self) -> None:
        """All but one are given back to the system, and the last one serves."""
        barrier = threading.Barrier(6)
        handlers = Handlers(lambda request: void(barrier.wait(PATIENCE)))
        with listening() as listener, pool({stream(listener): handlers}, 6, SHORT) as threads:
            clients = [connected(listener) for _ in range(6)]
            for client in clients:
                with client:
                    assert read_all(client) == b""
            threads.wait_for_leavers(len(threads.started) - 1)
            handlers.handle = echo
            assert ask(listener) == b"hello\n"

    def test_the_last_one_stays(self) -> None:
        """A service that nobody uses keeps one thread, and that thread waits without end."""
        with listening() as listener, pool({stream(listener): Handlers()}, 4, SHORT) as threads:
            threads.reactor.let_pass(10 * SHORT)
            assert threads.alive() == 1
            assert ask(listener) == b"hello\n"
            assert len(threads.started) == 1

    def test_not_while_all_others_are_busy(self) -> None:
        """The only idle thread stays while a handler runs on, and takes the next client."""
        handlers = Handlers()
        with (
            listening() as listener,
            pool({stream(listener): handlers}, 8, SHORT) as threads,
            connected(listener) as busy,
        ):
            handlers.add(1)
            assert ask(listener) == b"hello\n"
            assert not threads.gone.acquire(timeout=10 * SHORT)
            for _ in range(5):
                assert ask(listener) == b"hello\n"
            busy.sendall(b"bye\n")
            assert read_all(busy) == b"bye\n"

    def test_all_idle_but_one_leave_beside_a_busy_one(self) -> None:
        """Of several idle threads one remains beside a handler that runs on."""
        barrier = threading.Barrier(6)

        def meet(request: socket.socket) -> None:
            barrier.wait(PATIENCE)
            echo(request)

        handlers = Handlers(meet)
        with listening() as listener, pool({stream(listener): handlers}, 6, SHORT) as threads:
            clients = [connected(listener) for _ in range(6)]
            handlers.add(6)
            for client in clients[1:]:
                with client:
                    client.sendall(b"bye\n")
                    assert read_all(client) == b"bye\n"
            threads.wait_for_leavers(len(threads.started) - 2)
            handlers.handle = echo
            assert ask(listener) == b"hello\n"
            with clients[0] as busy:
                busy.sendall(b"bye\n")
                assert read_all(busy) == b"bye\n"

    def test_numbers_are_used_again(self) -> None:
        """Threads that come after others have left take their slots, not further ones."""
        handlers = Handlers()
        with listening() as listener, pool({stream(listener): handlers}, 3, SHORT) as threads:
            for _ in range(5):
                before = len(threads.started)
                clients = [connected(listener) for _ in range(3)]
                handlers.add(3)
                for client in clients:
                    with client:
                        client.sendall(b"x\n")
                        assert read_all(client) == b"x\n"
                threads.wait_for_leavers(len(threads.started) - max(before, 1))
            assert handlers.numbers <= {0, 1, 2}
            assert threads.alive() == 1

    def test_one_that_is_to_leave(self) -> None:
        """A thread that was too many leaves after its client, and the next client is served."""
        handlers = Handlers()
        with listening() as listener, pool({stream(listener): handlers}, 4) as threads:
            clients = [connected(listener) for _ in range(2)]
            handlers.add(2)
            threads.reactor.run(self._take_back, threads, 2)
            for client in clients:
                with client:
                    client.sendall(b"x\n")
                    assert read_all(client) == b"x\n"
            threads.wait_for_leavers(1)
            assert ask(listener) == b"hello\n"

    def test_the_only_idle_one_is_to_leave(self) -> None:
        """A thread that leaves without having taken anything leaves nobody behind a busy one."""
        handlers = Handlers()
        with listening() as listener:
            source = Faulty(listener)
            with pool({source: handlers}, 2) as threads, connected(listener) as busy:
                handlers.add(1)
                threads.wait_until_one_is_idle()
                threads.reactor.run(self._take_back, threads, 1)
                # It wakes for a client that another process takes.
                source.errors = iter([BlockingIOError(errno.EAGAIN, "gone")])
                assert ask(listener) == b"hello\n"
                assert source.takes >= 3
                busy.sendall(b"bye\n")
                assert read_all(busy) == b"bye\n"

    @staticmethod
    def _take_back(threads: Pool, count: int) -> None:
        with threads.threads.sizing._lock:
            threads.threads.sizing._surplus += count


class TestStop:
    """``stop`` takes nobody more and waits for those inside."""

    def test_idle(self) -> None:
        """Threads that wait leave at once, and ``stopped`` is called once, by the reactor."""
        with listening() as listener, pool({stream(listener): Handlers()}) as threads:
            threads.stop()
            assert threads.stopped.wait(PATIENCE)
            threads.wait_for_leavers(1)

    def test_waits_for_handlers(self) -> None:
        """``stopped`` is called when the last of the running handlers has returned."""
        handlers = Handlers()
        with listening() as listener, pool({stream(listener): handlers}) as threads:
            clients = [connected(listener) for _ in range(3)]
            handlers.add(3)
            threads.stop()
            for client in clients:
                threads.reactor.let_pass(0.05)
                assert not threads.stopped.is_set()
                with client:
                    client.sendall(b"bye\n")
                    assert read_all(client) == b"bye\n"
            assert threads.stopped.wait(PATIENCE)

    def test_takes_nobody_more(self) -> None:
        """Who comes after a stop stays in the backlog, for the next generation of workers."""
        handlers = Handlers()
        with (
            listening() as listener,
            pool({stream(listener): handlers}) as threads,
            connected(listener) as busy,
        ):
            handlers.add(1)
            threads.stop()
            with connected(listener) as late:
                busy.sendall(b"bye\n")
                assert read_all(busy) == b"bye\n"
                assert threads.stopped.wait(PATIENCE)
                assert not handlers.entered.acquire(blocking=False)
                accepted, _ = listener.accept()
                with accepted:
                    assert accepted.getpeername() == late.getsockname()

    def test_a_thread_that_is_taking(self) -> None:
        """One that is between its event and the re-arming finds nothing to arm, and serves."""
        at_it, go_on = threading.Event(), threading.Event()

        class Slow(Faulty):
            def next_request(self) -> Request:
                request = super().next_request()
                at_it.set()
                assert go_on.wait(PATIENCE)
                return request

        with listening() as listener, pool({Slow(listener): Handlers()}) as threads:
            with connected(listener) as client:
                assert at_it.wait(PATIENCE)
                threads.stop()
                go_on.set()
                client.sendall(b"x\n")
                assert read_all(client) == b"x\n"
            assert threads.stopped.wait(PATIENCE)
            assert threads.said == []

    def test_a_source_that_is_paused(self) -> None:
        """The end of its pause re-arms nothing."""
        with listening() as listener:
            source = Faulty(listener, OSError(errno.EMFILE, "Too many open files"))
            with pool({source: Handlers()}) as threads, connected(listener):
                source.add(1)
                threads.stop()
                threads.reactor.let_pass(2 * PAUSE)
                assert source.takes == 1

    def test_no_thread(self) -> None:
        """A pool that could not start a thread has stopped as soon as it is told."""
        with listening() as listener, pool({stream(listener): Handlers()}, limit=0) as threads:
            threads.stop()
            assert threads.stopped.wait(PATIENCE)
            threads.reactor.let_pass(2 * PAUSE)
            assert threads.started == []

    def test_a_descriptor_that_a_handler_closed(self) -> None:
        """A stray ``os.close`` costs the listener, but the worker still comes to its end."""
        with listening() as listener, pool({stream(listener): Handlers()}) as threads:
            assert ask(listener) == b"hello\n"
            os.close(listener.fileno())
            threads.stop()
            assert threads.stopped.wait(PATIENCE)
            listener.detach()


class TestErrors:
    """Nothing that goes wrong when taking ends the service, or makes it spin."""

    @pytest.mark.parametrize("at_once", [1, 2])
    def test_out_of_descriptors(self, at_once: int) -> None:
        """Each failure is followed by a pause; the log has one line for all, and one at the end.

        From a source that may block both threads take at once, and both fail.
        """
        with listening() as listener:
            errors = [OSError(errno.EMFILE, "No more") for _ in range(3 * at_once)]
            source = Faulty(listener, *errors)
            source.may_block = at_once > 1
            with pool({source: Handlers()}, maximum=2) as threads:
                began = threads.reactor.seconds()
                assert ask(listener) == b"hello\n"
                assert threads.reactor.seconds() - began >= 3 * PAUSE
                assert source.takes <= len(errors) + 2 * at_once
            assert threads.said == [
                (
                    "error",
                    "out of descriptors or memory, connections wait in the backlog: "
                    "[Errno 24] No more",
                ),
                ("info", "accepting again"),
            ]

    @pytest.mark.parametrize(
        "code", [errno.ECONNABORTED, errno.EAGAIN, errno.EPROTO, errno.ENETDOWN]
    )
    def test_a_client_that_gave_up(self, code: int) -> None:
        """Its error is nobody's, and the next client is taken without a pause."""
        with listening() as listener:
            source = Faulty(listener, *(OSError(code, os.strerror(code)) for _ in range(20)))
            with pool({source: Handlers()}) as threads:
                assert ask(listener) == b"hello\n"
            assert threads.said == []

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError("none left"),
            RuntimeError("none left"),
            TimeoutError("none left"),
            OSError(errno.EBADF, "none left"),
            SystemExit("none left"),
        ],
        ids=repr,
    )
    def test_an_unexpected_error(self, error: BaseException) -> None:
        """The source is not lost: taking is tried again, and it is said that it works."""
        with listening() as listener:
            with pool({Faulty(listener, error): Handlers()}, maximum=1) as threads:
                assert ask(listener) == b"hello\n"
            (level, text), rearm = threads.said
            assert level == "error"
            assert text.startswith("cannot accept, connections wait in the backlog: ")
            assert text.endswith("none left")
            assert rearm == ("info", "accepting again")

    def test_said_again_after_it_worked(self) -> None:
        """A second shortage is another event, with lines of its own."""
        with listening() as listener:
            source = Faulty(listener, OSError(errno.ENFILE, "full"))
            with pool({source: Handlers()}) as threads:
                assert ask(listener) == b"hello\n"
                source.errors = iter([OSError(errno.ENFILE, "full")])
                assert ask(listener) == b"hello\n"
            assert [level for level, _ in threads.said] == ["error", "info"] * 2

    def test_one_source_fails_and_another_works(self) -> None:
        """Clients of the other source are served and do not make the log say that all is well."""
        with listening() as broken, listening() as sound:
            bad = Faulty(broken, *(OSError(errno.EMFILE, "No more") for _ in range(4)))
            with (
                pool({bad: Handlers(), stream(sound): Handlers()}) as threads,
                connected(broken) as patient,
            ):
                for failures in range(4):
                    bad.add(1)
                    assert ask(sound) == b"hello\n"
                    assert len(threads.said) == 1, failures
                patient.sendall(b"x\n")
                assert read_all(patient) == b"x\n"
            assert [level for level, _ in threads.said] == ["error", "info"]

    def test_the_client_has_gone_when_there_are_descriptors_again(self) -> None:
        """Finding nobody proves as well that taking works."""
        with listening() as listener:
            gone = [OSError(errno.EMFILE, "No more"), BlockingIOError(errno.EAGAIN, "nobody")]
            source = Faulty(listener, *gone)
            with pool({source: Handlers()}) as threads:
                assert ask(listener) == b"hello\n"
            assert [level for level, _ in threads.said] == ["error", "info"]

    @pytest.mark.parametrize("error", [MemoryError(), SystemExit(), ZeroDivisionError()], ids=repr)
    def test_serving_that_raises(self, error: BaseException) -> None:
        """It promises not to; if it does, its thread goes on, and stops like any other."""
        errors = iter([error])

        def stumble(request: socket.socket) -> None:
            for each in errors:
                raise each
            echo(request)

        with listening() as listener:
            with pool({stream(listener): Handlers(stumble)}, maximum=1) as threads:
                with connected(listener) as first:
                    assert read_all(first) == b""
                assert ask(listener) == b"hello\n"
            ((level, text),) = threads.said
            assert level == "error"
            assert text.startswith(f"a thread goes on after {type(error).__name__}\n")
            assert type(error).__name__ in text


class TestNobodyStranded:
    """Bursts of clients against handlers that block until their client speaks."""

    @pytest.mark.parametrize("idle_time", [IDLE_TIME, 0.001])
    def test_bursts(self, idle_time: float) -> None:
        """Every client of every burst is taken while all others of the burst are inside."""
        handlers = Handlers()
        size = 24
        with (
            listening() as listener,
            pool({stream(listener): handlers}, size, idle_time) as threads,
        ):
            for burst in range(26):
                clients = [connected(listener) for _ in range(size - burst % 3)]
                handlers.add(len(clients))
                for client in reversed(clients):
                    with client:
                        client.sendall(b"%d\n" % burst)
                        assert read_all(client) == b"%d\n" % burst
            assert threads.said == []

    def test_one_by_one_beside_threads_that_retire(self) -> None:
        """Again and again one client stays, the idle threads may leave meanwhile, others come."""
        handlers = Handlers()
        with listening() as listener, pool({stream(listener): handlers}, 8, 0.001) as threads:
            for _ in range(100):
                with ExitStack() as burst:
                    clients = []
                    for _ in range(3):
                        clients.append(burst.enter_context(connected(listener)))
                        handlers.add(1)
                        threads.reactor.let_pass(0.003)
                    for client in clients:
                        client.sendall(b"x\n")
                        assert read_all(client) == b"x\n"

    def test_several_sources_and_impatient_clients(self) -> None:
        """Clients that give up, at several sources at once, hold up nobody who stays."""
        handlers = Handlers()
        with ExitStack() as stack:
            listeners = [stack.enter_context(listening()) for _ in range(3)]
            stack.enter_context(pool({stream(each): handlers for each in listeners}, 12, 0.001))
            for _ in range(30):
                for listener in listeners:
                    connected(listener).close()
                with ExitStack() as burst:
                    clients = [burst.enter_context(connected(each)) for each in listeners * 3]
                    handlers.add(len(listeners) * 4)
                    for client in clients:
                        client.sendall(b"x\n")
                        assert read_all(client) == b"x\n"

    def test_trials_that_take_threads_back(self) -> None:
        """Handlers that compute make the pool shrink under load, and all clients are served."""

        def compute(request: socket.socket) -> None:
            sum(range(20_000))
            echo(request)

        handlers = Handlers(compute)
        failures: list[BaseException] = []

        def be_clients(listener: socket.socket) -> None:
            try:
                for number in range(60):
                    assert ask(listener, b"%d\n" % number) == b"%d\n" % number
            except BaseException as error:
                failures.append(error)

        with listening() as listener, pool({stream(listener): handlers}, 8, 0.001):
            clients = [
                threading.Thread(target=be_clients, args=(listener,), daemon=True)
                for _ in range(10)
            ]
            for client in clients:
                client.start()
            for client in clients:
                client.join(PATIENCE)
            assert failures == []
            assert not any(client.is_alive() for client in clients)


def void(_: object) -> None:
    """Make a handler of a call that returns something."""


class Hanging(Handlers):
    """Handlers that echo; one that is asked to hangs until the test lets it go."""

    def __init__(self) -> None:
        super().__init__(self._handle)
        self.let_go = threading.Event()
        self.hung: list[int] = []
        self.was_told = threading.Semaphore(0)
        self.lost_threads: list[int] = []

    def take_away(self, request: socket.socket) -> int:
        return request.detach()

    def lost(self, thread: int) -> None:
        self.lost_threads.append(thread)

    def tell(self, threads: int) -> None:
        """So many do not come back."""
        self.hung.append(threads)
        self.was_told.release()

    def bounds(self, spare: int, recycle: Recycle | None = None) -> Bounds:
        return Bounds(SHORT, recycle, spare, self.tell)

    def _handle(self, request: socket.socket) -> None:
        request.settimeout(PATIENCE)
        line = request.recv(100)
        if line == b"hang\n":
            assert self.let_go.wait(PATIENCE)
        with suppress(OSError):
            request.sendall(line)

    def wait_until_told(self) -> None:
        assert self.was_told.acquire(timeout=PATIENCE)


class TestWritingOff:
    """A handler that does not come back costs its client and a spare thread."""

    def test_another_takes_its_place(self) -> None:
        """All the others serve on, as many at once as before."""
        handlers = Hanging()
        with (
            listening() as listener,
            pool(
                {stream(listener): handlers}, maximum=2, bounds=handlers.bounds(spare=2)
            ) as threads,
        ):
            for number in (1, 2):
                assert ask(listener, b"hang\n") == b""
                handlers.wait_until_told()
                assert handlers.hung == list(range(1, number + 1))
                assert ask(listener) == b"hello\n"
            assert len(set(handlers.lost_threads)) == 2
            assert [level for level, _ in threads.said] == ["error", "error"]
            handlers.let_go.set()

    def test_one_that_comes_back_leaves(self) -> None:
        """Its place has been given away; its number is used again."""
        handlers = Hanging()
        with (
            listening() as listener,
            pool(
                {stream(listener): handlers}, maximum=2, bounds=handlers.bounds(spare=1)
            ) as threads,
        ):
            assert ask(listener, b"hang\n") == b""
            handlers.wait_until_told()
            handlers.let_go.set()
            threads.wait_for_leavers(1)
            handlers.let_go.clear()
            # With one spare number there is none left, unless that one came back.
            assert ask(listener, b"hang\n") == b""
            handlers.wait_until_told()
            assert handlers.hung == [1, 1]
            assert ask(listener) == b"hello\n"
            handlers.let_go.set()

    def test_a_stop_does_not_wait_for_it(self) -> None:
        """It ends with the process."""
        handlers = Hanging()
        with (
            listening() as listener,
            pool(
                {stream(listener): handlers}, maximum=2, bounds=handlers.bounds(spare=1)
            ) as threads,
        ):
            assert ask(listener, b"hang\n") == b""
            handlers.wait_until_told()
            threads.stop()
            assert threads.stopped.wait(PATIENCE)
            handlers.let_go.set()

    def test_one_that_is_alone(self) -> None:
        """Nobody takes its place: it is told, and its process is ended by others."""
        handlers = Hanging()
        with (
            listening() as listener,
            pool(
                {stream(listener): handlers}, maximum=1, bounds=handlers.bounds(spare=0)
            ) as threads,
        ):
            assert ask(listener, b"hang\n") == b""
            handlers.wait_until_told()
            assert handlers.hung == [1]
            assert len(threads.started) == 1
            handlers.let_go.set()


class TestWear:
    """The last request that a process may take."""

    def test_one_thread_takes_no_more(self) -> None:
        """Not even when it is told to go on: that is for its successor."""
        worn: list[str] = []
        bounds = Bounds(None, Recycle(2, None, worn.append, lambda: 0.0), 0, lambda _: None)
        with (
            listening() as listener,
            pool({stream(listener): Handlers()}, maximum=1, bounds=bounds) as threads,
        ):
            assert [ask(listener) for _ in range(2)] == [b"hello\n"] * 2
            threads.reactor.run(threads.threads.resume)
            with connected(listener) as late:
                late.sendall(b"hello\n")
                late.settimeout(5 * SHORT)
                with pytest.raises(TimeoutError):
                    late.recv(1)
        assert len(worn) == 1

    def test_many_take_on_until_they_are_stopped(self) -> None:
        """Nobody waits for a successor that takes long to come."""
        worn: list[str] = []
        bounds = Bounds(None, Recycle(2, None, worn.append, lambda: 0.0), 0, lambda _: None)
        with (
            listening() as listener,
            pool({stream(listener): Handlers()}, maximum=4, bounds=bounds),
        ):
            assert [ask(listener) for _ in range(5)] == [b"hello\n"] * 5
        assert len(worn) == 1

    def test_only_those_count_that_are_admitted(self) -> None:
        worn: list[str] = []
        bounds = Bounds(None, Recycle(2, None, worn.append, lambda: 0.0), 0, lambda _: None)
        handlers = Handlers()
        handlers.admits = False
        with (
            listening() as listener,
            pool({stream(listener): handlers}, maximum=1, bounds=bounds),
        ):
            assert [ask(listener) for _ in range(5)] == [b"hello\n"] * 5
            handlers.admits = True
            assert [ask(listener) for _ in range(2)] == [b"hello\n"] * 2
        assert worn == ["has taken 2 requests"]


class TestTheLastWakeUp:
    """An event that only this process has heard of (EPOLLEXCLUSIVE) is not lost with it."""

    def test_one_that_is_alone_takes_once_more(self) -> None:
        """Who came while it was told to stop is served; who comes later is left to others."""
        inside, go_on = threading.Event(), threading.Event()

        def handle(request: socket.socket) -> None:
            echo(request)
            inside.set()
            assert go_on.wait(PATIENCE)

        with (
            listening() as listener,
            pool({stream(listener): Handlers(handle)}, maximum=1) as threads,
            connected(listener) as first,
        ):
            first.sendall(b"x\n")
            assert inside.wait(PATIENCE)
            with connected(listener) as second, connected(listener) as third:
                second.sendall(b"y\n")
                threads.stop()
                go_on.set()
                assert threads.stopped.wait(PATIENCE)
                assert second.recv(10) == b"y\n"
                third.settimeout(0.01)
                with pytest.raises(TimeoutError):
                    third.recv(10)

    def test_not_while_it_is_suspended(self) -> None:
        """Then its clients wait for those that come after it."""
        with listening() as listener, pool({stream(listener): Handlers()}, maximum=1) as threads:
            threads.reactor.run(threads.threads.suspend)
            with connected(listener) as client:
                client.sendall(b"x\n")
                threads.stop()
                assert threads.stopped.wait(PATIENCE)
                client.settimeout(0.01)
                with pytest.raises(TimeoutError):
                    client.recv(10)
