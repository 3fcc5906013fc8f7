"""How many threads or processes a service needs. Pure.

Few runnable threads are fast, because each further one costs hand-overs of the interpreter's lock.
But handlers wait, and a thread that waits accepts nothing. So a pool starts with one thread, and is
looked at only while none is idle. Pools of processes grow by the same rule. The measurements behind
it are in ``docs/architecture.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOOK_INTERVAL: Final = 0.005
"""Seconds between two looks: the delay of a waiting client for each step of growth."""

BUSY_SHARE: Final = 0.7
"""Share of one processor above which more threads may not help a full pool."""

WINDOW: Final = 0.1
"""Seconds over which the rate before and during a trial is measured."""

WORTH: Final = 1.25
"""A trial of more threads is kept if the rate grew by this factor."""

HARMLESS: Final = 0.95
"""A trial of fewer threads is kept if the rate is still at least this factor of the old one."""

LONGEST_PATIENCE: Final = 5.0
"""The most seconds between trials, after several that failed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is measured at a look."""

    now: float
    """Seconds of a monotonic clock."""
    accepted: int
    """Connections accepted since the pool began."""
    cpu: float
    """Seconds of processor time used, divided by the processors that the pool can use: one by the
    threads of a process, all by processes."""

    def rate_since(self, earlier: Sample) -> float:
        """Connections accepted a second since *earlier*."""
        elapsed = self.now - earlier.now
        return (self.accepted - earlier.accepted) / elapsed if elapsed > 0 else 0.0

    def share_since(self, earlier: Sample) -> float:
        """Share of one processor used since *earlier*."""
        elapsed = self.now - earlier.now
        return (self.cpu - earlier.cpu) / elapsed if elapsed > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """Threads added to see whether the rate rises, or removed to see whether it falls."""

    step: int
    rate_before: float

    def succeeded(self, rate: float) -> bool:
        """Whether to keep the change."""
        factor = WORTH if self.step > 0 else HARMLESS
        return rate > 0 and rate >= factor * self.rate_before


class Growth:
    """Decides at each look how many threads a pool of at most *maximum* gains or loses.

    For one thread only.
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
        """The rate of the previous window; None if the pool was not full then."""

    def rest(self) -> None:
        """A thread was idle: the pool is large enough, and measuring starts anew."""
        self._last = self._window = self._trial = self._rate = None
        self._patience = WINDOW

    def look(self, sample: Sample, threads: int) -> int:
        """Return how many threads to add; a negative number says how many to remove.

        *threads* is how many there are. Called every LOOK_INTERVAL while no thread is idle.
        """
        last, self._last = self._last, sample
        if last is None or self._window is None:
            self._begin(sample)
            return 0
        # All threads wait, so more of them cost no processor time. No trial is needed.
        if self._all_wait(last, sample):
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
            # The rate rises by itself while clients are only arriving. Comparing with the better of
            # two windows keeps that from looking like a success.
            rate = max(rate, before)
        return self._try(rate, threads, busy)

    def _begin(self, sample: Sample) -> None:
        self._window = sample
        self._rate = None
        self._settled = sample.now

    def _all_wait(self, last: Sample, sample: Sample) -> bool:
        return sample.accepted == last.accepted and sample.share_since(last) < BUSY_SHARE

    def _try(self, rate: float, threads: int, busy: bool) -> int:
        """Start a trial. After a success it starts immediately, since the rate is known."""
        more = self._more(threads)
        # In a busy process a superfluous thread slows all others, and it is never idle, so it
        # would not end by itself.
        fewer = -min(max(1, threads // 3), threads - 1) if busy else 0
        step = (fewer or more) if self._wants_fewer else (more or fewer)
        self._trial = Trial(step, rate) if step else None
        return step

    def _more(self, threads: int) -> int:
        return max(0, min(max(1, threads // 2), self._maximum - threads))

    def _give_up(self, trial: Trial, sample: Sample) -> int:
        """Undo a trial. The next one comes later, and goes in the other direction."""
        self._trial = self._rate = None
        self._wants_fewer = trial.step > 0
        self._settled = sample.now
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        return -trial.step
