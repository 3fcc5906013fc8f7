"""``netd.listening.handover``: what one daemon writes, the next one reads."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netd.listening.binding import bind_all
from netd.listening.description import parse
from netd.listening.handover import VARIABLE, ready, received, unused_by, variable
from netd.listening.listener import Listener, Listeners
from netd.listening.options.apply import read
from netd.model.address import InetAddress, Transport, UnixAddress
from netd.model.service import Reference, Runs, Service

HANDLER = Runs("handler", Reference("m", "H"))


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[Listeners]:
    """One of each kind."""
    addresses = (
        InetAddress(Transport.TCP, 0, "127.0.0.1"),
        InetAddress(Transport.UDP, 0, "127.0.0.1"),
        UnixAddress(Transport.UNIX, str(tmp_path / "s"), mode=0o620),
        UnixAddress(Transport.UNIXGRAM, f"@netd-{os.getpid()}"),
    )
    made = bind_all([Service("a", addresses, HANDLER, "a")])
    yield made
    made.close()


def handed(listeners: Listeners, channel: int) -> dict[str, str]:
    """An environment with copies of the sockets, as after an exec."""
    copies = [Listener(one.service, one.index, one.address, one.socket.dup()) for one in listeners]
    environment = {VARIABLE: variable(copies, channel, {"b", "a"}), "PATH": "/bin"}
    for copy in copies:
        copy.socket.detach()
    return environment


def test_there_and_back(listeners: Listeners, tmp_path: Path) -> None:
    """Everything is what it was, and belongs to the next daemon alone."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environment = handed(listeners, theirs.fileno())
        found = received(environment)
        assert found is not None
        assert environment == {"PATH": "/bin"}
        assert found.channel == theirs.fileno()
        assert found.suspended == {"a", "b"}
        for was, now in zip(listeners, found.listeners, strict=True):
            assert (was.service, was.index, was.address) == (now.service, now.index, now.address)
            assert was.socket.getsockname() == now.socket.getsockname()
            assert (was.socket.type, was.inode) == (now.socket.type, now.inode)
            assert not os.get_inheritable(now.socket.fileno())
        found.listeners.close()
        assert not (tmp_path / "s").exists()


def test_nothing() -> None:
    """A daemon that is started by somebody else."""
    assert received({}) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"channel": -1, "listeners": [], "suspended": []}', '{"channel": "x"}'],
)
def test_nonsense(text: str) -> None:
    """It comes by the environment, where anybody may have written."""
    with pytest.raises(ValueError, match=f"{VARIABLE} cannot be read"):
        received({VARIABLE: text})


def test_ready(listeners: Listeners) -> None:
    """With the descriptors that nobody has a use for, if there are any."""
    numbers = {one.socket.fileno() for one in listeners}
    assert unused_by(ready(listeners)) == numbers
    assert unused_by(ready([])) == frozenset()


@pytest.mark.parametrize("line", [b"", b"hello", b"ready x", b"readyness", b"ready 1 -"])
def test_something_else(line: bytes) -> None:
    """Which another version might say."""
    with pytest.raises(ValueError, match=r"unexpected line|invalid literal"):
        unused_by(line)


OPTIONS = (read("SO_RCVTIMEO", "2s"), read("IP_TOS", 16))


@pytest.fixture
def with_options() -> Iterator[Listeners]:
    service = Service(
        "a",
        (parse("udp:0:interface=127.0.0.1"),),
        Runs("handler", Reference("m", "H")),
        "a",
        socket=OPTIONS,
    )
    with closing(bind_all([service])) as made:
        yield made


def passed(text: str) -> Listeners:
    """What the next daemon makes of it; the descriptors are other ones, as after a fork."""
    values = json.loads(text)
    for one in values["listeners"]:
        one["descriptor"] = os.dup(one["descriptor"])
    found = received({VARIABLE: json.dumps(values)})
    assert found is not None
    return found.listeners


class TestOptions:
    def test_are_known_to_the_next_daemon(self, with_options: Listeners) -> None:
        """So it can take back what its configuration does not have any more."""
        channel, end = os.pipe()
        with closing(passed(variable(with_options, channel, ()))) as found:
            (listener,) = found
            assert listener.options == OPTIONS
        os.close(channel)
        os.close(end)

    def test_that_another_version_does_not_know(self, with_options: Listeners) -> None:
        """Or does not tell: nothing is known of them."""
        channel, end = os.pipe()
        values = json.loads(variable(with_options, channel, ()))
        values["listeners"][0]["options"][0]["name"] = "SO_FUTURE"
        with closing(passed(json.dumps(values))) as found:
            (listener,) = found
            assert listener.options == OPTIONS[1:]
        del values["listeners"][0]["options"]
        with closing(passed(json.dumps(values))) as found:
            (listener,) = found
            assert listener.options == ()
        os.close(channel)
        os.close(end)
