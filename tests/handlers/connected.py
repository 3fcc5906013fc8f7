"""A connection to nobody, and coroutines run by hand, for tests of what handlers read and write."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netd.handlers import Reader, streams
from netd.handlers.streams import StreamProtocol
from tests.reactors import HandReactor

T = TypeVar("T")


def packet(data: bytes) -> Reader:
    reader = Reader()
    reader.feed(data)
    reader.feed_eof()
    return reader


def failure_of(deferred: Deferred[Any]) -> BaseException:
    """What a Deferred has failed with."""
    assert isinstance(deferred.result, Failure)
    assert deferred.result.value is not None
    return deferred.result.value


def begun(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run a coroutine for as long as it can."""
    return Deferred.fromCoroutine(coroutine)


def result(awaitable: Awaitable[T]) -> T:
    """What an awaitable that does not wait gives; raises what it raises."""

    async def wait() -> T:
        return await awaitable

    results: list[T] = []
    errors: list[Any] = []
    begun(wait()).addCallbacks(results.append, errors.append)
    if errors:
        raise errors[0].value
    assert results, "it waits"
    return results[0]


class Transport(StringTransport):
    """Twisted's transport for tests, which can be half-closed, too."""

    finished = False

    def loseWriteConnection(self) -> None:
        self.finished = True


class Connected:
    """A connection to nobody."""

    def __init__(self) -> None:
        self.clock = HandReactor()
        self.transport = Transport()
        self.protocol = StreamProtocol(self.clock)
        self.transport.protocol = self.protocol  # type: ignore[attr-defined]
        self.protocol.makeConnection(self.transport)
        self.rfile, self.wfile = streams(self.transport)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionLost()))

    @property
    def paused(self) -> bool:
        return bool(self.transport.producerState == "paused")
