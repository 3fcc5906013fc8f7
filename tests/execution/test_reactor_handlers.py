"""``netd.execution.reactor_handlers`` by hand: a handler and what becomes of its connection."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from netd.execution.reactor_handlers import HandlerProtocol
from netd.execution.sources import Taken
from netd.handlers import AsyncStreamRequestHandler
from tests.handlers.connected import Transport
from tests.reactors import HandReactor

TIMEOUT = 5.0


class Connection:
    """What a handler's protocol knows of its connection, noted."""

    def __init__(self) -> None:
        self.reactor = HandReactor()
        self.taken = Taken(None, ("192.0.2.1", 1), "192.0.2.1:1", None)
        self.told: list[Any] = []
        self.left = 0

    def hold(self) -> None:
        self.told.append("hold")

    def release(self) -> None:
        self.told.append("release")

    def say_lost(self) -> None:
        self.told.append("lost")

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
        self.protocol = HandlerProtocol(self._make, None, None, self.connection)  # type: ignore[arg-type]
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


def left(pending: int) -> Script:
    """A handler with a timeout that has ended, with so much left."""
    script = Script(timeout=TIMEOUT)
    script.connection.left = pending
    script.waits[0].callback(None)
    return script
