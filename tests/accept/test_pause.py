"""``netd.accept.pause``: listeners that cannot be accepted from for a while."""

from __future__ import annotations

import errno
import threading

import pytest

from netd.accept.pause import PAUSE, Pause
from tests.reactors import PATIENCE, HandReactor

FULL = OSError(errno.EMFILE, "too many open files")
BROKEN = OSError(errno.EINVAL, "shut down")


class Listener:
    """A listener that may be watched; *fails* times it cannot be."""

    def __init__(self, fails: int = 0) -> None:
        self.reading = True
        self._fails = fails

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        if self._fails:
            self._fails -= 1
            raise OSError(errno.ENOSPC, "no space for watches")
        self.reading = True


class Place:
    def __init__(self) -> None:
        self.clock = HandReactor()
        self.said: list[tuple[str, str]] = []
        self.pause = Pause(
            lambda level, text: self.said.append((level, text)), self.clock.callLater
        )


def test_pauses_for_a_while() -> None:
    place, listener = Place(), Listener()
    place.pause.pause(listener, FULL)
    assert not listener.reading
    place.clock.advance(PAUSE * 0.9)
    assert not listener.reading
    place.clock.advance(PAUSE * 0.2)
    assert listener.reading


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            FULL,
            "out of descriptors or memory, connections wait in the backlog: [Errno 24] too many",
        ),
        (MemoryError("none"), "cannot accept, connections wait in the backlog: none"),
        (BROKEN, "cannot accept, connections wait in the backlog: [Errno 22] shut down"),
    ],
)
def test_says_why(error: BaseException, text: str) -> None:
    place = Place()
    place.pause.pause(Listener(), error)
    ((level, said),) = place.said
    assert level == "error"
    assert said.startswith(text)


def test_says_it_once() -> None:
    """However often, and however many of the service's listeners; and when all of them work."""
    place, one, other = Place(), Listener(), Listener()
    for listener in (one, other, one, other):
        place.pause.pause(listener, FULL)
        place.clock.advance(PAUSE)
    assert len(place.said) == 1
    place.pause.works(one)
    assert len(place.said) == 1
    place.pause.works(other)
    assert place.said[1:] == [("info", "accepting again")]
    place.pause.pause(one, FULL)
    assert len(place.said) == 3


def test_nothing_to_say() -> None:
    """About a listener that has always worked."""
    place = Place()
    place.pause.works(Listener())
    assert place.said == []


def test_cannot_be_watched_again() -> None:
    """If there is no memory for that either, the pause goes on."""
    place, listener = Place(), Listener(fails=2)
    place.pause.pause(listener, FULL)
    for reading in (False, False, True):
        place.clock.advance(PAUSE)
        assert listener.reading is reading
    assert place.clock.getDelayedCalls() == []


def test_no_memory_for_the_log() -> None:
    """The listener is paused nevertheless: otherwise it would spin."""

    def say(level: str, text: str) -> None:
        raise MemoryError

    clock, listener = HandReactor(), Listener()
    with pytest.raises(MemoryError):
        Pause(say, clock.callLater).pause(listener, FULL)
    assert not listener.reading
    clock.advance(PAUSE)
    assert listener.reading


def test_several_threads() -> None:
    """Each outage is logged once, however many threads meet it at the same moment."""
    said: list[tuple[str, str]] = []
    pause = Pause(lambda *line: said.append(line), lambda delay, call: None, threading.Lock())
    listeners = [Listener() for _ in range(8)]
    together = threading.Barrier(len(listeners))

    def fail(listener: Listener) -> None:
        together.wait(PATIENCE)
        pause.pause(listener, FULL)
        together.wait(PATIENCE)
        pause.works(listener)

    threads = [threading.Thread(target=fail, args=[listener]) for listener in listeners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [level for level, _ in said] == ["error", "info"]
    assert not pause.is_pausing
