"""The plot: processor time and rates, a bar for each server in each scenario."""

# matplotlib is in the extra "bench" only, and the code is also checked where it is not installed.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from bench.results import Results
from bench.scenarios import SCENARIOS, THREADING
from bench.servers import NETD

COLOURS: Final = {
    NETD: "#d1495b",
    THREADING: "#30638e",
    "TCPServer": "#7ba6c9",
    "UDPServer": "#7ba6c9",
    "ThreadingUDPServer": "#30638e",
    "floor": "#4d4d4d",
    "twisted": "#edae49",
    "asyncio": "#66a182",
    "uvloop": "#2e6f57",
    "gevent": "#8d6a9f",
    "ForkingTCPServer": "#1b4965",
    "tcpserver": "#a98467",
    "xinetd": "#6c584c",
}

BAR: Final = 0.2
"""Inches of a bar, with the gap below it."""
GAP: Final = 0.8
"""Height between two scenarios, in bars."""

Row = tuple[str, str, float]
"""A scenario, a server, and where its bars are, in bars from the top."""


def draw(results: Results, file: Path) -> None:
    """Draw into *file*, whose suffix says the format: ``.svg``, ``.png``, ``.pdf``."""
    rows = _rows(results)
    if not rows:
        return
    height = 2.2 + BAR * rows[-1][2]
    figure = Figure(figsize=(13, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_cpu(left, results, rows)
    _draw_rates(right, results, rows)
    _name_scenarios(left, rows)
    figure.suptitle("netd and its peers: medians of the rounds")
    figure.legend(handles=_legend(rows), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file, dpi=110)


def _legend(rows: list[Row]) -> list[Patch]:
    """A patch for each colour, which servers for TCP and UDP share."""
    names: dict[str, list[str]] = {}
    for server in dict.fromkeys(server for _, server, _ in rows):
        names.setdefault(COLOURS[server], []).append(server)
    return [Patch(color=colour, label=", ".join(those)) for colour, those in names.items()]


def _rows(results: Results) -> list[Row]:
    rows: list[Row] = []
    place = 0.0
    for scenario in SCENARIOS:
        servers = [one for one in (NETD, *scenario.peers) if results.of(scenario.name, one)]
        for server in servers:
            rows.append((scenario.name, server, place))
            place += 1
        place += GAP if servers else 0
    return rows


def _draw_cpu(axes: Any, results: Results, rows: list[Row]) -> None:
    for name, server, place in rows:
        cpu = results.figure(name, server, lambda sample: sample.cpu * 1e6)
        if cpu is not None:
            axes.barh(place, cpu.median, height=0.85, color=COLOURS[server])
            _write(axes, place, cpu.median, f"{cpu.median:,.{1 if cpu.median < 100 else 0}f}")
    _scale(axes)
    axes.set_xlabel("server's processor time for an operation, µs (less is better)")


def _draw_rates(axes: Any, results: Results, rows: list[Row]) -> None:
    for name, server, place in rows:
        ratio = results.ratio(name, server, lambda sample: sample.rate)
        if ratio is not None and server != NETD:
            # To the right of 1 netd is faster, to the left it is slower.
            axes.barh(place, ratio.median - 1, left=1, height=0.85, color=COLOURS[server])
            _write(axes, place, max(ratio.median, 1), f"{ratio.median:.2f}")
    _scale(axes)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.axvline(0.9, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("netd's rate over this server's (more is better; dotted: 0.9)")


def _write(axes: Any, place: float, end: float, text: str) -> None:
    """Write a bar's figure beside its end."""
    axes.annotate(
        text, (end, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7
    )


def _scale(axes: Any) -> None:
    """Logarithmic, since a hundredfold stands beside a twofold; in plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.margins(x=0.1)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _name_scenarios(axes: Any, rows: list[Row]) -> None:
    """Each name beside the middle of its bars, the first scenario at the top."""
    places: dict[str, list[float]] = {}
    for name, _, place in rows:
        places.setdefault(name, []).append(place)
    axes.set_yticks([sum(those) / len(those) for those in places.values()], list(places))
    axes.set_ylim(rows[-1][2] + 1, -1)
