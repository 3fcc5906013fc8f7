"""TERM with many handlers that run."""

from __future__ import annotations

import signal
from contextlib import ExitStack

from tests.faults.reporting import Report
from tests.faults.sites import HANDLERS, LOCAL, service
from tests.integration.administered import Administered, Conversation


def test_running_handlers(administered: Administered, is_long: bool, report: Report) -> None:
    """All come to their end, and nobody is reset."""
    count = 500 if is_long else 100
    site = administered
    site.project.handlers(HANDLERS)
    site.start(
        service("threads", f"tcp:0{LOCAL}", handler="handlers:Echo", threads=count)
        + service("reactor", f"tcp:0{LOCAL}", protocol="handlers:ReactorEcho")
    )
    addresses = [site.address("threads"), site.address("reactor")]
    with ExitStack() as stack:
        inside = [stack.enter_context(Conversation(addresses[n % 2])) for n in range(count)]
        for client in inside:
            assert client.ask(b"hello") == b"hello"
        site.daemon.signal(signal.SIGTERM)
        site.daemon.log.wait("stopping: handlers have")
        for client in inside:
            assert client.ask(b"still here") == b"still here"
        assert [client.finish() for client in inside] == [b""] * count
    assert site.daemon.wait() == 0
    report.say(handlers=count, lost=0)
