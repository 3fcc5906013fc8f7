"""What netd has to reach, a row each. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from bench import memory, starting
from bench.figures import Figure, Key, Sample
from bench.results import Results
from bench.scenarios import (
    FLOOR,
    FORKING,
    SILENT_CLIENTS,
    TCPSERVER,
    THREADING,
    TWISTED,
    WORKLOADS,
    XINETD,
)
from bench.servers import NETD


class Verdict(enum.StrEnum):
    """Whether a target is reached."""

    MET = "met"
    MISSED = "missed"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Target:
    """A bound on a figure."""

    text: str
    bound: float
    at_least: bool
    """The figure has to be at least the bound; otherwise at most."""
    find: Callable[[Results], Figure | None]
    unit: str = ""

    def verdict(self, figure: Figure | None) -> Verdict:
        """Judge the median."""
        if figure is None:
            return Verdict.UNKNOWN
        reached = figure.median >= self.bound if self.at_least else figure.median <= self.bound
        return Verdict.MET if reached else Verdict.MISSED

    def miss(self, figure: Figure) -> float:
        """By what factor the figure is off its bound; at most 1 if it is met."""
        if self.at_least:
            return self.bound / figure.median if figure.median else float("inf")
        if self.bound:
            return figure.median / self.bound
        return float("inf") if figure.median else 1.0


def _cpu(sample: Sample) -> float:
    return sample.cpu


def _rate(sample: Sample) -> float:
    return sample.rate


def _p50(sample: Sample) -> float:
    return sample.p50


def _ratio(text: str, scenario: str, peer: str, key: Key, bound: float, at_least: bool) -> Target:
    return Target(
        f"{scenario}: {text} of {peer}",
        bound,
        at_least,
        lambda results: results.ratio(scenario, peer, key),
    )


def _single(text: str, name: str, bound: float, unit: str) -> Target:
    return Target(text, bound, False, lambda results: results.single(name), unit)


def _all() -> Iterable[Target]:
    yield _ratio("CPU", "short", THREADING, _cpu, 0.30, False)
    yield _ratio("rate", "short", THREADING, _rate, 2.5, True)
    yield _ratio("CPU", "short", FLOOR, _cpu, 2.0, False)
    for workload in WORKLOADS:
        for clients in (64, 256):
            yield _ratio("rate", f"{workload}-{clients}", THREADING, _rate, 0.9, True)
            yield _ratio("p50", f"{workload}-{clients}", THREADING, _p50, 1.1, False)
    silent = f"silent-{SILENT_CLIENTS}"
    yield Target(
        f"{silent}: all answered",
        2.0,
        False,
        lambda results: results.figure(silent, NETD, lambda sample: sample.seconds),
        "s",
    )
    yield _ratio("rate", "echo-64", THREADING, _rate, 1.0, True)
    yield _single("memory of a silent TLS client, threads", memory.SILENT_THREADS, 16, "KiB")
    yield _single("memory of a silent TLS client, reactor", memory.SILENT_REACTOR, 16, "KiB")
    yield _single("idle: wake-ups", starting.IDLE_WAKE_UPS, 0, "")
    yield _single("netdctl check", starting.CHECK, 0.6, "s")
    yield _single("start to ready, 1 service", starting.START_ONE, 0.8, "s")
    yield _single("start to ready, 100 services", starting.START_MANY, 2.0, "s")
    yield _ratio("CPU", "udp", "UDPServer", _cpu, 1.5, False)
    yield _ratio("CPU", "udp", "ThreadingUDPServer", _cpu, 0.15, False)
    yield _ratio("CPU", "reactor", TWISTED, _cpu, 1.15, False)
    yield _ratio("CPU", "async", TWISTED, _cpu, 1.5, False)
    # As many handshakes, or bytes, for a second of processor time, but for a twentieth.
    for by, peer in (("", THREADING), ("-process", FORKING), ("-reactor", TWISTED)):
        for scenario in ("tls", "tls-bulk"):
            yield _ratio("CPU", scenario + by, peer, _cpu, 1.05, False)
    yield _ratio("CPU", "process", FORKING, _cpu, 0.05, False)
    yield _ratio("CPU", "process", FLOOR, _cpu, 2.0, False)
    yield _ratio("rate", "process", FORKING, _rate, 20, True)
    yield _ratio("rate", "process-wait-2ms", FORKING, _rate, 0.9, True)
    yield _ratio("rate", "process-wait-100ms", FORKING, _rate, 0.9, True)
    yield _ratio("rate", "fresh", FORKING, _rate, 0.8, True)
    yield _ratio("rate", "program", TCPSERVER, _rate, 0.9, True)
    yield _ratio("rate", "program", XINETD, _rate, 1.0, True)


TARGETS: Final = tuple(_all())


def as_json(results: Results) -> list[dict[str, Any]]:
    """Every target with its figure, for programs."""
    rows = []
    for target in TARGETS:
        figure = target.find(results)
        rows.append(
            {
                "target": target.text,
                "bound": target.bound,
                "at_least": target.at_least,
                "figure": figure.median if figure else None,
                "low": figure.low if figure else None,
                "high": figure.high if figure else None,
                "verdict": target.verdict(figure),
            }
        )
    return rows
