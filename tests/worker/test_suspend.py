"""``netd.worker.suspend``: handlers that wait, in threads of their own."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from netd.worker.suspend import Suspensions
from tests.reactors import PATIENCE


class Daemon:
    """The daemon, which a worker asks to suspend a service."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._heard = threading.Semaphore(0)
        self.suspensions = Suspensions(self._hear)
        self.returned: list[str] = []

    def _hear(self, service: str) -> None:
        self.asked[service] += 1
        self._heard.release()

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self._heard.acquire(timeout=PATIENCE)

    def handler(self, service: str) -> threading.Thread:
        """Start a handler that calls ``shutdown()``; returns once the daemon is asked."""

        def shutdown() -> None:
            self.suspensions.request(service)
            self.returned.append(service)

        thread = threading.Thread(target=shutdown, daemon=True)
        thread.start()
        self.wait_for(1)
        return thread


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def ends(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_waits_for_the_suspension(daemon: Daemon) -> None:
    """A handler goes on once its service is suspended, and no earlier."""
    handler = daemon.handler("time")
    assert daemon.returned == []
    daemon.suspensions.complete("time")
    ends(handler)
    assert daemon.returned == ["time"]


def test_another_service(daemon: Daemon) -> None:
    """A handler waits for its own service."""
    first, second = daemon.handler("time"), daemon.handler("date")
    daemon.suspensions.complete("date")
    ends(second)
    assert daemon.returned == ["date"]
    daemon.suspensions.complete("time")
    ends(first)


def test_several_handlers(daemon: Daemon) -> None:
    """One answer releases every handler that waits for the service."""
    handlers = [daemon.handler("time") for _ in range(5)]
    daemon.suspensions.complete("time")
    ends(*handlers)


def test_again(daemon: Daemon) -> None:
    """A later request is not released by an earlier answer."""
    first = daemon.handler("time")
    daemon.suspensions.complete("time")
    ends(first)
    second = daemon.handler("time")
    assert daemon.returned == ["time"]
    daemon.suspensions.complete("time")
    ends(second)
    assert daemon.asked == {"time": 2}


def test_answer_without_a_request(daemon: Daemon) -> None:
    """Every worker is told what a handler of one has requested; most have no handler waiting."""
    daemon.suspensions.complete("time")
    handler = daemon.handler("time")
    assert daemon.returned == []
    daemon.suspensions.complete("time")
    ends(handler)


def test_in_the_reactors_thread(daemon: Daemon) -> None:
    """The answer arrives by that thread, so the request returns immediately."""
    daemon.suspensions.request("time")
    assert daemon.asked == {"time": 1}


def test_the_daemon_has_gone(daemon: Daemon) -> None:
    """All handlers go on: without a daemon the worker accepts nothing."""
    handlers = [daemon.handler(name) for name in ("time", "date")]
    daemon.suspensions.abandon()
    ends(*handlers)


def test_asked_when_the_daemon_has_gone(daemon: Daemon) -> None:
    """A request without a daemon returns immediately."""
    daemon.suspensions.abandon()
    late = threading.Thread(target=daemon.suspensions.request, args=("time",), daemon=True)
    late.start()
    ends(late)
    assert daemon.asked == {}
