"""How many threads, or processes, a service needs: the rule, as pure code.

Few runnable threads are fast, because each further one costs hand-overs of the interpreter's
lock; but handlers wait, and a waiting thread takes nobody. So a pool starts with one thread and
is looked at only while none is idle. Pools of processes grow by the same rule. The measurements
behind it are in ``docs/architecture.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOOK_INTERVAL: Final = 0.005
"""Seconds between two looks: a client of a pool that waits is late by this much, once a step."""

BUSY_SHARE: Final = 0.7
"""Share of one processor above which more threads are not the obvious cure for a full pool."""

WINDOW: Final = 0.1
"""Seconds over which the rate before and during a trial is measured."""

WORTH: Final = 1.25
"""A trial of more threads is kept when the rate grew by this factor."""

HARMLESS: Final = 0.95
"""A trial of fewer threads is kept when the rate fell to no less than this factor."""

LONGEST_PATIENCE: Final = 5.0
"""Seconds between trials, at most, when they keep failing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a look sees."""

    now: float
    """Seconds, of a clock that never steps."""
    accepted: int
    """Connections taken since the pool began."""
    cpu: float
    """Seconds of processor time used, of as much as there could be used of it in a second: one
    processor by the threads of a process, all of them by processes."""

    def rate_since(self, earlier: Sample) -> float:
        """Connections a second taken since *earlier*."""
        elapsed = self.now - earlier.now
        return (self.accepted - earlier.accepted) / elapsed if elapsed > 0 else 0.0

    def share_since(self, earlier: Sample) -> float:
        """Share of one processor used since *earlier*."""
        elapsed = self.now - earlier.now
        return (self.cpu - earlier.cpu) / elapsed if elapsed > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """Threads added to see whether the rate rises, or taken back to see whether it falls."""

    step: int
    rate_before: float

    def succeeded(self, rate: float) -> bool:
        """Whether the pool is better off with the change."""
        factor = WORTH if self.step > 0 else HARMLESS
        return rate > 0 and rate >= factor * self.rate_before


class Growth:
    """Decides, look by look, how many threads a pool of at most *maximum* threads gains or loses.

    Not safe for several threads: one looks.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._patience = WINDOW
        self._last: Sample | None = None
        self._window: Sample | None = None
        self._settled = 0.0
        self._wants_fewer = False
        self._trial: Trial | None = None
        self._rate: float | None = None
        """Of the window before this one; None where the pool was not full then."""

    def rest(self) -> None:
        """Take note that a thread was idle: whatever the pool has is enough."""
        self._last = self._window = self._trial = self._rate = None
        self._patience = WINDOW

    def look(self, sample: Sample, threads: int) -> int:
        """Say how many threads to add, or as a negative number to take back, none being idle.

        *threads* is how many there are. Called every LOOK_INTERVAL while no thread is idle.
        """
        last, self._last = self._last, sample
        if last is None or self._window is None:
            self._begin(sample)
            return 0
        if self._everybody_waits(last, sample):
            self._trial = None
            self._begin(sample)
            return self._more(threads)
        if sample.now - self._window.now < WINDOW:
            return 0
        rate = sample.rate_since(self._window)
        busy = sample.share_since(self._window) >= BUSY_SHARE
        self._window = sample
        before, self._rate = self._rate, rate
        if self._trial is not None:
            if not self._trial.succeeded(rate):
                return self._give_up(self._trial, sample)
            self._patience = WINDOW
        elif before is None or sample.now - self._settled < self._patience:
            return 0
        else:
            # Clients that are only arriving make any rate rise, so the better of two windows.
            rate = max(rate, before)
        return self._try(rate, threads, busy)

    def _begin(self, sample: Sample) -> None:
        self._window = sample
        self._rate = None
        self._settled = sample.now

    def _everybody_waits(self, last: Sample, sample: Sample) -> bool:
        return sample.accepted == last.accepted and sample.share_since(last) < BUSY_SHARE

    def _try(self, rate: float, threads: int, busy: bool) -> int:
        """Start a trial; one that follows a success starts at once, its rate being known."""
        more = self._more(threads)
        # In a busy process a thread too many costs everybody time, and none leaves by itself.
        fewer = -min(max(1, threads // 3), threads - 1) if busy else 0
        step = (fewer or more) if self._wants_fewer else (more or fewer)
        self._trial = Trial(step, rate) if step else None
        return step

    def _more(self, threads: int) -> int:
        return max(0, min(max(1, threads // 2), self._maximum - threads))

    def _give_up(self, trial: Trial, sample: Sample) -> int:
        """Undo a trial, be slower with the next, and try that the other way."""
        self._trial = self._rate = None
        self._wants_fewer = trial.step > 0
        self._settled = sample.now
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        return -trial.step
