"""``netd.admission.filter.ReactorFilter``: a user's function, asked in the reactor's thread."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from netd.admission.filter import RAISED, REFUSED, TOO_SLOW, ReactorFilter
from tests.reactors import HandReactor

ADDRESS = ("192.0.2.1", 4711)
CLIENT = "192.0.2.1:4711"
TIMEOUT = 5.0


@dataclass
class Asking:
    """A filter's surroundings, and what it reported."""

    clock: HandReactor = field(default_factory=HandReactor)
    reported: list[tuple[str, BaseException]] = field(default_factory=list)

    def begin(self, function: Callable[[Any, Any], Any]) -> Deferred[str | None]:
        asked = ReactorFilter(function, TIMEOUT, self.clock, self._report)
        return asked.refuses("request", ADDRESS, CLIENT)

    def ask(self, function: Callable[[Any, Any], Any]) -> str | None:
        """Ask a function that does not wait; nothing may be left to be called."""
        answer = self.begin(function)
        assert answer.called
        assert self.clock.getDelayedCalls() == []
        assert answer.result is None or isinstance(answer.result, str)
        return answer.result

    def _report(self, client: str, error: BaseException) -> None:
        self.reported.append((client, error))


@pytest.fixture
def asking() -> Iterator[Asking]:
    """At the end nothing may have been logged as unhandled."""
    failures: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.warn:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield Asking()
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(observe)
    assert failures == []


def plain(verdict: Any) -> Callable[[Any, Any], Any]:
    return lambda request, address: verdict


def asynchronous(verdict: Any) -> Callable[[Any, Any], Any]:
    async def function(request: Any, address: Any) -> Any:
        return verdict

    return function


def returning_deferred(verdict: Any) -> Callable[[Any, Any], Any]:
    return lambda request, address: succeed(verdict)


KINDS = pytest.mark.parametrize("kind", [plain, asynchronous, returning_deferred])


class TestVerdict:
    @KINDS
    @pytest.mark.parametrize("verdict", [True, 1, "yes"])
    def test_admitted(self, asking: Asking, kind: Callable[..., Any], verdict: object) -> None:
        """Whatever is true admits."""
        assert asking.ask(kind(verdict)) is None
        assert asking.reported == []

    @KINDS
    @pytest.mark.parametrize("verdict", [False, None, 0, ""])
    def test_refused(self, asking: Asking, kind: Callable[..., Any], verdict: object) -> None:
        """Whatever is false refuses, also a function that returns nothing."""
        assert asking.ask(kind(verdict)) == REFUSED
        assert asking.reported == []

    def test_what_it_is_asked(self, asking: Asking) -> None:
        """It gets the request and the address as ``verify_request`` does."""
        seen: list[Any] = []
        asking.ask(lambda *arguments: seen.extend(arguments))
        assert seen == ["request", ADDRESS]


def raising(error: BaseException) -> Callable[[Any, Any], Any]:
    def function(request: Any, address: Any) -> bool:
        raise error

    return function


def raising_asynchronously(error: BaseException) -> Callable[[Any, Any], Any]:
    async def function(request: Any, address: Any) -> bool:
        raise error

    return function


def failing_deferred(error: BaseException) -> Callable[[Any, Any], Any]:
    return lambda request, address: fail(error)


@pytest.mark.parametrize("kind", [raising, raising_asynchronously, failing_deferred])
@pytest.mark.parametrize(
    "error",
    [ValueError("no"), TimeoutError("no"), CancelledError("no"), SystemExit(1), GeneratorExit()],
    ids=lambda error: type(error).__name__,
)
def test_raising_refuses(asking: Asking, kind: Callable[..., Any], error: BaseException) -> None:
    """Whatever it is, it is reported once, and costs its own client only."""
    assert asking.ask(kind(error)) == RAISED
    assert asking.reported == [(CLIENT, error)]


def test_verdict_that_raises(asking: Asking) -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise ValueError("who knows")

    assert asking.ask(plain(Undecided())) == RAISED
    ((_, error),) = asking.reported
    assert str(error) == "who knows"


def awaiting(awaited: Awaitable[Any]) -> Callable[[Any, Any], Any]:
    async def function(request: Any, address: Any) -> Any:
        return await awaited

    return function


class TestDeadline:
    def test_in_time(self, asking: Asking) -> None:
        """It may take its time until the deadline, which is forgotten then."""
        verdict: Deferred[bool] = Deferred()
        answer = asking.begin(awaiting(verdict))
        asking.clock.advance(TIMEOUT - 0.1)
        assert not answer.called
        verdict.callback(True)
        assert answer.result is None
        assert asking.clock.getDelayedCalls() == []

    def test_too_slow(self, asking: Asking) -> None:
        """It is cancelled, and what it says to that is nobody's business."""
        told: list[str] = []

        async def function(request: Any, address: Any) -> bool:
            try:
                await Deferred()
            except CancelledError:
                told.append("cancelled")
                raise
            return True

        answer = asking.begin(function)
        asking.clock.advance(TIMEOUT)
        assert answer.result == TOO_SLOW
        assert told == ["cancelled"]
        assert asking.reported == []

    def test_goes_on_nevertheless(self, asking: Asking) -> None:
        """A filter that takes no notice of its cancellation changes nothing any more."""
        more: Deferred[None] = Deferred()

        async def function(request: Any, address: Any) -> bool:
            try:
                await Deferred()
            except CancelledError:
                await more
            return True

        answer = asking.begin(function)
        asking.clock.advance(TIMEOUT)
        more.callback(None)
        assert answer.result == TOO_SLOW
        assert asking.reported == []

    def test_blocking_function(self, asking: Asking) -> None:
        """Nobody can interrupt it; when it returns, it was too slow."""

        def function(request: Any, address: Any) -> bool:
            asking.clock.advance(TIMEOUT)
            return True

        assert asking.ask(function) == TOO_SLOW

    def test_raised_too_late(self, asking: Asking) -> None:
        """An error after the deadline is reported, as in a thread."""

        def function(request: Any, address: Any) -> bool:
            asking.clock.advance(TIMEOUT)
            raise ValueError("late")

        assert asking.ask(function) == RAISED
        ((_, error),) = asking.reported
        assert str(error) == "late"

    def test_ends_while_the_client_is_refused(self, asking: Asking) -> None:
        """A function that ends because its client is refused has no second answer."""
        verdict: Deferred[bool] = Deferred()
        answer = asking.begin(awaiting(verdict))
        reasons: list[str | None] = []

        def refuse(reason: str | None) -> None:
            reasons.append(reason)
            verdict.callback(True)

        answer.addCallback(refuse)
        asking.clock.advance(TIMEOUT)
        assert reasons == [TOO_SLOW]

    def test_time_before_the_first_await_counts(self, asking: Asking) -> None:
        def function(request: Any, address: Any) -> Any:
            asking.clock.advance(TIMEOUT - 1)
            return Deferred()

        answer = asking.begin(function)
        asking.clock.advance(1)
        assert answer.result == TOO_SLOW


def test_nothing_is_kept(asking: Asking) -> None:
    """Neither of who was admitted nor of who was too slow, until the collector comes."""

    class Request:
        pass

    asked = ReactorFilter(lambda request, _: request.verdict, TIMEOUT, asking.clock, print)
    gc.collect()
    gc.disable()
    try:
        for late in (False, True):
            request: Any = Request()
            request.verdict = Deferred()
            answer = asked.refuses(request, ADDRESS, CLIENT)
            if late:
                asking.clock.advance(TIMEOUT)
            else:
                request.verdict.callback(True)
            assert answer.called
            del request, answer
        assert not any(isinstance(one, Request) for one in gc.get_objects())
    finally:
        gc.enable()
