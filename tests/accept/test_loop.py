"""``netd.accept.loop``: one loop for all listeners that a reactor watches."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure

from netd.accept.errors import Rejected
from netd.accept.loop import Accepting, WatchedListener, abandoned_text
from netd.accept.pause import PAUSE, Pause
from tests.reactors import HandReactor

BATCH = 4
EMPTY = BlockingIOError(errno.EAGAIN, "nothing there")
FULL = OSError(errno.EMFILE, "too many open files")


class Readers(HandReactor):
    """A clock that watches."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[IReadDescriptor] = set()

    def addReader(self, reader: IReadDescriptor) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        if reader not in self.readers:
            raise OSError(errno.EBADF, "as epoll says")
        self.readers.remove(reader)


class Scene:
    """A listener whose queue has *things*, which begin by *begin*."""

    def __init__(
        self, *things: int | BaseException, begin: Callable[[int], None] = lambda _: None
    ) -> None:
        self.things = list(things)
        self.reactor = Readers()
        self.begun: list[int] = []
        self.abandoned: list[tuple[int, BaseException]] = []
        self.rejected: list[Rejected] = []
        self.said: list[tuple[str, str]] = []
        self._begin = begin
        pause = Pause(lambda *line: self.said.append(line), self.reactor.callLater)
        accepting = Accepting(
            self._accept,
            self._begin_one,
            lambda thing, error: self.abandoned.append((thing, error)),
            self.rejected.append,
        )
        self.listener = WatchedListener(lambda: 7, accepting, pause, self.reactor, BATCH)
        self.listener.start()

    def _accept(self) -> int:
        thing = self.things.pop(0) if self.things else EMPTY
        if isinstance(thing, BaseException):
            raise thing
        return thing

    def _begin_one(self, thing: int) -> None:
        self.begun.append(thing)
        self._begin(thing)

    @property
    def is_watched(self) -> bool:
        return self.listener in self.reactor.readers


def test_a_batch() -> None:
    """At most so many per wake-up, whatever they are."""
    scene = Scene(1, OSError(errno.ECONNABORTED, "gone"), Rejected(), 2, 3)
    scene.listener.doRead()
    assert (scene.begun, len(scene.rejected)) == ([1, 2], 1)
    scene.listener.doRead()
    assert scene.begun == [1, 2, 3]
    assert scene.is_watched


def test_the_queue_is_empty() -> None:
    scene = Scene(1, EMPTY, 2)
    scene.listener.doRead()
    assert scene.begun == [1]


def test_stopped_in_the_middle_of_a_batch() -> None:
    """As by a service that has no free slot left: the rest stays in the backlog."""
    scene = Scene(1, 2, begin=lambda _: scene.listener.stop())
    scene.listener.doRead()
    assert scene.begun == [1]
    assert not scene.is_watched
    scene.listener.start()
    scene.listener.doRead()
    assert scene.begun == [1, 2]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), SystemExit(), OSError(errno.EINVAL, "")])
def test_accepting_fails(error: BaseException) -> None:
    scene = Scene(error, 1)
    scene.listener.doRead()
    assert (scene.begun, scene.is_watched) == ([], False)
    scene.reactor.advance(PAUSE)
    assert scene.is_watched
    scene.listener.doRead()
    assert scene.begun == [1]
    assert [level for level, _ in scene.said] == ["error", "info"]


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), SystemExit(), OSError(errno.ENOTCONN, "")]
)
def test_a_bug_after_accepting_costs_one_connection(error: BaseException) -> None:
    def begin(thing: int) -> None:
        if thing == 1:
            raise error

    scene = Scene(1, 2, begin=begin)
    scene.listener.doRead()
    assert scene.begun == [1, 2]
    assert scene.abandoned == [(1, error)]
    assert (scene.is_watched, scene.said) == (True, [])


def test_no_resources_after_accepting() -> None:
    """The next connection would meet the same, so it waits in the backlog."""

    def begin(thing: int) -> None:
        raise OSError(errno.EAGAIN, "no more processes")

    scene = Scene(1, 2, begin=begin)
    scene.listener.doRead()
    assert ([one for one, _ in scene.abandoned], scene.is_watched) == ([1], False)


class TestPause:
    def test_start_does_not_cut_it_short(self) -> None:
        """As when a slot becomes free meanwhile."""
        scene = Scene(FULL)
        scene.listener.doRead()
        scene.listener.start()
        assert not scene.is_watched
        scene.reactor.advance(PAUSE)
        assert scene.is_watched

    def test_stop_outlasts_it(self) -> None:
        scene = Scene(FULL)
        scene.listener.doRead()
        scene.listener.stop()
        scene.reactor.advance(PAUSE)
        assert not scene.is_watched
        scene.listener.start()
        assert scene.is_watched


class TestDroppedByTheReactor:
    """As Twisted does on a hang-up: the listener must not be lost."""

    def test_comes_back(self) -> None:
        scene = Scene()
        scene.reactor.removeReader(scene.listener)
        scene.listener.connectionLost(Failure(OSError("shut down")))
        scene.reactor.advance(PAUSE)
        assert scene.is_watched

    def test_not_once_it_is_stopped(self) -> None:
        """The reactor is ending."""
        scene = Scene()
        scene.listener.stop()
        scene.listener.connectionLost(Failure(OSError("the end")))
        scene.reactor.advance(PAUSE)
        assert (scene.is_watched, scene.said) == (False, [])


def test_the_log_says_where_a_connection_was_lost() -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        text = abandoned_text("192.0.2.7:4711", error)
    assert text.startswith("192.0.2.7:4711: closed, because ZeroDivisionError was raised\n")
    assert "test_loop.py" in text
