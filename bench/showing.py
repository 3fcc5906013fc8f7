"""The tables on the terminal, and the progress bar."""

# Rich is in the extra "bench" only, and the code is also checked where that is not installed.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.figures import Figure, Key
from bench.measuring import DISTURBED
from bench.memory import MEASUREMENTS
from bench.results import Results
from bench.scenarios import SCENARIOS, Mode, Scenario
from bench.servers import NETD
from bench.starting import IDLE_WAKE_UPS
from bench.targets import TARGETS, Verdict

PLAIN_WIDTH: Final = 150
"""Columns of the tables where there is no terminal that says how many it has."""

LOAD_IS_THE_LIMIT: Final = 0.9
"""Share of one processor above which the load tool's rate says little about the server."""

_COLOURS: Final = {Verdict.MET: "green", Verdict.MISSED: "bold red", Verdict.UNKNOWN: "dim"}


def console_for(file: IO[str]) -> Console:
    """A console that writes to *file*, wide enough for the tables if that is no terminal."""
    return Console(file=file, width=None if file.isatty() else PLAIN_WIDTH)


@contextmanager
def progress_bar(file: IO[str]) -> Iterator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """A bar on *file*: gives what to call before each step, and with the number of steps."""
    columns = (
        TextColumn("{task.description:<48}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # Once a second: drawing takes processor time from what is being measured.
    with Progress(*columns, console=Console(file=file), refresh_per_second=1) as bar:
        task = bar.add_task("", total=None, completed=-1)

        def step(what: str) -> None:
            bar.update(task, description=what, advance=1)

        def steps(number: int) -> None:
            bar.update(task, total=number)

        yield step, steps
        bar.update(task, description="done", advance=1)


def show(results: Results, console: Console) -> None:
    """Print what has been measured, what could not be, and the targets."""
    if results.samples:
        console.print(_servers(results))
    if results.singles:
        console.print(_singles(results))
    for (scenario, server), why in results.absent.items():
        console.print(f"[red]{scenario}, {server}: not measured:[/] {escape(why)}")


def show_targets(results: Results, console: Console) -> None:
    """Print the table of the targets, and how many are missed."""
    table = Table(title="targets")
    table.add_column("target")
    for heading in ("figure", "least", "greatest", "bound", "off by"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    verdicts = []
    for target in TARGETS:
        figure = target.find(results)
        verdict = target.verdict(figure)
        verdicts.append(verdict)
        off = f"{target.miss(figure):.2f}" if figure and verdict is Verdict.MISSED else ""
        bound = f"{'≥' if target.at_least else '≤'} {target.bound:g} {target.unit}".rstrip()
        colour = _COLOURS[verdict]
        table.add_row(target.text, *_three(figure), bound, off, f"[{colour}]{verdict}[/]")
    console.print(table)
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict)
    console.print(f"{len(verdicts)} targets: {counts}")


def _three(figure: Figure | None) -> tuple[str, str, str]:
    if figure is None:
        return "-", "", ""
    return f"{figure.median:.3g}", f"{figure.low:.3g}", f"{figure.high:.3g}"


def _servers(results: Results) -> Table:
    caption = "ratios: netd's figure over this server's, round by round"
    table = Table(title="netd and its peers, medians", caption=caption)
    table.add_column("scenario", no_wrap=True)
    table.add_column("server", no_wrap=True)
    headings = ("a second", "CPU µs", "p50 ms", "p99 ms", "failed", "spread", "load", "others")
    for heading in (*headings, "rate ratio", "CPU ratio", "p50 ratio"):
        table.add_column(heading, justify="right")
    for scenario in SCENARIOS:
        name = scenario.name
        servers = [one for one in (NETD, *scenario.peers) if results.of(name, one)]
        for server in servers:
            first = name if server == servers[0] else ""
            table.add_row(first, _bold(server), *_cells(results, scenario, server))
        if servers:
            table.add_section()
    return table


def _bold(server: str) -> str:
    return f"[bold]{server}[/]" if server == NETD else server


def _cells(results: Results, scenario: Scenario, server: str) -> list[str]:
    name = scenario.name
    samples = results.of(name, server)
    rate = results.figure(name, server, lambda sample: sample.rate)
    failed = sum(sample.failed for sample in samples)
    load = max(sample.load for sample in samples)
    others = max(sample.others for sample in samples)
    return [
        _rate(results, scenario, server),
        _median(results, name, server, lambda sample: sample.cpu * 1e6, ".1f"),
        _median(results, name, server, lambda sample: sample.p50 * 1e3, ".2f"),
        _median(results, name, server, lambda sample: sample.p99 * 1e3, ".2f"),
        f"[red]{failed}[/]" if failed else "0",
        f"{rate.spread:.0%}" if rate else "",
        _marked(load, LOAD_IS_THE_LIMIT),
        _marked(others, DISTURBED),
        *_ratios(results, name, server),
    ]


def _rate(results: Results, scenario: Scenario, server: str) -> str:
    if scenario.mode is Mode.SILENT:
        return f"in {_median(results, scenario.name, server, lambda one: one.seconds, '.2f')} s"
    return _median(results, scenario.name, server, lambda sample: sample.rate, ",.0f")


def _median(results: Results, name: str, server: str, key: Key, form: str) -> str:
    figure = results.figure(name, server, key)
    return f"{figure.median:{form}}" if figure else "-"


def _marked(share: float, limit: float) -> str:
    text = f"{max(share, 0):.0%}"
    return f"[yellow]{text}[/]" if share >= limit else text


def _ratios(results: Results, name: str, peer: str) -> list[str]:
    """netd's figures over this peer's."""
    if peer == NETD:
        return ["", "", ""]
    keys: tuple[Key, ...] = (
        lambda sample: sample.rate,
        lambda sample: sample.cpu,
        lambda sample: sample.p50,
    )
    figures = (results.ratio(name, peer, key) for key in keys)
    return [f"{figure.median:.2f}" if figure else "-" for figure in figures]


def _singles(results: Results) -> Table:
    table = Table(title="netd by itself")
    table.add_column("what")
    for heading in ("median", "least", "greatest"):
        table.add_column(heading, justify="right")
    for name in results.singles:
        unit = "" if name == IDLE_WAKE_UPS else " KiB" if name in MEASUREMENTS else " s"
        table.add_row(name, *(f"{text}{unit}" for text in _three(results.single(name))))
    return table
