"""``netd.accept.next_step``: what comes next for a connection."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netd.accept.next_step import (
    PLAIN,
    Opening,
    State,
    Step,
    is_dispatched,
    left_for_worker,
    next_step,
    opening,
)
from netd.accept.refusal import TIMED_OUT, Refusal
from netd.model.address import InetAddress, Transport
from netd.model.service import Reference, Runs, Service

ADDRESS = InetAddress(Transport.TLS, 0, "127.0.0.1")
SERVICE = Service("s", (ADDRESS,), Runs("handler", Reference("m", "H")), "s")
ALL = State(awaits_header=True, awaits_first_byte=True, awaits_handshake=True)


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (State(), Step.SERVE),
        (ALL, Step.HEADER),
        (replace(ALL, awaits_header=False), Step.FIRST_BYTE),
        (State(awaits_handshake=True), Step.HANDSHAKE),
    ],
)
def test_one_after_another(state: State, step: Step) -> None:
    assert next_step(state) is step


class TestRefusal:
    def test_the_end_outweighs_all(self) -> None:
        state = replace(ALL, ended_by="handshakes", is_overdue=True, refused_by_lists="deny")
        assert next_step(state) == Refusal("handshakes")

    def test_overdue(self) -> None:
        """It spent its time in the daemon's queue."""
        assert next_step(replace(ALL, is_overdue=True)) == Refusal(TIMED_OUT)

    def test_lists_before_the_handshake(self) -> None:
        """And before anything of it has come."""
        state = replace(ALL, awaits_header=False, refused_by_lists="deny")
        assert next_step(state) == Refusal("deny")

    def test_not_by_the_address_of_a_proxy(self) -> None:
        """Its header says whose the connection is."""
        assert next_step(replace(ALL, refused_by_lists="deny")) is Step.HEADER

    def test_text(self) -> None:
        assert str(Refusal("deny")) == "deny"
        assert str(Refusal("handshake", "no shared cipher")) == "handshake, no shared cipher"


class TestOpening:
    @pytest.mark.parametrize(
        ("transport", "proxies", "expected"),
        [
            (Transport.TCP, (), PLAIN),
            (Transport.TCP, ("192.0.2.0/24",), Opening(header=True, handshake=False)),
            (Transport.TLS, (), Opening(header=False, handshake=True)),
            (Transport.UDP, ("192.0.2.0/24",), PLAIN),
        ],
    )
    def test_of_a_listener(
        self, transport: Transport, proxies: tuple[str, ...], expected: Opening
    ) -> None:
        assert opening(transport, is_tls=transport.is_tls, proxies=proxies) == expected

    def test_left_for_a_worker(self) -> None:
        """What the daemon and the child of a fork do is not the accept loop's."""
        both = Opening(header=True, handshake=True)
        assert left_for_worker(both, is_dispatched=False, forks=False) == both
        left = left_for_worker(both, is_dispatched=True, forks=False)
        assert left == Opening(header=False, handshake=True)
        assert left_for_worker(both, is_dispatched=True, forks=True) == PLAIN


class TestDispatched:
    """The daemon accepts for workers that serve one connection at a time."""

    ONE = replace(SERVICE, concurrency="process", threads=1, processes=4)

    def test_one_at_a_time(self) -> None:
        assert is_dispatched(self.ONE, ADDRESS)
        assert is_dispatched(replace(self.ONE, forks=True), ADDRESS)

    @pytest.mark.parametrize(
        "service",
        [
            replace(ONE, processes=1),
            replace(ONE, threads=2),
            replace(ONE, concurrency="reactor"),
        ],
    )
    def test_others(self, service: Service) -> None:
        assert not is_dispatched(service, ADDRESS)

    def test_plain_connections(self) -> None:
        plain = InetAddress(Transport.TCP, 0, "127.0.0.1")
        assert not is_dispatched(self.ONE, plain)
        assert is_dispatched(replace(self.ONE, proxies=("192.0.2.0/24",)), plain)
