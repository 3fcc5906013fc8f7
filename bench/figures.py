"""Figures from samples: medians, spreads, and ratios round by round. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Sample:
    """What one round found about one server in one scenario."""

    round: int
    done: int
    failed: int
    seconds: float
    """How long it took; for silent clients, until the last of them was answered."""
    rate: float
    """Operations a second."""
    p50: float
    p99: float
    """Seconds from a client's first step to the whole answer."""
    cpu: float
    """Seconds of processor time of the server's process tree for one operation."""
    load: float
    """Share of one processor that the load tool used; near 1, it was the limit and not the
    server."""
    others: float
    """Share of one processor that went to neither the server nor the load tool."""


Key = Callable[[Sample], float]


@dataclass(frozen=True)
class Figure:
    """The median of several rounds, with the least and the greatest."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure | None:
        """The figure of *values*; None when there are none."""
        known = sorted(values)
        return cls(known[0], median(known), known[-1]) if known else None

    @property
    def spread(self) -> float:
        """How far apart the rounds are, as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def figure(samples: Sequence[Sample], key: Key) -> Figure | None:
    """The figure of one server."""
    return Figure.of(map(key, samples))


def ratio(own: Sequence[Sample], peer: Sequence[Sample], key: Key) -> Figure | None:
    """One server's figure over another's, each round by itself.

    The two of one round were measured within seconds: what slows the machine down for longer is
    in both, and not in their ratio.
    """
    of_peer = {sample.round: key(sample) for sample in peer}
    return Figure.of(
        key(sample) / of_peer[sample.round] for sample in own if of_peer.get(sample.round)
    )
