"""``netd.worker.suspend``: handlers that wait, in threads of their own."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from netd.worker.suspend import Suspensions
from tests.reactors import PATIENCE


class Daemon:
    """Whom the worker tells that somebody wants a service suspended."""

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
        """A handler that calls ``shutdown()``, as far as the daemon has heard of it."""

        def shutdown() -> None:
            self.suspensions.ask(service)
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


def test_waits_until_it_is_so(daemon: Daemon) -> None:
    """A handler goes on when nobody takes any more, and not before."""
    handler = daemon.handler("time")
    assert daemon.returned == []
    daemon.suspensions.done("time")
    ends(handler)
    assert daemon.returned == ["time"]


def test_another_service(daemon: Daemon) -> None:
    """Each waits for its own."""
    first, second = daemon.handler("time"), daemon.handler("date")
    daemon.suspensions.done("date")
    ends(second)
    assert daemon.returned == ["date"]
    daemon.suspensions.done("time")
    ends(first)


def test_several_handlers(daemon: Daemon) -> None:
    """All who wait for a service are told."""
    handlers = [daemon.handler("time") for _ in range(5)]
    daemon.suspensions.done("time")
    ends(*handlers)


def test_again(daemon: Daemon) -> None:
    """Who asks after that is not answered by the answer of before."""
    first = daemon.handler("time")
    daemon.suspensions.done("time")
    ends(first)
    second = daemon.handler("time")
    assert daemon.returned == ["time"]
    daemon.suspensions.done("time")
    ends(second)
    assert daemon.asked == {"time": 2}


def test_nobody_waits(daemon: Daemon) -> None:
    """What another worker's handler has asked for is told to all, and most do not wait for it."""
    daemon.suspensions.done("time")
    handler = daemon.handler("time")
    assert daemon.returned == []
    daemon.suspensions.done("time")
    ends(handler)


def test_in_the_reactors_thread(daemon: Daemon) -> None:
    """The answer comes by that thread, so it cannot wait for it."""
    daemon.suspensions.ask("time")
    assert daemon.asked == {"time": 1}


def test_the_daemon_has_gone(daemon: Daemon) -> None:
    """All go on: nothing is taken without a daemon."""
    handlers = [daemon.handler(name) for name in ("time", "date")]
    daemon.suspensions.all_done()
    ends(*handlers)


def test_asked_when_the_daemon_has_gone(daemon: Daemon) -> None:
    """Nobody is asked, and nobody waits."""
    daemon.suspensions.all_done()
    late = threading.Thread(target=daemon.suspensions.ask, args=("time",), daemon=True)
    late.start()
    ends(late)
    assert daemon.asked == {}
