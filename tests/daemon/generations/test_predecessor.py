"""``netd.daemon.generations.predecessor``: what the daemon before is told, and says."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.daemon.generations.predecessor import Predecessor
from netd.listening.binding import bind_all
from netd.listening.handover import Handover
from netd.listening.listener import Listeners
from netd.model.address import Transport, UnixAddress
from tests.daemon.estates import service
from tests.daemon.fakes import FakeReactor


class Scene:
    """A predecessor with two listeners, and its end of the channel."""

    def __init__(self, directory: Path) -> None:
        self.reactor = FakeReactor()
        self.path = str(directory / "socket")
        address = UnixAddress(Transport.UNIX, self.path)
        self.listeners = bind_all([service("a"), service("b", listen=(address,))])
        self.other, theirs = socket.socketpair()
        self.heard: list[str] = []
        handover = Handover(self.listeners, theirs.detach(), frozenset())
        self.predecessor = Predecessor(handover, self.reactor)
        self.predecessor.watch(
            lambda: self.heard.append("unwanted"), lambda: self.heard.append("alone")
        )

    def of(self, name: str) -> Listeners:
        return Listeners(self.listeners.of(name))

    def descriptors(self, name: str) -> list[int]:
        return [one.socket.fileno() for one in self.of(name)]

    def close(self) -> None:
        self.other.close()
        self.reactor.read()
        self.listeners.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def test_is_told_what_has_no_use(scene: Scene) -> None:
    """Unused listeners stay the predecessor's, with their paths."""
    (number,) = scene.descriptors("b")
    scene.predecessor.tell(scene.of("a"))
    assert scene.other.recv(100) == b"ready %d\n" % number
    assert scene.descriptors("b") == [-1]
    assert scene.descriptors("a") != [-1]
    assert os.path.exists(scene.path)


def test_has_gone(scene: Scene) -> None:
    """If the predecessor has gone, unused listeners are closed and unlinked."""
    scene.other.close()
    scene.reactor.read()
    assert scene.heard == ["alone"]
    scene.predecessor.tell(scene.of("a"))
    assert not os.path.exists(scene.path)
    assert scene.descriptors("b") == [-1]


def test_goes_when_it_is_told(scene: Scene) -> None:
    """It is not seen to be gone before that."""
    scene.other.close()
    scene.predecessor.tell(scene.of("a"))
    assert not os.path.exists(scene.path)


def test_says_that_this_one_is_not_wanted(scene: Scene) -> None:
    """Once; what it says besides is nothing, and so is its end."""
    scene.other.send(b"hello\nleave\nleave\n")
    scene.reactor.read()
    scene.other.close()
    scene.reactor.read()
    assert scene.heard == ["unwanted"]
