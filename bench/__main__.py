"""The command line: ``python -m bench``."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from bench import targets
from bench.measuring import Bench, CannotPin, Settings
from bench.programs import CannotCompile
from bench.results import Results
from bench.scenarios import NAMES, SCENARIOS, Unknown, chosen
from bench.servers import ROOT

PEERS: Final = tuple(dict.fromkeys(peer for scenario in SCENARIOS for peer in scenario.peers))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", metavar="NAMES", help="Scenarios, with commas between; wait-* is fine.")
@click.option("--peers", metavar="NAMES", help="Peers that take part, with commas between.")
@click.option("--rounds", type=click.IntRange(1), help="Default: 3.")
@click.option("--seconds", type=click.FloatRange(0.1), help="Of a measurement; default: 2.")
@click.option("--quick", is_flag=True, help="One short round: to see that it works.")
@click.option("--pin", is_flag=True, help="Server on the first processor, load on the second.")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    help="Seconds to wait in all for a machine that others use to become quiet; default: 120.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all samples.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw into an .svg or .png file.")
@click.option("--list", "list_names", is_flag=True, help="Say what can be measured, and leave.")
def main(
    only: str | None,
    peers: str | None,
    rounds: int | None,
    seconds: float | None,
    quick: bool,
    pin: bool,
    patience: float | None,
    json_file: Path | None,
    plot: Path | None,
    list_names: bool,
) -> None:
    """Measure netd against its peers, in turn."""
    if list_names:
        click.echo(f"scenarios: {', '.join(NAMES)}\npeers: {', '.join(PEERS)}")
        return
    # So that SIGTERM, too, ends by its pid whatever has been started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = Settings(
        names=_names(only),
        peers=_peers(peers),
        rounds=rounds or (1 if quick else 3),
        seconds=seconds or (0.5 if quick else 2.0),
        warm_up=0.2 if quick else 1.0,
        idle_seconds=1.0 if quick else 10.0,
        idle_settling=1.0 if quick else 12.0,
        pinned=pin,
        patience=patience if patience is not None else (0 if quick else 120),
    )
    results = _measured(settings, whole=only is None)
    if json_file is not None:
        json_file.write_text(_as_json(settings, results))
    if plot is not None:
        from bench.plot import draw

        draw(results, plot)


def _names(only: str | None) -> list[str]:
    try:
        return chosen(only.split(",") if only else [])
    except Unknown as error:
        raise click.UsageError(str(error)) from None


def _peers(peers: str | None) -> list[str]:
    wanted = peers.split(",") if peers else []
    for peer in wanted:
        if peer not in PEERS:
            raise click.UsageError(f'no peer "{peer}"; there are {", ".join(PEERS)}')
    return wanted


def _measured(settings: Settings, whole: bool) -> Results:
    """Run with a progress bar, and show what there is, even after Ctrl-C.

    The targets are shown after a *whole* run only: of others most would not be measured.
    """
    # Here, so that --help and --list need no Rich.
    try:
        from bench import showing
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; pip install -e '.[bench]' brings it") from None
    results = Results()
    try:
        with showing.progress_bar(sys.stderr) as (step, steps):
            bench = Bench(settings, step)
            steps(bench.steps)
            results = bench.results
            bench.run()
    except (CannotCompile, CannotPin) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("interrupted; so far:", err=True)
    console = showing.console_for(sys.stdout)
    showing.show(results, console)
    if whole:
        showing.show_targets(results, console)
    return results


def _as_json(settings: Settings, results: Results) -> str:
    whole = {
        "machine": _machine(),
        "settings": asdict(settings),
        **results.as_json(),
        "targets": targets.as_json(results),
    }
    return json.dumps(_finite(whole), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """The same, with null for "for ever", which JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _machine() -> dict[str, Any]:
    """What the figures depend on beside netd."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    revision = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processors": len(os.sched_getaffinity(0)),
        "netd": revision,
    }


if __name__ == "__main__":
    main(prog_name="python -m bench")
