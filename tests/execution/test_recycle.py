"""``netd.execution.recycle``: when a process has done enough, by a clock, a chance and a memory."""

from __future__ import annotations

import threading

import pytest

from netd.execution.recycle import EARLY, LOOK_INTERVAL, Recycle, resident_memory


class Process:
    """What a Wear sees of its process, and what it said."""

    def __init__(self, max_requests: int, max_memory: int | None = None, chance: float = 0) -> None:
        self.now = 0.0
        self.resident = 0
        self.looks = 0
        self.said: list[str] = []
        self.recycle = Recycle(
            max_requests,
            max_memory,
            self.said.append,
            lambda: chance,
            lambda: self.now,
            self._memory,
        )

    def _memory(self) -> int:
        self.looks += 1
        return self.resident


class TestRequests:
    def test_one_is_the_first_and_the_last(self) -> None:
        """Whatever the chance: the first request ends it, and asks for a successor."""
        for chance in (0.0, 0.5, 0.999):
            process = Process(1, chance=chance)
            assert process.recycle.took()
            assert process.said == ["has taken 1 request"]

    @pytest.mark.parametrize("most", [2, 5, 9, 10, 100, 1000])
    @pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
    def test_never_more(self, most: int, chance: float) -> None:
        """The last one is told as such, no later than the number that was given."""
        process = Process(most, chance=chance)
        last = next(number for number in range(1, most + 2) if process.recycle.took())
        assert most * (1 - EARLY) - 1 < last <= most
        assert len(process.said) == 1

    def test_a_successor_is_asked_for_early(self) -> None:
        """It has a tenth of the requests to get ready in."""
        process = Process(100)
        asked = next(number for number in range(1, 101) if process.recycle.took() or process.said)
        assert asked == 90
        assert process.said == ["has taken 90 requests"]

    def test_once(self) -> None:
        process = Process(3)
        assert [process.recycle.took() for _ in range(6)] == [False, False, True, True, True, True]
        assert len(process.said) == 1

    def test_zero_is_no_bound(self) -> None:
        process = Process(0)
        assert not any(process.recycle.took() for _ in range(1000))
        assert process.said == []

    def test_many_threads(self) -> None:
        """Nobody's request is missed, and one of them tells."""
        process = Process(1000)
        lasts: list[bool] = []

        def take() -> None:
            lasts.extend([process.recycle.took() for _ in range(250)])

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert lasts.count(True) == 1
        assert len(process.said) == 1


class TestMemory:
    def test_looked_at_now_and_then(self) -> None:
        """A look costs as much as half a connection, so there are ten a second at most."""
        process = Process(0, max_memory=1 << 20)
        for _ in range(50):
            process.recycle.finished()
            process.now += LOOK_INTERVAL / 5
        assert 5 <= process.looks <= 10
        assert process.said == []

    def test_above(self) -> None:
        process = Process(0, max_memory=1 << 20)
        process.resident = (1 << 20) + 1024
        for _ in range(3):
            process.now += LOOK_INTERVAL
            process.recycle.finished()
        assert process.said == ["uses 1025 KiB of memory"]

    def test_no_bound(self) -> None:
        process = Process(5)
        process.now += 10
        process.recycle.finished()
        assert process.looks == 0

    def test_requests_and_memory_tell_once_together(self) -> None:
        process = Process(1, max_memory=1)
        process.recycle.took()
        process.resident = 2
        process.now += 1
        process.recycle.finished()
        assert process.said == ["has taken 1 request"]

    def test_of_this_process(self) -> None:
        """It grows with what is written to."""
        before = resident_memory()
        hoard = b"x" * (64 << 20)
        assert resident_memory() - before > 24 << 20
        assert len(hoard)
