"""``netd.execution.reactor.handlers`` by hand: a handler and what becomes of its connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from netd.execution.reactor.handlers import HandlerDatagrams, HandlerProtocol
from netd.execution.request import Request
from netd.handlers import AsyncDatagramRequestHandler, AsyncStreamRequestHandler
from netd.ipc.scoreboard import Counts
from tests.execution.reactor.test_receiving import PACKET, Stage
from tests.handlers.connected import Transport
from tests.reactors import HandReactor

TIMEOUT = 5.0


class Connection:
    """What a handler's protocol knows of its connection, noted."""

    def __init__(self) -> None:
        self.reactor = HandReactor()
        self.request = Request(None, ("192.0.2.1", 1), "192.0.2.1:1", None)
        self.told: list[Any] = []
        self.left = 0

    def hold(self) -> None:
        self.told.append("hold")

    def release(self) -> None:
        self.told.append("release")

    def say_lost(self) -> None:
        self.told.append("lost")

    def say_overdue(self, where: str, seconds: float) -> None:
        self.told.append(("overdue", where, seconds))

    def say_raised(self, what: str, error: BaseException) -> None:
        self.told.append((what, type(error)))

    def pending(self) -> int:
        return self.left

    def abortConnection(self) -> None:
        self.told.append("abort")


class Handler(AsyncStreamRequestHandler):
    """Waits for *first*, then notes what it gets, and may raise it; then for *second*."""

    def __init__(self, *arguments: Any, script: Script) -> None:
        super().__init__(*arguments)
        self.script = script
        self.timeout = script.timeout  # type: ignore[misc]

    async def handle(self) -> None:
        for wait in self.script.waits:
            try:
                await wait
            except BaseException as error:
                self.script.heard.append(type(error))
                if self.script.raises:
                    raise
        self.script.heard.append("done")


class Script:
    """A handler at work on a connection, and what it awaits, which may fail when cancelled."""

    def __init__(
        self,
        waits: int = 1,
        raises: bool = False,
        timeout: float | None = None,
        cancelled: Exception | None = None,
        handler_timeout: float | None = None,
    ) -> None:
        def cancel(wait: Deferred[None]) -> None:
            if cancelled is not None:
                wait.errback(cancelled)

        self.waits: list[Deferred[None]] = [Deferred(cancel) for _ in range(waits)]
        self.raises = raises
        self.timeout = timeout
        self.heard: list[Any] = []
        self.connection = Connection()
        self.transport = Transport()
        connection: Any = self.connection
        self.protocol = HandlerProtocol(self._make, None, handler_timeout, connection)
        self.transport.protocol = self.protocol  # type: ignore[attr-defined]
        self.protocol.makeConnection(self.transport)

    def _make(self, *arguments: Any) -> Handler:
        return Handler(*arguments, script=self)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class TestEnd:
    def test_of_the_handler(self) -> None:
        """It is then that the connection is closed, and let go."""
        script = Script()
        assert script.connection.told == ["hold"]
        script.waits[0].callback(None)
        assert script.heard == ["done"]
        assert script.transport.disconnecting
        assert script.connection.told == ["hold", "release"]

    def test_without_waiting(self) -> None:
        script = Script(waits=0)
        assert script.connection.told == ["hold", "release"]
        assert script.transport.disconnecting

    def test_raised(self) -> None:
        script = Script(raises=True)
        script.waits[0].errback(KeyError("x"))
        assert script.connection.told == ["hold", ("the handler", KeyError), "release"]
        assert script.transport.disconnecting


class TestLost:
    @pytest.mark.parametrize("raises", [True, False])
    def test_is_cancelled(self, raises: bool) -> None:
        """A handler that lets that pass has lost its client; one that does not may go on."""
        script = Script(raises=raises)
        script.lose()
        if raises:
            assert script.heard == [CancelledError]
            assert script.connection.told == ["hold", "lost", "release"]
        else:
            assert script.heard == [CancelledError, "done"]
            assert script.connection.told == ["hold", "release"]

    def test_once(self) -> None:
        """What it awaits then is its own business."""
        script = Script(waits=2)
        script.lose()
        assert script.heard == [CancelledError]
        script.waits[1].callback(None)
        assert script.heard == [CancelledError, "done"]

    def test_raises_something_else(self) -> None:
        """Which the loss does not excuse."""
        script = Script(raises=True, cancelled=KeyError("x"))
        script.lose()
        assert script.connection.told == ["hold", ("the handler", KeyError), "release"]

    def test_after_the_end(self) -> None:
        script = Script(waits=0)
        script.lose()
        assert script.connection.told == ["hold", "release"]


class TestTooLong:
    """With a ``handler_timeout``."""

    def test_connection_ends(self) -> None:
        script = Script(handler_timeout=TIMEOUT)
        script.connection.reactor.advance(TIMEOUT)
        ((word, where, seconds), abort) = script.connection.told[-2:]
        assert (word, seconds, abort) == ("overdue", TIMEOUT, "abort")
        assert where.splitlines()[-1].endswith("in handle")
        script.lose()
        assert script.heard == [CancelledError, "done"]

    def test_in_time(self) -> None:
        """Nobody looks any more, whether the handler or the client has gone."""
        for end in (lambda script: script.waits[0].callback(None), Script.lose):
            script = Script(handler_timeout=TIMEOUT)
            end(script)
            assert script.connection.reactor.getDelayedCalls() == []

    def test_at_once(self) -> None:
        script = Script(waits=0, handler_timeout=TIMEOUT)
        assert script.connection.reactor.getDelayedCalls() == []


class TestWhatIsLeft:
    """To be sent, when a handler with a timeout has ended."""

    def test_client_takes_nothing(self) -> None:
        script = left(100)
        script.connection.reactor.advance(TIMEOUT)
        assert script.connection.told[-2:] == ["lost", "abort"]
        assert script.connection.reactor.getDelayedCalls() == []

    def test_client_is_slow(self) -> None:
        """As long as it takes something from time to time, it gets everything."""
        script = left(3)
        for count in (2, 1):
            script.connection.left = count
            script.connection.reactor.advance(TIMEOUT)
        assert "abort" not in script.connection.told
        script.connection.reactor.advance(TIMEOUT)
        assert script.connection.told[-2:] == ["lost", "abort"]

    def test_client_has_it(self) -> None:
        """Nobody looks any more."""
        script = left(3)
        script.lose()
        assert script.connection.reactor.getDelayedCalls() == []
        assert "lost" not in script.connection.told

    def test_without_timeout(self) -> None:
        assert Script(waits=0).connection.reactor.getDelayedCalls() == []


class Packet(AsyncDatagramRequestHandler):
    """Waits for *wait*, and answers."""

    wait: ClassVar[Deferred[None]]

    async def handle(self) -> None:
        await self.wait
        self.wfile.write(b"answer")


@pytest.fixture
def stage() -> Iterator[Stage]:
    with closing(Stage()) as made:
        yield made


class TestDatagrams:
    def begin(self, stage: Stage, wait: Deferred[None], timeout: float | None = None) -> None:
        """Receive a packet."""
        Packet.wait = wait
        datagrams = stage.datagrams_of(PACKET)
        serve = HandlerDatagrams(datagrams, Packet, None, timeout).serve
        datagrams.connect(datagrams.transport, serve)
        datagrams.receive()

    def test_at_once(self, stage: Stage) -> None:
        """It was never inside."""
        self.begin(stage, succeed(None), TIMEOUT)
        assert stage.reactor.getDelayedCalls() == []
        assert stage.board.counts() == Counts(served=1)
        assert "127.0.0.1:4711 udp served " in stage.said

    def test_one_that_waits(self, stage: Stage) -> None:
        """It is listed, and when it is done nothing is left of it."""
        wait: Deferred[None] = Deferred()
        self.begin(stage, wait, TIMEOUT)
        assert len(stage.board.active_connections()) == 1
        wait.callback(None)
        assert stage.board.active_connections() == []
        assert stage.reactor.getDelayedCalls() == []
        assert " served " in stage.said

    def test_too_long(self, stage: Stage) -> None:
        """It is cancelled, which is said once, with the place where it was."""
        self.begin(stage, Deferred(), TIMEOUT)
        stage.reactor.advance(TIMEOUT)
        assert stage.board.active_connections() == []
        assert stage.board.counts() == Counts(served=1, failed=1)
        said = stage.said
        assert "has run for more than 5 s" in said
        assert "in handle" in said
        assert "raised" not in said
        assert " udp failed " in said

    def test_raises_when_it_is_cancelled(self, stage: Stage) -> None:
        """Something of its own is said, too."""
        self.begin(stage, Deferred(lambda wait: wait.errback(KeyError("mine"))), TIMEOUT)
        stage.reactor.advance(TIMEOUT)
        assert "KeyError: 'mine'" in stage.said


def left(pending: int) -> Script:
    """A handler with a timeout that has ended, with so much left."""
    script = Script(timeout=TIMEOUT)
    script.connection.left = pending
    script.waits[0].callback(None)
    return script
