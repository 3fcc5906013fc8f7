"""``netd.model.service``: what belongs to one of a service's processes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.model.address import InetAddress, Transport
from netd.model.service import Concurrency, Reference, Runs, Service, share

SERVICE = Service(
    "s",
    (InetAddress(Transport.TLS, 0),),
    Runs("handler", Reference("m", "H")),
    "s",
    handshakes=10,
)


class TestShare:
    @given(st.integers(1, 1_000_000), st.integers(1, 500))
    def test_shares_add_up_to_the_bound(self, bound: int, processes: int) -> None:
        """A bound that is smaller than the number of processes is the only exception."""
        shares = [share(bound, processes, number) for number in range(processes)]
        assert min(shares) > 0
        assert max(shares) - min(shares) <= 1
        assert sum(shares) == max(bound, processes)

    @given(st.integers(1, 1000), st.integers(1, 500), st.integers(0, 500))
    def test_successor_has_the_share_of_its_predecessor(
        self, bound: int, processes: int, number: int
    ) -> None:
        """Each process may be beside its successor, whose number is higher."""
        successor = number + processes
        assert share(bound, processes, number) == share(bound, processes, successor)


class TestHandshakesOfAProcess:
    @pytest.mark.parametrize("concurrency", ["thread", "reactor", "process"])
    def test_bound_is_of_the_service(self, concurrency: Concurrency) -> None:
        """How the service is executed makes no difference."""
        service = replace(SERVICE, concurrency=concurrency, threads=4, processes=3)
        assert [service.handshakes_of(worker) for worker in range(3)] == [4, 3, 3]

    def test_only_process(self) -> None:
        assert SERVICE.handshakes_of(0) == 10

    def test_forks_have_one_worker(self) -> None:
        service = replace(SERVICE, concurrency="process", processes=3, forks=True)
        assert service.handshakes_of(0) == 10
