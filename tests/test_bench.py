"""``bench/``: what it counts is right, and a short run comes to its end with a table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import processes
from bench.figures import Figure, Sample, figure, ratio
from bench.measuring import sample
from bench.programs import CannotCompile, Load, compile_program, compile_tls_load, run_load
from bench.results import Results
from bench.scenarios import NAMES, SCENARIOS, THREADING, Unknown, chosen
from bench.servers import CERTIFICATE, HOST, NETD, Place, free_ports, is_there, running
from bench.targets import TARGETS, Target, Verdict, as_json
from netd.tls.self_signed import made

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

BURN = "import time\nwhile time.process_time() < 0.3: pass"

ONE = Sample(
    round=0,
    done=100,
    failed=0,
    seconds=2.0,
    rate=50.0,
    p50=0.01,
    p99=0.02,
    cpu=1e-4,
    load=0.1,
    others=0.0,
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the compiled programs."""
    directory = tmp_path_factory.mktemp("programs")
    for name in ("load", "floor"):
        compile_program(name, directory)
    return directory


@contextmanager
def floor(programs: Path, mode: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running floor, and its port."""
    (port,) = free_ports(1)
    command = [str(programs / "floor"), mode, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process, port
    finally:
        process.kill()
        process.communicate()


def listens(port: int, protocol: str) -> bool:
    """Whether a socket is bound to *port*; asked of the kernel, so that nothing is served."""
    address = f"0100007F:{port:04X}"
    lines = Path(f"/proc/net/{protocol}").read_text().splitlines()
    return any(line.split()[1] == address for line in lines)


def wait_until_it_listens(port: int, protocol: str) -> None:
    """Wait until a server is there."""
    pause = threading.Event()
    for _ in range(1000):
        if listens(port, protocol):
            return
        pause.wait(0.005)
    pytest.fail(f"nobody listens on {HOST}:{port}")


@needs_compiler
class TestLoad:
    @pytest.mark.parametrize(
        ("mode", "served_by", "protocol"),
        [
            ("line", "line", "tcp"),
            ("echo", "echo", "tcp"),
            ("silent", "echo", "tcp"),
            ("udp", "udp", "udp"),
        ],
    )
    def test_counts_what_the_floor_has_served(
        self, programs: Path, mode: str, served_by: str, protocol: str
    ) -> None:
        """Not one operation more or less, at the end of the time, too."""
        with floor(programs, served_by) as (server, port):
            wait_until_it_listens(port, protocol)
            found = run_load(programs / "load", mode, port, 50, 0.3)
            server.terminate()
            served = json.loads(server.communicate(timeout=10)[0])["served"]
        assert (found.done, found.failed) == (served, 0)
        assert found.done >= 50
        assert 0 < found.p50 <= found.p99
        # Both are rounded.
        assert found.rate * found.seconds <= found.done + 1
        assert found.cpu > 0

    @pytest.mark.parametrize("mode", ["line", "echo", "silent", "udp"])
    def test_counts_failures_where_nobody_serves(self, programs: Path, mode: str) -> None:
        """And comes to its end."""
        (port,) = free_ports(1)
        found = run_load(programs / "load", mode, port, 5, 0.1)
        assert found.done == 0
        assert found.failed >= 5


@pytest.fixture(scope="module")
def tls_load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load tool with TLS."""
    try:
        return compile_tls_load(tmp_path_factory.mktemp("tls"))
    except CannotCompile as error:
        pytest.skip(str(error))


class TestTlsLoad:
    @pytest.mark.parametrize("name", ["tls", "tls-bulk", "tls-reactor"])
    def test_counts_what_is_served(self, tls_load: Path, tmp_path: Path, name: str) -> None:
        """By peers, whose ends are not those of TLS, too."""
        (scenario,) = (one for one in SCENARIOS if one.name == name)
        (tmp_path / CERTIFICATE).write_bytes(made(datetime.now(UTC)))
        place = Place(tmp_path, tmp_path, None)
        with running(scenario.peers[0], scenario, place) as up:
            found = run_load(tls_load, scenario.mode, up.port, 4, 0.5)
        assert found.failed == 0
        assert found.done >= 4

    @pytest.mark.parametrize("mode", ["tls", "tls-bulk"])
    def test_counts_failures(self, tls_load: Path, mode: str) -> None:
        """Where nobody serves."""
        (port,) = free_ports(1)
        found = run_load(tls_load, mode, port, 5, 0.1)
        assert found.done == 0
        assert found.failed >= 5


class TestProcesses:
    def test_the_time_of_a_tree_has_that_of_reaped_children(self) -> None:
        """A child that has burnt 0.3 s and was waited for is in its parent's."""
        parent = (
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])\n"
            "print(flush=True); sys.stdin.read()"
        )
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", parent], stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert processes.tree(process.pid) == [process.pid]
            used = processes.cpu_of_tree(process.pid)
            assert used >= 0.29
            assert processes.cpu_of_process(process.pid) < used - 0.25
            process.stdin.close()  # type: ignore[union-attr]

    def test_the_time_of_a_tree_has_that_of_living_children(self) -> None:
        """A child that still runs."""
        child = f"{BURN}\nprint(flush=True); import sys; sys.stdin.read()"
        parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", parent], stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert len(processes.tree(process.pid)) == 2
            assert processes.cpu_of_tree(process.pid) >= 0.3
            process.stdin.close()  # type: ignore[union-attr]

    def test_the_time_of_a_process_has_that_of_ended_threads(self) -> None:
        """Their schedstat has gone with them."""
        before = processes.cpu_of_process(os.getpid())
        thread = threading.Thread(target=exec, args=(BURN.replace("process", "thread"),))
        thread.start()
        thread.join()
        assert processes.cpu_of_process(os.getpid()) - before >= 0.3

    def test_wake_ups(self) -> None:
        """New threads count whole, ended ones once."""
        before = {(1, 1): 10, (1, 2): 5, (1, 3): 7}
        assert processes.wake_ups(before, before) == 0
        assert processes.wake_ups(before, {(1, 1): 12, (1, 2): 5, (1, 4): 4}) == 2 + 4 + 1

    def test_an_end_is_the_end_of_the_tree(self) -> None:
        """Children that would outlive their parent are ended, too."""
        parent = (
            "import subprocess, sys; p = subprocess.Popen(['sleep', '60'])\n"
            "print(p.pid, flush=True); p.wait()"
        )
        process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            child = int(process.stdout.readline())
            processes.end(process, patience=0.1)
        assert not is_running(child)


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not reaped does not."""
    try:
        return processes.status(pid).state not in "ZX"
    except ProcessLookupError:
        return False


class TestFigures:
    def test_median_and_extremes(self) -> None:
        assert Figure.of([3, 1, 2]) == Figure(1, 2, 3)
        assert Figure.of([4, 1]) == Figure(1, 2.5, 4)
        assert Figure.of([]) is None

    def test_spread_is_a_share_of_the_median(self) -> None:
        assert Figure(9, 10, 12).spread == pytest.approx(0.3)
        assert Figure(0, 0, 0).spread == 0

    def test_figure_of_a_server(self) -> None:
        samples = [replace(ONE, rate=rate) for rate in (10, 30, 20)]
        assert figure(samples, lambda one: one.rate) == Figure(10, 20, 30)

    def test_ratios_are_made_round_by_round(self) -> None:
        """The machine was three times slower in round 1; the ratio was the same."""
        own = [replace(ONE, round=0, rate=60), replace(ONE, round=1, rate=20)]
        peer = [replace(ONE, round=1, rate=10), replace(ONE, round=0, rate=30)]
        assert ratio(own, peer, lambda one: one.rate) == Figure(2, 2, 2)

    def test_rounds_that_one_of_the_two_has_not_are_left_out(self) -> None:
        own = [replace(ONE, round=0), replace(ONE, round=1)]
        assert ratio(own, [], lambda one: one.rate) is None
        assert ratio(own, [replace(ONE, round=1, rate=0)], lambda one: one.rate) is None
        assert ratio(own, [replace(ONE, round=1)], lambda one: one.rate) == Figure(1, 1, 1)

    def test_a_sample_of_a_load(self) -> None:
        """Processor time is for an operation; who was not answered waited for ever."""
        load = Load(done=50, failed=0, seconds=2, rate=25, p50=0.1, p99=0.2, cpu=0.5)
        made = sample(3, load, cpu=0.01, elapsed=2.5, others=0.1)
        assert (made.round, made.cpu, made.load, made.seconds) == (3, 0.0002, 0.2, 2)
        assert sample(0, replace(load, failed=1), 0.01, 2.5, 0.1).seconds == float("inf")
        assert sample(0, replace(load, done=0), 0.01, 2.5, 0.1).cpu == float("inf")


class TestTargets:
    @pytest.mark.parametrize(
        ("at_least", "median", "verdict"),
        [
            (True, 0.9, Verdict.MET),
            (True, 0.89, Verdict.MISSED),
            (False, 0.9, Verdict.MET),
            (False, 0.91, Verdict.MISSED),
        ],
    )
    def test_verdict(self, at_least: bool, median: float, verdict: Verdict) -> None:
        target = Target("it", 0.9, at_least, lambda _: None)
        assert target.verdict(Figure(0, median, 2)) is verdict
        assert (target.miss(Figure(0, median, 2)) > 1) is (verdict is Verdict.MISSED)

    def test_without_a_figure_nothing_is_met(self) -> None:
        assert {target.verdict(target.find(Results())) for target in TARGETS} == {Verdict.UNKNOWN}

    def test_a_bound_of_nothing(self) -> None:
        """Wake-ups of an idle service."""
        target = Target("it", 0, False, lambda _: None)
        assert target.miss(Figure(0, 0, 0)) == 1
        assert target.miss(Figure(1, 1, 1)) == float("inf")

    def test_figures_come_from_the_results(self) -> None:
        """Half the rate of the peer, in the row of that scenario."""
        results = Results()
        results.add("wait-5ms-64", NETD, replace(ONE, rate=10))
        results.add("wait-5ms-64", THREADING, replace(ONE, rate=20))
        rows = {row["target"]: row for row in as_json(results)}
        row = rows[f"wait-5ms-64: rate of {THREADING}"]
        assert (row["figure"], row["verdict"]) == (0.5, "missed")


class TestChoosing:
    def test_everything_without_a_pattern(self) -> None:
        assert chosen([]) == list(NAMES)

    def test_by_name_by_workload_and_by_pattern(self) -> None:
        assert chosen(["short"]) == ["short"]
        assert chosen(["idle", "wait-2ms"]) == ["wait-2ms-64", "wait-2ms-256", "idle"]
        assert chosen(["*-256"])[0] == "wait-1ms-256"

    def test_what_is_not_there(self) -> None:
        with pytest.raises(Unknown, match='no scenario "shrt"'):
            chosen(["shrt"])

    def test_only_what_has_to_be_installed_can_be_missing(self) -> None:
        assert all(map(is_there, (NETD, THREADING, "floor", "twisted", "asyncio")))


@pytest.mark.long
@needs_compiler
def test_a_short_run_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    """The whole way: netd, a peer and the floor, started, measured and ended."""
    pytest.importorskip("rich")
    file = tmp_path / "results.json"
    arguments = ["--quick", "--only", "short", "--rounds", "1", "--seconds", "0.3"]
    peers = ["--peers", f"{THREADING},floor", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments, *peers],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert "netd and its peers" in done.stdout
    found = json.loads(file.read_text())
    assert found["absent"] == []
    servers = found["scenarios"]["short"]
    assert servers.keys() == {NETD, THREADING, "floor"}
    for (one,) in servers.values():
        assert one["done"] > 0
        assert one["failed"] == 0
        assert one["cpu"] > 0


def test_every_server_has_a_colour() -> None:
    """A plot of a whole run has bars of all of them."""
    pytest.importorskip("matplotlib", reason="the bench extra is not installed")
    from bench.plot import COLOURS

    assert {NETD, *(peer for scenario in SCENARIOS for peer in scenario.peers)} <= COLOURS.keys()
