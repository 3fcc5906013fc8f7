"""A log that takes nothing: service goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netd.ctl.client import NoDaemon
from tests.faults.loads import LoadTool, Target
from tests.faults.reporting import Report
from tests.faults.sites import HANDLERS, LOCAL, service
from tests.integration.administered import Administered
from tests.integration.daemons import PATIENCE, until

SERVICE = service("threads", f"tcp:0{LOCAL}", handler="handlers:Line")


@contextmanager
def running(site: Administered, *arguments: str, **keywords: object) -> Iterator[None]:
    """A daemon whose log is not read by the test."""
    site.project.handlers(HANDLERS)
    site.configure(SERVICE)
    process = subprocess.Popen(
        site.project.command(*arguments),
        cwd=site.directory,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        **keywords,  # type: ignore[call-overload]
    )
    try:
        until(lambda: is_running(site), "the daemon is ready")
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def is_running(site: Administered) -> bool:
    """Whether the daemon says that all is ready."""
    try:
        return bool(site.status()["state"] == "running")
    except NoDaemon:
        return False


def serves_and_reloads(site: Administered, tool: LoadTool, report: Report) -> None:
    """Under load, with a line of log for each connection; and a reload works."""
    with tool.on(site, [Target("threads", 0, 32)]) as tally:
        until(lambda: site.service("threads")["served"] > 2000, "there are many lines to write")
        site.reload_well(SERVICE + "threads = 30\n")
        until(lambda: site.service("threads")["served"] > 2000, "and again")
    report.say(requests=tally.done, failed=tally.failed)
    assert not tally.failed, tally.details


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_the_disk_is_full(administered: Administered, tool: LoadTool, report: Report) -> None:
    """/dev/full takes nothing, as a full disk does."""
    with running(administered, "--logfile", "/dev/full"):
        serves_and_reloads(administered, tool, report)


@pytest.mark.long
def test_the_reader_has_stopped(administered: Administered, tool: LoadTool, report: Report) -> None:
    """Lines that nobody reads are counted, and hold up nobody."""
    reader, writer = os.pipe()
    with open(reader, "rb") as read, open(writer, "wb") as write:
        program = ["sh", "-c", "kill -STOP $$; exec cat"]
        log = administered.directory / "log"
        with log.open("wb") as kept, subprocess.Popen(program, stdin=read, stdout=kept) as stopped:
            try:
                with running(administered, stdout=write):
                    serves_and_reloads(administered, tool, report)
                    stopped.send_signal(signal.SIGCONT)
                write.close()
                assert stopped.wait(PATIENCE) == 0
            finally:
                stopped.kill()
    text = log.read_text()
    (served,) = map(int, re.findall(r"stopped: (\d+) served", text))
    dropped = sum(map(int, re.findall(r"(\d+) log lines dropped", text)))
    assert len(re.findall(r"tcp served", text)) + dropped >= served
