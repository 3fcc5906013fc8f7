"""A handler that does not come back, by a reactor run by hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from netd.execution.handler_timeout import HandlerTimeout
from netd.execution.request import Request
from tests.reactors import PATIENCE, HandReactor

SECONDS = 5.0


class Service:
    """What serves the requests."""

    def __init__(self) -> None:
        self.lost_threads: list[int] = []

    def take_away(self, request: socket.socket) -> int:
        return request.detach()

    def lost(self, thread: int) -> None:
        self.lost_threads.append(thread)


class Scene:
    """A time-out, and who was told what."""

    def __init__(self) -> None:
        self.reactor = HandReactor()
        self.said: list[str] = []
        self.given_up: list[int] = []
        self.service = Service()
        self.lost = self.service.lost_threads
        self.timeout = HandlerTimeout(SECONDS, self.reactor, self.said.append, self.given_up.append)
        self.client, self.connection = socket.socketpair()
        self.client.settimeout(PATIENCE)
        self.request = Request(self.connection, ("192.0.2.7", 4711), "192.0.2.7:4711", None)

    def begin(self, thread: int = 3) -> None:
        self.timeout.begin(thread, self.request, self.service)

    def pass_time(self, seconds: float) -> None:
        self.reactor.run()
        self.reactor.advance(seconds)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    with closing(scene.client), closing(scene.connection):
        yield scene
    for thread in range(4):
        scene.timeout.end(thread)


def test_in_time(scene: Scene) -> None:
    """Nothing happens, and the connection stays the handler's."""
    scene.begin()
    scene.pass_time(SECONDS - 0.1)
    scene.timeout.end(3)
    scene.pass_time(10)
    assert scene.said == scene.given_up == scene.lost == []
    scene.connection.sendall(b"still there")
    assert scene.client.recv(100) == b"still there"


def test_too_long(scene: Scene) -> None:
    """The client has the end of it, the log where the handler was, and the thread is given up."""
    scene.begin()
    scene.pass_time(SECONDS)
    assert scene.client.recv(1) == b""
    assert scene.given_up == scene.lost == [3]
    (said,) = scene.said
    head, _, where = said.partition("\n")
    assert head == (
        "192.0.2.7:4711: the handler has run for more than 5 s, and its connection is closed; "
        "it was here"
    )
    # Of this thread, which is the "handler" here.
    assert "in test_too_long" in where


def test_the_descriptor_is_nobody_elses_until_the_handler_is_back(scene: Scene) -> None:
    """Whoever still uses its number must not find another client there."""
    scene.begin()
    number = scene.connection.fileno()
    scene.pass_time(SECONDS)
    assert scene.connection.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        scene.connection.send(b"x")
    with closing(socket.socket()) as another:
        assert another.fileno() != number
    scene.timeout.end(3)
    with closing(socket.socket()) as another:
        assert another.fileno() == number


def test_a_handler_that_waits_for_its_client_is_woken(scene: Scene) -> None:
    """Inside ``recv`` it gets the end of what there is."""
    received: list[bytes] = []
    entered = threading.Event()

    def handle() -> None:
        scene.begin()
        entered.set()
        with suppress(OSError):  # where the time was over before it came to this
            received.append(scene.connection.recv(1))
        scene.timeout.end(3)

    handler = threading.Thread(target=handle)
    handler.start()
    assert entered.wait(PATIENCE)
    scene.pass_time(SECONDS)
    handler.join(PATIENCE)
    assert not handler.is_alive()
    assert received in ([b""], [])


@pytest.mark.parametrize("leave", ["close", "detach"])
def test_one_that_has_closed_its_socket(scene: Scene, leave: str) -> None:
    """There is no connection to be taken away; the thread is given up all the same."""
    scene.begin()
    with closing(socket.socket(fileno=scene.connection.detach())):
        scene.pass_time(SECONDS)
        assert scene.given_up == [3]
        if leave == "detach":
            # Kept by the handler for somebody else, who goes on.
            scene.client.sendall(b"x")
    scene.timeout.end(3)


def test_datagrams(scene: Scene) -> None:
    """The socket beside the data is everybody's, and stays as it is."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as shown:
        scene.request = scene.request._replace(raw=(b"data", shown))
        scene.begin()
        scene.pass_time(SECONDS)
        assert scene.given_up == [3]
        assert shown.fileno() >= 0


def test_the_next_request_of_a_thread_has_its_own_time(scene: Scene) -> None:
    scene.begin()
    scene.pass_time(SECONDS - 1)
    scene.timeout.end(3)
    scene.begin()
    scene.pass_time(SECONDS - 1)
    assert scene.said == []
    scene.pass_time(1)
    assert scene.given_up == [3]


def test_several_threads(scene: Scene) -> None:
    """Each is given up in its time."""
    scene.begin(1)
    scene.pass_time(1)
    scene.begin(2)
    scene.pass_time(SECONDS - 1)
    assert scene.given_up == [1]
    scene.pass_time(1)
    assert scene.given_up == [1, 2]
