"""What a run found, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.figures import Figure, Key, Sample, figure, ratio
from bench.servers import NETD


@dataclass
class Results:
    """Grows while the bench runs, and can be shown at any time."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    """By scenario, then by server."""
    absent: dict[tuple[str, str], str] = field(default_factory=dict)
    """Why a server is not in a scenario."""
    singles: dict[str, list[float]] = field(default_factory=dict)
    """Figures of ``start`` and ``idle`` by their name, one a round."""

    def add(self, scenario: str, server: str, sample: Sample) -> None:
        """Take a round's sample."""
        self.samples.setdefault(scenario, {}).setdefault(server, []).append(sample)

    def of(self, scenario: str, server: str) -> list[Sample]:
        """The samples of a server; none if it was not measured."""
        return self.samples.get(scenario, {}).get(server, [])

    def figure(self, scenario: str, server: str, key: Key) -> Figure | None:
        """A figure of a server."""
        return figure(self.of(scenario, server), key)

    def ratio(self, scenario: str, peer: str, key: Key) -> Figure | None:
        """netd's figure over that of *peer*."""
        return ratio(self.of(scenario, NETD), self.of(scenario, peer), key)

    def single(self, name: str) -> Figure | None:
        """A figure of ``start`` or ``idle``."""
        return Figure.of(self.singles.get(name, ()))

    def as_json(self) -> Mapping[str, Any]:
        """Every sample of every round, for programs."""
        return {
            "scenarios": {
                scenario: {
                    server: [asdict(sample) for sample in samples]
                    for server, samples in servers.items()
                }
                for scenario, servers in self.samples.items()
            },
            "absent": [
                {"scenario": scenario, "server": server, "why": why}
                for (scenario, server), why in self.absent.items()
            ],
            "singles": dict(self.singles),
        }
