"""``netd.worker.build.recycle_request``: when a worker process asks to be replaced, or killed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netd.model.address import InetAddress, Transport
from netd.model.service import Reference, Runs, Service
from netd.worker.build.recycle_request import RecycleRequest


class FakeLink:
    """A daemon that records what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def recycle(self, service: str, why: str) -> None:
        self.asked.append(("recycle", service, why))

    def handler_hung(self, service: str) -> None:
        self.asked.append(("hung", service))

    def suspend(self, service: str) -> None:
        self.asked.append(("suspend", service))

    def relay(self, lines: str) -> None:
        self.asked.append(("relay", lines))

    def after_fork(self, suspend: Callable[[], None]) -> None:
        self.asked.append(("after_fork",))


def service(
    max_requests: int = 0,
    max_memory: int | None = None,
    threads: int = 100,
    handler_timeout: float | None = None,
) -> Service:
    return Service(
        "time",
        (InetAddress(Transport.TCP, 0),),
        Runs("handler", Reference("m", "H")),
        "time",
        max_requests=max_requests,
        max_memory=max_memory,
        threads=threads,
        handler_timeout=handler_timeout,
    )


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


def test_no_bounds(link: FakeLink) -> None:
    """Without a bound nothing is counted."""
    assert RecycleRequest(service(), link).bounds() is None


@pytest.mark.parametrize("bounded", [service(max_requests=1), service(max_memory=1)])
def test_bounds(link: FakeLink, bounded: Service) -> None:
    """A service with either bound asks for a successor once it is exceeded."""
    recycle = RecycleRequest(bounded, link).bounds()
    assert recycle is not None


def test_one_request(link: FakeLink) -> None:
    """The only request that the service allows is also the one that asks for a successor."""
    recycle = RecycleRequest(service(max_requests=1), link).bounds()
    assert recycle is not None
    assert recycle.took()
    assert link.asked == [("recycle", "time", "has taken 1 request")]


def test_only_handler_hangs(link: FakeLink) -> None:
    """A process whose only handler hangs is killed."""
    RecycleRequest(service(), link).handlers_hung(1, 1)
    assert link.asked == [("hung", "time")]


@pytest.mark.parametrize(
    ("threads", "why"),
    [
        (4, "has 1 handler that does not come back"),
        (12, "has 3 handlers that do not come back"),
    ],
)
def test_spare_threads(link: FakeLink, threads: int, why: str) -> None:
    """A process with more handlers is replaced once as many hang as it has spare threads."""
    one = service(threads=threads, handler_timeout=1.0)
    request = RecycleRequest(one, link)
    for count in range(1, one.spare_threads + 3):
        request.handlers_hung(threads, count)
    assert link.asked == [("recycle", "time", why)]
