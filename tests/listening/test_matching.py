"""``netd.listening.matching``: which held socket serves which requested address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from netd.listening.description import parse
from netd.listening.listener import Listener
from netd.listening.matching import matched, requested
from netd.listening.options.apply import set_option
from netd.listening.options.table import OPTIONS
from netd.model.service import Reference, Runs, Service
from netd.model.socket_options import SetOption


def on(device: str) -> tuple[SetOption, ...]:
    return (set_option(OPTIONS["SO_BINDTODEVICE"], (device.encode(),)),)


def service(*listen: str, name: str = "time", device: str = "") -> Service:
    options = on(device) if device else ()
    runs = Runs("handler", Reference("module", "Handler"))
    return Service(name, tuple(map(parse, listen)), runs, name, socket=options)


@pytest.fixture
def unbound() -> Iterator[socket.socket]:
    """Matching looks at the values only, so one socket does for all listeners."""
    with ExitStack() as stack:
        yield stack.enter_context(socket.socket())


def held(sock: socket.socket, address: str, name: str = "time", device: str = "") -> Listener:
    options = on(device) if device else ()
    return Listener(name, 0, parse(address), sock, options=options)


def found(services: list[Service], there: list[Listener]) -> list[int | None]:
    """For each requested address the position of its listener in *there*."""
    pairs = matched(list(requested(services)), there)
    return [
        None if one is None else [id(each) for each in there].index(id(one)) for _, one in pairs
    ]


def test_same_address(unbound: socket.socket) -> None:
    there = [held(unbound, "tcp:80"), held(unbound, "udp:80"), held(unbound, "unix:/run/x")]
    assert found([service("unix:/run/x:mode=600", "tcp:80", "tcp:81")], there) == [2, 0, None]


def test_tls_is_not_part_of_the_socket(unbound: socket.socket) -> None:
    assert found([service("tls:80", name="other")], [held(unbound, "tcp:80")]) == [0]


def test_a_free_port_belongs_to_its_service(unbound: socket.socket) -> None:
    there = [held(unbound, "tcp:0"), held(unbound, "tcp:0", "other"), held(unbound, "tcp:0")]
    assert found([service("tcp:0", "tcp:0"), service("tcp:0", name="new")], there) == [0, 2, None]


class TestInterfaces:
    """Several sockets can be bound to one address, each for an interface."""

    def test_the_same_interface_first(self, unbound: socket.socket) -> None:
        """A socket for another interface is taken only if no address matches it exactly."""
        there = [held(unbound, "tcp:80", device="eth0"), held(unbound, "tcp:80", device="eth1")]
        services = [
            service("tcp:80", name="new", device="eth2"),
            service("tcp:80", device="eth0"),
        ]
        assert found(services, there) == [1, 0]

    def test_each_socket_once(self, unbound: socket.socket) -> None:
        services = [service("tcp:80", device="eth0"), service("tcp:80", name="b", device="eth1")]
        assert found(services, [held(unbound, "tcp:80")]) == [0, None]
