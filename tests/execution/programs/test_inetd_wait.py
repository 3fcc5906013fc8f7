"""``netd.execution.programs.inetd_wait``: real sockets and processes, a reactor run by hand."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from netd.execution.programs.inetd_wait import InetdWaitProgram, InetdWaitPrograms, WaitListener
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.model.address import Transport
from netd.model.service import Program
from tests.reactors import HandReactor

PATIENCE = 30.0


class ReadingReactor(HandReactor):
    """A clock, and readers that are called when the test says ``look``."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def look(self, seconds: float = PATIENCE) -> bool:
        """Call those that can be read, after waiting for one; whether there was one."""
        by_descriptor = {reader.fileno(): reader for reader in self.readers}
        ready, _, _ = select.select(list(by_descriptor), [], [], seconds)
        for descriptor in ready:
            if by_descriptor[descriptor] in self.readers:
                by_descriptor[descriptor].doRead()
        return bool(ready)

    def look_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert self.look(), "nothing more happens"


TAKE_ONE = """
import socket
client, _ = socket.socket(fileno=0).accept()
client.sendall(b"x")
"""


class Scene:
    """A listener, a program for it, and what was logged."""

    def __init__(self, *arguments: str) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.reactor = ReadingReactor()
        page = Scoreboard.make("test", Geometry(1, 1, 1))
        self.board = Scoreboard(page, Geometry(1, 1, 1))
        os.close(page)
        self.said: list[tuple[str, str]] = []
        self.waiting = InetdWaitProgram(
            Program(arguments[0], arguments, wait=True),
            WaitListener(Transport.TCP, self.listener, self.board.block(0)),
            {"PATH": os.defpath},
            self.reactor,
            lambda level, text: self.said.append((level, text)),
        )
        self.programs = InetdWaitPrograms([self.waiting])

    def client(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), PATIENCE)

    def ended(self) -> int:
        """How often the program has ended."""
        return sum(" ended with " in text for _, text in self.said)

    def has_ended(self, times: int) -> bool:
        return self.ended() == times

    def watched(self) -> bool:
        return self.waiting in self.reactor.readers


@pytest.fixture
def python() -> Iterator[Scene]:
    """A program that takes one client and ends."""
    import sys

    scene = Scene(sys.executable, "-I", "-c", TAKE_ONE)
    with closing(scene.listener):
        yield scene


@pytest.fixture
def stubborn() -> Iterator[Scene]:
    """One that takes nobody, says so and stays, whatever it is asked."""
    scene = Scene("/bin/sh", "-c", "trap '' TERM; echo in >&2; while :; do sleep 0.05; done")
    with closing(scene.listener):
        yield scene


def test_started_when_somebody_comes(python: Scene) -> None:
    """And left alone until it has ended; then the next one starts it again, at once."""
    python.programs.start()
    assert not python.reactor.look(0)
    for number in (1, 2, 3):
        with python.client() as client:
            assert python.reactor.look()
            assert not python.watched()
            assert python.board.busy() == 1
            assert client.recv(10) == b"x"
        python.reactor.look_until(partial(python.has_ended, number))
        assert python.board.busy() == 0
        python.reactor.advance(0)
        assert python.watched()
    assert python.board.counts().served == 3
    assert python.said[0][1].endswith("s")


def test_one_that_takes_nobody_waits_longer_each_time() -> None:
    scene = Scene("/bin/false")
    with closing(scene.listener), scene.client():
        scene.programs.start()
        for number, delay in enumerate([0.0, 0.1, 0.2, 0.4], 1):
            scene.reactor.look_until(partial(scene.has_ended, number))
            assert not scene.watched()
            if delay:
                scene.reactor.advance(delay - 0.01)
                assert not scene.watched()
                scene.reactor.advance(0.01)
            else:
                scene.reactor.advance(0)
            assert scene.watched()
        assert scene.board.counts().failed == 4


def test_one_that_cannot_be_started() -> None:
    """Each time later, and said each time."""
    scene = Scene("/no/such")
    with closing(scene.listener), scene.client():
        scene.programs.start()
        scene.reactor.look()
        scene.reactor.advance(0)
        scene.reactor.look()
        assert (
            scene.said == [("error", "/no/such cannot be started: No such file or directory")] * 2
        )
        scene.reactor.advance(0.05)
        assert not scene.watched()
        scene.reactor.advance(0.05)
        assert scene.watched()


def test_suspended(python: Scene) -> None:
    """Nothing is started; a program that runs is let run, and none follows it."""
    python.programs.start()
    with python.client() as client:
        python.reactor.look()
        python.programs.suspend()
        assert client.recv(10) == b"x"
        python.reactor.look_until(lambda: python.ended() == 1)
        python.reactor.advance(20)
        assert not python.watched()
    with python.client():
        python.programs.resume()
        assert python.watched()


def test_stop_without_a_program(python: Scene) -> None:
    stopped: list[bool] = []
    python.programs.start()
    python.programs.stop(lambda: stopped.append(True))
    assert stopped == []
    python.reactor.advance(0)
    assert stopped == [True]
    assert not python.watched()


def test_stop_asks_and_kill_does_not(stubborn: Scene) -> None:
    stopped: list[bool] = []
    stubborn.programs.start()
    with stubborn.client():
        stubborn.reactor.look_until(lambda: ("warn", "in") in stubborn.said)
        stubborn.programs.stop(lambda: stopped.append(True))
        stubborn.reactor.advance(1)
        assert stopped == []
        stubborn.programs.kill()
        stubborn.reactor.look_until(lambda: stopped)
    assert stubborn.ended() == 1
    assert any(signal.SIGKILL.name in text for _, text in stubborn.said)
    assert not stubborn.reactor.readers
