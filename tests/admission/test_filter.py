"""``netd.admission.filter.RequestFilter``: a user's function, asked by a thread."""

from __future__ import annotations

import concurrent.futures
import gc
import socket
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks, succeed
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from netd.admission.filter import RAISED, REFUSED, TOO_SLOW, RequestFilter
from netd.execution.tracebacks import user_traceback
from tests.reactors import PATIENCE, ThreadReactor

SOON = 0.05
"""A deadline that a test waits for."""

ADDRESS = ("192.0.2.1", 4711)
CLIENT = "192.0.2.1:4711"
DATAGRAM = (b"data", None)


@dataclass
class Asking:
    """What a filter is made of, and what it reported."""

    reactor: ThreadReactor
    reported: list[tuple[str, BaseException]] = field(default_factory=list)
    """By the thread that asked."""
    overdue: list[tuple[str, BaseException]] = field(default_factory=list)
    """By the reactor, about functions that had not come back at their deadline."""

    def filter(
        self, function: Callable[[Any, Any], Any], timeout: float = PATIENCE, hang_up: bool = True
    ) -> RequestFilter:
        return RequestFilter(function, timeout, self.reactor, self._report, hang_up)

    def ask(
        self,
        function: Callable[[Any, Any], Any],
        timeout: float = PATIENCE,
        request: Any = DATAGRAM,
    ) -> str | None:
        return self.filter(function, timeout).refuses(request, ADDRESS, CLIENT)

    def _report(self, client: str, error: BaseException) -> None:
        (self.overdue if self.reactor.is_here() else self.reported).append((client, error))


@pytest.fixture
def asking() -> Iterator[Asking]:
    """A reactor that runs; at the end, nothing may have been logged as unhandled."""
    failures: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.warn:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        with ThreadReactor() as reactor:
            yield Asking(reactor)
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(observe)
    assert failures == []


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: what the filter is asked about, and the client's end."""
    here, there = socket.socketpair()
    with here, there:
        there.settimeout(PATIENCE)
        yield here, there


Ends = tuple[socket.socket, socket.socket]


def plain(verdict: Any) -> Callable[[Any, Any], Any]:
    return lambda request, address: verdict


def asynchronous(verdict: Any) -> Callable[[Any, Any], Any]:
    async def function(request: Any, address: Any) -> Any:
        return verdict

    return function


def raising(error: BaseException) -> Callable[[Any, Any], Any]:
    def function(request: Any, address: Any) -> bool:
        raise error

    return function


def raising_asynchronously(error: BaseException) -> Callable[[Any, Any], Any]:
    async def function(request: Any, address: Any) -> bool:
        raise error

    return function


KINDS = pytest.mark.parametrize("kind", [plain, asynchronous])
RAISING_KINDS = pytest.mark.parametrize("kind", [raising, raising_asynchronously])
ERRORS = pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        OSError("no"),
        TimeoutError("not the deadline"),
        concurrent.futures.CancelledError("nor a cancellation of netd's"),
        CancelledError("no"),
        SystemExit("no"),
        KeyboardInterrupt("no"),
        GeneratorExit("no"),
        BaseException("no"),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)


class Undecided:
    """A verdict that is neither true nor false."""

    def __bool__(self) -> bool:
        raise ValueError("who knows")


class TestVerdict:
    """What the function returns decides."""

    @KINDS
    @pytest.mark.parametrize("verdict", [True, 1, "yes", [0], object(), ValueError("returned")])
    def test_admitted(self, asking: Asking, kind: Callable[..., Any], verdict: object) -> None:
        """Whatever is true admits, as in ``socketserver``."""
        assert asking.ask(kind(verdict)) is None
        assert asking.reported == []

    @KINDS
    @pytest.mark.parametrize("verdict", [False, None, 0, "", []])
    def test_refused(self, asking: Asking, kind: Callable[..., Any], verdict: object) -> None:
        """Whatever is false refuses, also a function that returns nothing."""
        assert asking.ask(kind(verdict)) == REFUSED
        assert asking.reported == []

    @KINDS
    def test_neither(self, asking: Asking, kind: Callable[..., Any]) -> None:
        """A verdict that raises when it is looked at is a filter that raises."""
        assert asking.ask(kind(Undecided())) == RAISED
        ((_, error),) = asking.reported
        assert str(error) == "who knows"

    def test_what_it_is_asked(self, asking: Asking, ends: Ends) -> None:
        """It gets the request and the address as ``verify_request`` does."""
        seen: list[Any] = []

        def function(*arguments: Any) -> bool:
            seen.extend(arguments)
            return True

        asking.filter(function).refuses(ends[0], ADDRESS, CLIENT)
        assert seen == [ends[0], ADDRESS]

    def test_where_it_runs(self, asking: Asking) -> None:
        """A plain function runs in the thread that asks, an ``async`` one in the reactor's."""
        seen: list[bool] = []

        def here(request: Any, address: Any) -> bool:
            seen.append(asking.reactor.is_here())
            return True

        async def there(request: Any, address: Any) -> bool:
            return here(request, address)

        asking.ask(here)
        asking.ask(there)
        assert seen == [False, True]


class TestAwaiting:
    """Functions that take their time in the reactor, within the deadline."""

    def test_a_deferred_awaited(self, asking: Asking) -> None:
        """An ``async`` function may await Deferreds."""

        async def function(request: Any, address: Any) -> bool:
            later: Deferred[bool] = Deferred()
            asking.reactor.callLater(0.01, later.callback, True)
            return await later

        assert asking.ask(function) is None

    @pytest.mark.parametrize(("verdict", "reason"), [(True, None), (False, REFUSED)])
    def test_a_deferred_returned(self, asking: Asking, verdict: bool, reason: str | None) -> None:
        """So may a plain function that returns one, which fires later."""

        def function(request: Any, address: Any) -> Deferred[bool]:
            later: Deferred[bool] = Deferred()
            asking.reactor.callFromThread(asking.reactor.callLater, 0.01, later.callback, verdict)
            return later

        assert asking.ask(function) == reason

    def test_a_deferred_that_has_fired(self, asking: Asking) -> None:
        """One that has its result already is as good."""
        assert asking.ask(lambda *_: succeed(True)) is None
        assert asking.ask(lambda *_: succeed(False)) == REFUSED

    def test_a_deferred_that_failed(self, asking: Asking) -> None:
        """A failure is an exception, and nobody complains that it was not handled."""
        error = ValueError("no")
        assert asking.ask(lambda *_: fail(error)) == RAISED
        assert asking.reported == [(CLIENT, error)]

    def test_inline_callbacks(self, asking: Asking) -> None:
        """Twisted's older way to write it works as well."""

        @inlineCallbacks
        def function(request: Any, address: Any) -> Generator[Deferred[bool], bool, bool]:
            verdict = yield succeed(True)
            return verdict

        assert asking.ask(function) is None

    def test_any_awaitable(self, asking: Asking) -> None:
        """An object that can be awaited is, rather than being true by itself."""

        class Answer:
            def __await__(self) -> Generator[Any, Any, bool]:
                return succeed(False).__await__()

        def function(request: Any, address: Any) -> Awaitable[bool]:
            return Answer()

        assert asking.ask(function) == REFUSED

    def test_several_at_once(self, asking: Asking) -> None:
        """Threads that ask at the same time do not wait for each other."""
        together = 8
        waiting: list[Deferred[bool]] = []

        async def function(request: Any, address: Any) -> bool:
            mine: Deferred[bool] = Deferred()
            waiting.append(mine)
            if len(waiting) == together:
                for number, each in enumerate(waiting):
                    each.callback(number % 2 == 0)
            return await mine

        asked = asking.filter(function)
        with concurrent.futures.ThreadPoolExecutor(together) as pool:
            reasons = list(
                pool.map(lambda n: asked.refuses((b"", n), ADDRESS, CLIENT), range(together))
            )
        assert sorted(reasons, key=str) == [None] * 4 + [REFUSED] * 4


class TestRaising:
    """An exception refuses its client, is reported, and ends nothing else."""

    @RAISING_KINDS
    @ERRORS
    def test_everything(
        self, asking: Asking, kind: Callable[..., Any], error: BaseException
    ) -> None:
        """Whatever it is, it is told as it is, and the next client is asked about."""
        assert asking.ask(kind(error)) == RAISED
        assert asking.reported == [(CLIENT, error)]
        assert asking.ask(asynchronous(True)) is None

    def test_after_a_while(self, asking: Asking) -> None:
        """So is what an ``async`` function raises after it has waited."""

        async def function(request: Any, address: Any) -> bool:
            later: Deferred[None] = Deferred()
            asking.reactor.callLater(0.01, later.callback, None)
            await later
            raise KeyError("late")

        assert asking.ask(function) == RAISED
        ((client, error),) = asking.reported
        assert client == CLIENT
        assert repr(error) == "KeyError('late')"

    @RAISING_KINDS
    def test_traceback(self, asking: Asking, kind: Callable[..., Any]) -> None:
        """What is shown of the traceback begins and ends in the user's function."""
        asking.ask(kind(ValueError("no")))
        ((_, error),) = asking.reported
        lines = user_traceback(error).splitlines()
        assert len(lines) == 4
        assert __file__ in lines[1]
        assert lines[2:] == ["    raise error", "ValueError: no"]

    def test_wrong_arguments(self, asking: Asking) -> None:
        """A function that cannot be called so is one that raises."""
        assert asking.ask(lambda: True) == RAISED  # type: ignore[misc, arg-type]
        ((_, error),) = asking.reported
        assert isinstance(error, TypeError)

    def test_the_clients_socket_stays(self, asking: Asking, ends: Ends) -> None:
        """Only a deadline hangs up; who serves closes."""
        here, there = ends
        asking.filter(raising(ValueError())).refuses(here, ADDRESS, CLIENT)
        here.sendall(b"x")
        assert there.recv(10) == b"x"


class TestDeadline:
    """Taking longer than the deadline refuses."""

    def test_a_plain_function(self, asking: Asking, ends: Ends) -> None:
        """The client's connection ends at the deadline, though the function goes on."""
        here, there = ends
        ended = threading.Event()

        def wait_for_end() -> None:
            if there.recv(1) == b"":
                ended.set()

        client = threading.Thread(target=wait_for_end, daemon=True)
        client.start()

        def function(request: Any, address: Any) -> bool:
            assert ended.wait(PATIENCE)
            return True

        assert asking.filter(function, SOON).refuses(here, ADDRESS, CLIENT) == TOO_SLOW
        client.join(PATIENCE)
        assert asking.reported == []

    def test_a_function_that_waits_for_the_client(self, asking: Asking, ends: Ends) -> None:
        """A filter that reads from a silent client is woken up by the end."""

        def function(request: socket.socket, address: Any) -> bool:
            return request.recv(1) == b""

        assert asking.filter(function, SOON).refuses(ends[0], ADDRESS, CLIENT) == TOO_SLOW

    def test_true_but_too_late(self, asking: Asking) -> None:
        """Also where there is no connection to end, a late yes is a no."""

        def function(request: Any, address: Any) -> bool:
            asking.reactor.let_pass(2 * SOON)
            return True

        assert asking.ask(function, SOON) == TOO_SLOW
        ((client, error),) = asking.overdue
        assert client == CLIENT
        assert str(error) == "not back after 0.05 s, and holds its thread"
        # Where it is, for whoever has to find out why.
        assert "in let_pass" in error.__notes__[0]

    def test_raised_too_late(self, asking: Asking) -> None:
        """An error after the deadline is told all the same."""

        def function(request: Any, address: Any) -> bool:
            asking.reactor.let_pass(2 * SOON)
            raise ValueError("late")

        assert asking.ask(function, SOON) == RAISED
        assert len(asking.reported) == 1

    def test_in_a_dry_run(self, asking: Asking, ends: Ends) -> None:
        """Where the client is going to be served, its connection is left alone."""
        here, there = ends

        def function(request: Any, address: Any) -> bool:
            asking.reactor.let_pass(2 * SOON)
            return True

        asked = asking.filter(function, SOON, hang_up=False)
        assert asked.refuses(here, ADDRESS, CLIENT) == TOO_SLOW
        here.sendall(b"welcome")
        assert there.recv(10) == b"welcome"

    def test_in_time(self, asking: Asking, ends: Ends) -> None:
        """The deadline of a client that came in is forgotten."""
        here, there = ends
        assert asking.filter(plain(True), SOON).refuses(here, ADDRESS, CLIENT) is None
        asking.reactor.let_pass(2 * SOON)
        here.sendall(b"welcome")
        assert there.recv(10) == b"welcome"

    def test_a_connection_that_is_closed_already(self, asking: Asking, ends: Ends) -> None:
        """A function that closed the connection, and goes on, harms nobody."""

        def function(request: socket.socket, address: Any) -> bool:
            request.close()
            asking.reactor.let_pass(2 * SOON)
            return True

        assert asking.filter(function, SOON).refuses(ends[0], ADDRESS, CLIENT) == TOO_SLOW

    def test_an_async_function(self, asking: Asking, ends: Ends) -> None:
        """It is cancelled, and the client's connection ends."""
        here, there = ends
        cancelled = threading.Event()

        async def function(request: Any, address: Any) -> bool:
            try:
                await Deferred[None]()
            except CancelledError:
                cancelled.set()
                raise
            return True

        assert asking.filter(function, SOON).refuses(here, ADDRESS, CLIENT) == TOO_SLOW
        assert cancelled.wait(PATIENCE)
        here.close()  # as who serves does; the deadline may have hung up before, or not
        assert there.recv(1) == b""
        assert asking.reported == []

    def test_a_deferred(self, asking: Asking) -> None:
        """A Deferred that a plain function returned is cancelled as well."""
        cancelled = threading.Event()
        assert asking.ask(lambda *_: Deferred(lambda _: cancelled.set()), SOON) == TOO_SLOW
        assert cancelled.wait(PATIENCE)

    @pytest.mark.parametrize("verdict", [True, False])
    def test_one_that_ignores_its_cancellation(self, asking: Asking, verdict: bool) -> None:
        """The thread is free at the deadline, and what is said later is not heard."""
        second: Deferred[bool] = Deferred()
        ignored = threading.Event()

        async def function(request: Any, address: Any) -> bool:
            try:
                await Deferred[None]()
            except CancelledError:
                ignored.set()
            return await second

        assert asking.ask(function, SOON) == TOO_SLOW
        assert ignored.wait(PATIENCE)
        asking.reactor.run(second.callback, verdict)
        assert asking.ask(asynchronous(True)) is None

    def test_one_that_raises_when_it_is_cancelled(self, asking: Asking) -> None:
        """Its error is too late as well, and logged by nobody as unhandled."""

        async def function(request: Any, address: Any) -> bool:
            try:
                await Deferred[None]()
            finally:
                raise ValueError("late")

        assert asking.ask(function, SOON) == TOO_SLOW
        asking.reactor.let_pass(0)
        assert asking.reported == []

    def test_one_that_blocks_the_reactor(self, asking: Asking) -> None:
        """The thread is free at the deadline although the reactor is not."""
        release = threading.Event()

        async def function(request: Any, address: Any) -> bool:
            return release.wait(PATIENCE)

        assert asking.ask(function, SOON) == TOO_SLOW
        release.set()
        assert asking.ask(asynchronous(True)) is None

    def test_each_client_has_its_own(self, asking: Asking) -> None:
        """A slow client's end is not another one's, with the same filter at the same time."""
        slow_here, slow_there = socket.socketpair()
        quick_here, quick_there = socket.socketpair()
        with slow_here, slow_there, quick_here, quick_there:
            slow_there.settimeout(PATIENCE)
            quick_there.settimeout(PATIENCE)

            def function(request: socket.socket, address: Any) -> bool:
                return request is quick_here or request.recv(1) == b""

            asked = asking.filter(function, SOON)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                slow = pool.submit(asked.refuses, slow_here, ADDRESS, CLIENT)
                assert asked.refuses(quick_here, ADDRESS, CLIENT) is None
                assert slow.result(PATIENCE) == TOO_SLOW
            quick_here.sendall(b"x")
            assert quick_there.recv(10) == b"x"
            assert slow_there.recv(10) == b""
