"""A run: rounds of scenarios, and in each round netd and its peers in turn."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import memory, processes, starting
from bench.figures import Sample
from bench.programs import TLS_LOAD, CannotCompile, Load, compile_tls_load, run_load
from bench.results import Results
from bench.scenarios import IDLE, MEMORY, SCENARIOS, START, Mode, Scenario
from bench.servers import NETD, CannotStart, Place, Running, is_there, prepare, running

DISTURBED: Final = 0.2
"""Share of one processor that others may use before a measurement is made again."""

ATTEMPTS: Final = 3
"""How often a disturbed measurement is made, at most; the least disturbed one counts."""

GLANCE: Final = 1.0
"""Seconds over which the machine must be quiet before a disturbed measurement is repeated."""

SILENT_PATIENCE: Final = 20.0
"""Seconds after which silent clients that were not answered have failed."""

DESCRIPTORS: Final = 8192
"""Needed for 2 000 clients here and in the servers; many systems give 1024."""


@dataclass(frozen=True)
class Settings:
    """What the command line asks for. Times in seconds."""

    names: Sequence[str]
    """Scenarios by name, with ``start``, ``memory`` and ``idle``."""
    peers: Sequence[str]
    """Peers that may take part; all when there are none."""
    rounds: int
    seconds: float
    warm_up: float
    idle_seconds: float
    """How long an idle netd is watched."""
    idle_settling: float
    """How long before that, so that threads of the start have been retired."""
    pinned: bool
    """Server on one processor and load on another."""
    patience: float
    """How long to wait altogether until nobody else uses the machine; 0: take it as it is."""


Progress = Callable[[str], None]
"""Told what is measured next."""


class CannotPin(Exception):
    """There is only one processor."""


class Bench:
    """One run. *progress* is called before each step; there are ``steps``."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self._server_processor, self._load_processor = processors(settings.pinned)
        self._patience = settings.patience
        self._scenarios = [one for one in SCENARIOS if one.name in settings.names]
        self.results = Results()

    @property
    def steps(self) -> int:
        """How many times ``progress`` is called."""
        measurements = sum(len(self._servers(scenario)) for scenario in self._scenarios)
        singles = sum(map(len, self._singles()))
        return self._settings.rounds * (measurements + singles) + (IDLE in self._settings.names)

    def run(self) -> None:
        """Measure everything; ``results`` grows meanwhile. Raises CannotCompile."""
        allow_descriptors()
        with tempfile.TemporaryDirectory(prefix="netd-bench-") as directory:
            self._directory = Path(directory)
            prepare(self._directory)
            self._prepare_tls()
            # Rounds outside: what disturbs the machine for minutes spoils one round of each
            # scenario, and the median of three can do without one.
            for number in range(self._settings.rounds):
                for scenario in self._scenarios:
                    self._round(scenario, number)
                for measurements in self._singles():
                    self._single_round(measurements, number)
            if IDLE in self._settings.names:
                self._idle()

    def _prepare_tls(self) -> None:
        """Compile the clients of TLS scenarios, or leave these out."""
        scenarios = [scenario for scenario in self._scenarios if scenario.mode.is_tls]
        if not scenarios:
            return
        try:
            compile_tls_load(self._directory)
        except CannotCompile as error:
            for scenario in scenarios:
                for server in self._servers(scenario):
                    self.results.absent[scenario.name, server] = str(error)

    def _servers(self, scenario: Scenario) -> list[str]:
        wanted = self._settings.peers
        peers = [peer for peer in scenario.peers if not wanted or peer in wanted]
        return [NETD, *filter(is_there, peers)]

    def _round(self, scenario: Scenario, number: int) -> None:
        servers = self._servers(scenario)
        # Each round begins with another server, lest one always follows the same other.
        turn = number % len(servers)
        for server in servers[turn:] + servers[:turn]:
            self._progress(f"round {number + 1}: {scenario.name}, {server}")
            if (scenario.name, server) in self.results.absent:
                continue
            try:
                sample = self._sample(scenario, server, number)
            except CannotStart as error:
                self.results.absent[scenario.name, server] = str(error)
            else:
                self.results.add(scenario.name, server, sample)

    def _sample(self, scenario: Scenario, server: str, number: int) -> Sample:
        """Measure, and again when it is quiet if others disturbed it."""
        attempts: list[Sample] = []
        while len(attempts) < ATTEMPTS:
            with (
                tempfile.TemporaryDirectory(dir=self._directory) as place,
                running(server, scenario, self._place(place)) as up,
            ):
                attempts.append(self._measure(scenario, up, number))
            if attempts[-1].others < DISTURBED or self._patience <= 0:
                break
            self._wait_for_quiet()
        return min(attempts, key=lambda sample: sample.others)

    def _wait_for_quiet(self) -> None:
        """Wait until the machine has nothing else to do, or patience has come to its end."""
        began = time.monotonic()
        while time.monotonic() - began < self._patience:
            busy, own = processes.busy(), time.process_time()
            time.sleep(GLANCE)
            if processes.busy() - busy - (time.process_time() - own) < DISTURBED * GLANCE:
                break
        self._patience -= time.monotonic() - began

    def _place(self, directory: str) -> Place:
        return Place(Path(directory), self._directory, self._server_processor)

    def _measure(self, scenario: Scenario, server: Running, number: int) -> Sample:
        """Warm a server up, and measure it."""
        seconds = self._settings.seconds
        if scenario.mode is Mode.SILENT:
            # No warm-up: that the threads are not there yet is what it is about.
            seconds = SILENT_PATIENCE
        elif self._settings.warm_up:
            self._load(scenario, server, self._settings.warm_up)
        before = processes.settled_cpu_of_tree(server.pid)
        began, busy, own = time.monotonic(), processes.busy(), time.process_time()
        load = self._load(scenario, server, seconds)
        elapsed = time.monotonic() - began
        # At the same moment: what the server does after that is in no share of these seconds.
        used = processes.cpu_of_tree(server.pid) - before + load.cpu
        used += time.process_time() - own
        others = (processes.busy() - busy - used) / elapsed
        cpu = processes.settled_cpu_of_tree(server.pid) - before
        return sample(number, load, cpu, elapsed, others)

    def _load(self, scenario: Scenario, server: Running, seconds: float) -> Load:
        program = self._directory / (TLS_LOAD if scenario.mode.is_tls else "load")
        with processes.on_processor(self._load_processor):
            return run_load(program, scenario.mode, server.port, scenario.clients, seconds)

    def _singles(self) -> list[Mapping[str, Callable[[Place], float]]]:
        """What is measured by itself in each round."""
        known = {START: starting.MEASUREMENTS, MEMORY: memory.MEASUREMENTS}
        return [known[name] for name in known if name in self._settings.names]

    def _single_round(
        self, measurements: Mapping[str, Callable[[Place], float]], number: int
    ) -> None:
        for name, measure in measurements.items():
            self._progress(f"round {number + 1}: {name}")
            if (START, name) not in self.results.absent:
                self._single(name, measure)

    def _single(self, name: str, measure: Callable[[Place], float]) -> None:
        with tempfile.TemporaryDirectory(dir=self._directory) as place:
            try:
                figure = measure(self._place(place))
            except CannotStart as error:
                self.results.absent[START, name] = str(error)
            else:
                self.results.singles.setdefault(name, []).append(figure)

    def _idle(self) -> None:
        self._progress(f"netd idle for {self._settings.idle_seconds:g} s")
        settling, seconds = self._settings.idle_settling, self._settings.idle_seconds
        self._single(
            starting.IDLE_WAKE_UPS, lambda place: starting.idle_wake_ups(place, settling, seconds)
        )


def sample(number: int, load: Load, cpu: float, elapsed: float, others: float) -> Sample:
    """One round's figures, the server having used *cpu* seconds while the load took *elapsed*."""
    return Sample(
        round=number,
        done=load.done,
        failed=load.failed,
        # Silent clients that were never answered took for ever.
        seconds=load.seconds if not load.failed else float("inf"),
        rate=load.rate,
        p50=load.p50,
        p99=load.p99,
        cpu=cpu / load.done if load.done else float("inf"),
        load=load.cpu / elapsed,
        others=others,
    )


def processors(pinned: bool) -> tuple[int | None, int | None]:
    """Where the server and the load run; None for anywhere. Raises CannotPin."""
    if not pinned:
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise CannotPin("there is only one processor, so server and load cannot have one each")
    return allowed[0], allowed[1]


def allow_descriptors() -> None:
    """Let this process and its children have as many descriptors as the scenarios need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < DESCRIPTORS:
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
