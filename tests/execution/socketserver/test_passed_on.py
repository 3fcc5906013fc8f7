"""``netd.execution.socketserver.passed_on``: requests that come from within."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator

import pytest

from netd.accept.errors import After, after_accept
from netd.execution.request import Request
from netd.execution.socketserver.passed_on import PassedOnRequests
from netd.model.address import Transport
from tests.descriptors import count_descriptors
from tests.reactors import PATIENCE


@pytest.fixture
def handed() -> Iterator[PassedOnRequests]:
    made = PassedOnRequests(Transport.TCP)
    yield made
    made.close()


def request(number: int) -> Request:
    return Request(number, ("127.0.0.1", number), f"127.0.0.1:{number}", None)


def is_readable(handed: PassedOnRequests) -> bool:
    return bool(select.select([handed.fileno()], [], [], 0)[0])


def test_in_order(handed: PassedOnRequests) -> None:
    """Who was handed over first is taken first, and as he is."""
    for number in range(3):
        handed.put(request(number))
    assert len(handed) == 3
    assert [handed.next_request() for _ in range(3)] == [request(number) for number in range(3)]
    assert len(handed) == 0


def test_nobody_is_there(handed: PassedOnRequests) -> None:
    """That is like a listener from which another thread has taken the client."""
    assert not is_readable(handed)
    with pytest.raises(BlockingIOError) as caught:
        handed.next_request()
    assert after_accept(caught.value) is After.NOTHING


def test_reports_until_all_are_taken(handed: PassedOnRequests) -> None:
    """As a listener does."""
    handed.put(request(1))
    handed.put(request(2))
    handed.next_request()
    assert is_readable(handed)
    handed.next_request()
    assert not is_readable(handed)


def test_from_many_threads_to_many(handed: PassedOnRequests) -> None:
    """Nobody is lost, and nobody taken twice."""
    received: list[int] = []

    def take() -> None:
        while len(received) < 400:
            if select.select([handed.fileno()], [], [], 0.001)[0]:
                try:
                    received.append(handed.next_request().raw)
                except BlockingIOError:
                    continue

    def put(start: int) -> None:
        for number in range(start, start + 100):
            handed.put(request(number))

    threads = [threading.Thread(target=take) for _ in range(4)]
    threads += [threading.Thread(target=put, args=(start,)) for start in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(received) == list(range(400))


def test_closed(handed: PassedOnRequests) -> None:
    """Its descriptor goes with it, and a second time does no harm."""
    before = count_descriptors()
    another = PassedOnRequests(Transport.UDP)
    another.close()
    another.close()
    assert count_descriptors() == before
