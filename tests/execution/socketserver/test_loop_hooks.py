"""What a server class does between requests, by a clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from socketserver import BaseRequestHandler, BaseServer

import pytest
from twisted.internet.task import Clock

from netd.execution.socketserver.loop_hooks import (
    ACTIONS_INTERVAL,
    ReactorLoopHooks,
    ThreadLoopHooks,
)
from tests.reactors import PATIENCE, HandReactor


class Scene:
    """A server with a ``timeout``, and what was called when."""

    def __init__(self, timeout: float | None, actions: bool = True, timed_out: bool = True) -> None:
        self.reactor = HandReactor()
        self.acted: list[float] = []
        self.timed_out: list[float] = []
        self.last_request = 0.0
        self.server = BaseServer(("", 0), BaseRequestHandler)
        self.server.timeout = timeout
        self.loop_hooks = ReactorLoopHooks(
            self.server,
            self._note(self.acted) if actions else None,
            self._note(self.timed_out) if timed_out else None,
            lambda: self.last_request,
            self.reactor,
            self.reactor.seconds,
        )

    def _note(self, times: list[float]) -> Callable[[], None]:
        return lambda: times.append(round(self.reactor.seconds(), 3))

    def run(self, seconds: float) -> None:
        self.reactor.pump([0.05] * round(seconds / 0.05))


class TestReactor:
    def test_actions(self) -> None:
        """At least every half a second, as ``serve_forever`` polls."""
        scene = Scene(None)
        scene.loop_hooks.start()
        scene.run(2.2)
        assert scene.acted == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.2)
        assert scene.timed_out == []

    def test_time_out_again_and_again(self) -> None:
        scene = Scene(1.0, actions=False)
        scene.loop_hooks.start()
        scene.run(3.3)
        assert scene.timed_out == pytest.approx([1.0, 2.0, 3.0], abs=0.2)
        assert scene.acted == []

    def test_a_request_puts_it_off(self) -> None:
        scene = Scene(1.0)
        scene.loop_hooks.start()
        scene.run(0.8)
        scene.last_request = scene.reactor.seconds()
        scene.run(0.8)
        assert scene.timed_out == []
        scene.run(0.5)
        assert scene.timed_out == pytest.approx([1.8], abs=0.2)

    def test_both(self) -> None:
        """A longer time-out does not keep the actions waiting."""
        scene = Scene(10.0)
        scene.loop_hooks.start()
        scene.run(3.0)
        assert len(scene.acted) >= 3.0 / ACTIONS_INTERVAL - 2

    def test_no_time_does_not_spin(self) -> None:
        scene = Scene(0.0, actions=False)
        scene.loop_hooks.start()
        scene.run(0.5)
        assert 5 < len(scene.timed_out) <= 11

    def test_stop(self) -> None:
        scene = Scene(1.0)
        scene.loop_hooks.start()
        scene.loop_hooks.stop()
        scene.run(3)
        assert scene.acted == scene.timed_out == []
        assert scene.reactor.getDelayedCalls() == []


def test_a_thread_calls_and_ends() -> None:
    """The same, by a thread that ends when it is told to."""
    called = threading.Event()
    made: list[threading.Thread] = []

    def factory(*arguments: object, **keywords: object) -> threading.Thread:
        made.append(threading.Thread(*arguments, daemon=True, **keywords))  # type: ignore[arg-type]
        return made[-1]

    server = BaseServer(("", 0), BaseRequestHandler)
    server.timeout = 0.01
    loop_hooks = ThreadLoopHooks(server, None, called.set, Clock().seconds, factory)
    loop_hooks.start()
    assert called.wait(PATIENCE)
    loop_hooks.stop()
    made[0].join(PATIENCE)
    assert not made[0].is_alive()
