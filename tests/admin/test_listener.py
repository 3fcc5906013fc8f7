"""``netd.admin.listener``: who gets in by the admin socket."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs

from netd.accept.pause import PAUSE
from netd.admin.endpoint import MODE, bind_admin
from netd.admin.listener import AdminListener
from netd.listening.listener import CannotBind, Listeners
from netd.model.service import Configuration
from tests.daemon.fakes import FakeReactor, texts


class Scene:
    """An admin listener, and its socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.listeners = bind_admin(
            Configuration("netd.toml", (), admin_socket=self.path), Listeners()
        )
        self.reactor = FakeReactor()
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        (listener,) = self.listeners
        self.admin = AdminListener(listener.socket, factory, self.reactor)
        self.admin.open()

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(self.path)
            yield client


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "s")
    yield scene
    scene.reactor.close()
    scene.listeners.close()


def test_somebody_comes_in(scene: Scene) -> None:
    with scene.client():
        assert scene.reactor.read() == 1
        assert len(scene.reactor.adopted) == 1
    assert scene.reactor.read() == 0


def test_somebody_who_has_left_already(scene: Scene) -> None:
    """An accept with nobody there waits for nobody."""
    scene.admin.watched.doRead()
    assert not scene.reactor.adopted


def test_nobody_after_it_was_closed(scene: Scene) -> None:
    scene.admin.close()
    with scene.client():
        assert scene.reactor.read() == 0


def test_no_descriptors_left(scene: Scene) -> None:
    """It rests, says so once, and lets those in who have waited."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with scene.client(), scene.client(), capturedLogs() as logged:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            for _ in range(3):
                scene.admin.watched.doRead()
                scene.reactor.readers.clear()
                scene.reactor.advance(PAUSE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert [text for text in texts(logged) if "backlog" in text] == [
            "error: admin socket: out of descriptors or memory, connections wait in the backlog: "
            "[Errno 24] Too many open files"
        ]
        assert scene.reactor.read() == 1
        assert scene.reactor.read() == 1
    assert len(scene.reactor.adopted) == 2


def test_closed_while_it_rests(scene: Scene) -> None:
    """It does not come back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with scene.client():
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            scene.admin.watched.doRead()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        scene.admin.close()
        scene.reactor.advance(PAUSE)
        assert scene.reactor.readers == []


class TestBinding:
    def test_mode(self, scene: Scene) -> None:
        """Who can connect can stop the daemon."""
        assert Path(scene.path).stat().st_mode & 0o777 == MODE == 0o600

    def test_named_and_taken(self, scene: Scene) -> None:
        """A problem, since it was asked for."""
        with pytest.raises(CannotBind):
            bind_admin(Configuration("netd.toml", (), admin_socket=scene.path), Listeners())

    def test_taken_over(self, scene: Scene) -> None:
        """From a daemon that is replaced."""
        configuration = Configuration("netd.toml", (), admin_socket=scene.path)
        (again,) = bind_admin(configuration, scene.listeners)
        assert [again.socket] == [one.socket for one in scene.listeners]
