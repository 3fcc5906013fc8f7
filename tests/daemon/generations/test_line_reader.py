"""``netd.daemon.generations.line_reader``: lines by a socket, however they come."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from netd.daemon.generations.line_reader import LONGEST, LineReader
from tests.daemon.fakes import FakeReactor


class Scene:
    """A reader, and the other end."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.channel, self.other = socket.socketpair()
        self.said: list[bytes] = []
        self.ends = 0
        self.reader = LineReader(self.channel, self.reactor, self._hear, self._end)
        self.reader.start()

    def _hear(self, line: bytes) -> None:
        self.said.append(line)
        if line == b"stop":
            self.reader.stop()

    def _end(self) -> None:
        self.ends += 1
        self.reader.stop()

    def close(self) -> None:
        self.channel.close()
        self.other.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_lines(scene: Scene) -> None:
    """In pieces, and several at a time, also an empty one."""
    for piece in (b"o", b"ne\ntwo\n\nth", b"ree\n"):
        scene.other.send(piece)
        assert scene.reactor.read() == 1
    assert scene.said == [b"one", b"two", b"", b"three"]
    assert scene.reactor.read() == 0


def test_nothing_after_the_stop(scene: Scene) -> None:
    """Not even what came with it."""
    scene.other.send(b"one\nstop\ntwo\n")
    scene.reactor.read()
    scene.other.send(b"three\n")
    assert scene.reactor.read() == 0
    assert scene.said == [b"one", b"stop"]


def test_the_end(scene: Scene) -> None:
    """What is no whole line is nothing."""
    scene.other.send(b"one\ntw")
    scene.other.close()
    scene.reactor.read()
    scene.reactor.read()
    assert scene.said == [b"one"]
    assert scene.ends == 1


def test_the_end_with_something_unread(scene: Scene) -> None:
    """Which is an error of the socket (unix(7))."""
    scene.channel.send(b"unread")
    scene.other.close()
    scene.reactor.read()
    assert scene.ends == 1


def test_a_line_without_end(scene: Scene) -> None:
    """Is not kept for ever."""
    while not scene.ends:
        scene.other.send(bytes(LONGEST // 2))
        scene.reactor.read()
    assert not scene.said


def test_a_wake_up_for_nothing(scene: Scene) -> None:
    scene.reader.doRead()
    assert not scene.ends
