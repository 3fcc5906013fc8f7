"""The same load on netd, nginx and HAProxy while they are reloaded: for the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import pytest

from tests.faults.loads import LoadTool, Target
from tests.faults.peers import PEERS, Missing
from tests.faults.reporting import Progress, Report
from tests.faults.sites import HANDLERS, LOCAL, service
from tests.integration.administered import Administered

RELOADS: Final = 20

INTERVAL: Final = 0.3
"""Seconds of load before each reload."""

CLIENTS: Final = 16


def line(turn: int = 0) -> str:
    """A service by threads; each *turn* it has changed."""
    return '[daemon]\ngraceful_timeout = "1h"\n[log]\nconnections = false\n' + service(
        "line",
        f"tcp:0{LOCAL}",
        "unix:line:mode=666",
        handler="handlers:Line",
        threads=CLIENTS + turn,
    )


@pytest.mark.long
@pytest.mark.parametrize("name", ["netd", *(peer.__name__ for peer in PEERS)])
def test_peers(
    administered: Administered,
    tool: LoadTool,
    is_long: bool,
    progress: Progress,
    report: Report,
    name: str,
) -> None:
    """netd fails nobody; what the others do is their own affair.

    They are proxies here, before a netd that is left alone.
    """
    if not is_long:
        pytest.skip("of the long form")
    site = administered
    site.project.handlers(HANDLERS)
    site.start(line())
    if name == "netd":
        target = Target("line", 0, CLIENTS)
        failed = figures(tool, site, target, lambda turn: site.reload_well(line(turn)), progress)
        report.say(**failed)
        assert not failed["failed"]
        return
    (peer,) = (one for one in PEERS if one.__name__ == name)
    try:
        with peer(site.directory / name, site.directory / "line") as running:
            target = Target("line", 0, CLIENTS, port=running.port)
            report.say(**figures(tool, site, target, lambda turn: running.reload(), progress))
    except Missing as error:
        pytest.skip(f"there is no {error}")


def figures(
    tool: LoadTool,
    site: Administered,
    target: Target,
    reload: Callable[[int], object],
    progress: Progress,
) -> dict[str, int]:
    """What comes of a load during reloads."""
    with tool.on(site, [target]) as tally:
        for turn in range(1, RELOADS + 1):
            time.sleep(INTERVAL)
            reload(turn)
            progress.at(turn, RELOADS)
    return {"reloads": RELOADS, "requests": tally.done, "failed": tally.failed}
