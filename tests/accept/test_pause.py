"""``netd.accept.pause``: listeners that cannot be taken from for a while."""

from __future__ import annotations

import errno

import pytest

from netd.accept.errors import PAUSE
from netd.accept.pause import Pause
from tests.reactors import HandReactor

FULL = OSError(errno.EMFILE, "too many open files")
BROKEN = OSError(errno.EINVAL, "shut down")


class Listener:
    """A listener that may be watched; *fails* times it cannot be."""

    def __init__(self, fails: int = 0) -> None:
        self.reading = True
        self._fails = fails

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        if self._fails:
            self._fails -= 1
            raise OSError(errno.ENOSPC, "no space for watches")
        self.reading = True


class Place:
    def __init__(self) -> None:
        self.clock = HandReactor()
        self.said: list[tuple[str, str]] = []
        self.resting = Pause(self.clock, lambda level, text: self.said.append((level, text)))


def test_rests_for_a_while() -> None:
    place, listener = Place(), Listener()
    place.resting.rest(listener, FULL)
    assert not listener.reading
    place.clock.advance(PAUSE * 0.9)
    assert not listener.reading
    place.clock.advance(PAUSE * 0.2)
    assert listener.reading


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FULL, "out of descriptors or memory, they wait in the backlog: [Errno 24] too many"),
        (MemoryError("none"), "cannot take clients, they wait in the backlog: none"),
        (BROKEN, "cannot take clients, they wait in the backlog: [Errno 22] shut down"),
    ],
)
def test_says_why(error: BaseException, text: str) -> None:
    place = Place()
    place.resting.rest(Listener(), error)
    ((level, said),) = place.said
    assert level == "error"
    assert said.startswith(text)


def test_says_it_once() -> None:
    """However often, and however many of the service's listeners; and when all of them work."""
    place, one, other = Place(), Listener(), Listener()
    for listener in (one, other, one, other):
        place.resting.rest(listener, FULL)
        place.clock.advance(PAUSE)
    assert len(place.said) == 1
    place.resting.works(one)
    assert len(place.said) == 1
    place.resting.works(other)
    assert place.said[1:] == [("info", "taking clients again")]
    place.resting.rest(one, FULL)
    assert len(place.said) == 3


def test_nothing_to_say() -> None:
    """Of a listener that has always worked."""
    place = Place()
    place.resting.works(Listener())
    assert place.said == []


def test_cannot_be_watched_again() -> None:
    """Where there is no memory for that either, it rests on."""
    place, listener = Place(), Listener(fails=2)
    place.resting.rest(listener, FULL)
    for reading in (False, False, True):
        place.clock.advance(PAUSE)
        assert listener.reading is reading
    assert place.clock.getDelayedCalls() == []
