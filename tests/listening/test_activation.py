"""``netd.listening.activation``: what a service manager's variables and descriptors come to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from netd.listening.activation import Passed, received, with_passed
from netd.listening.binding import bind_all
from netd.listening.description import parse
from netd.listening.listener import CannotBind, Listeners
from netd.model.address import PassedAddress, Transport
from netd.model.service import Configuration, Reference, Runs, Service

PID = 4242


class Manager:
    """Somebody who passes sockets, from a descriptor on that nobody else has."""

    FIRST = 300

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.environment: dict[str, str] = {}

    def pass_on(self, given: Sequence[int], names: str | None = None, pid: int = PID) -> Passed:
        """Pass copies of descriptors; what was received is closed at the end."""
        for number, descriptor in enumerate(given):
            os.dup2(descriptor, self.FIRST + number)
        self.environment |= {"LISTEN_PID": str(pid), "LISTEN_FDS": str(len(given)), "HOME": "/"}
        if names is not None:
            self.environment["LISTEN_FDNAMES"] = names
        passed = received(self.environment, {}, PID, self.FIRST)
        self.stack.callback(passed.listeners.close)
        return passed


@pytest.fixture
def manager() -> Iterator[Manager]:
    made = Manager()
    with made.stack:
        yield made


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """A TCP listener, a UDP socket, and another TCP listener."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(socket.socket(socket.AF_INET, kind))
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_STREAM)
        ]
        for one in made:
            one.bind(("127.0.0.1", 0))
            if one.type == socket.SOCK_STREAM:
                one.listen()
        yield made


def descriptors(sockets: Sequence[socket.socket]) -> list[int]:
    return [one.fileno() for one in sockets]


def addresses(listeners: Listeners) -> list[PassedAddress]:
    found = [listener.address for listener in listeners]
    assert all(isinstance(address, PassedAddress) for address in found)
    return found  # type: ignore[return-value]


class TestReceived:
    def test_by_name(self, manager: Manager, sockets: list[socket.socket]) -> None:
        """What each is, the kernel says; nobody else hears of them."""
        passed = manager.pass_on(descriptors(sockets), "web:dns:web")
        assert addresses(passed.listeners) == [
            PassedAddress("web", Transport.TCP, 0),
            PassedAddress("dns", Transport.UDP, 0),
            PassedAddress("web", Transport.TCP, 1),
        ]
        assert manager.environment == {"HOME": "/"}
        for listener, sock in zip(passed.listeners, sockets, strict=True):
            assert listener.socket.getsockname() == sock.getsockname()
            assert not listener.socket.get_inheritable()
            assert listener.is_passed

    @pytest.mark.parametrize(
        ("names", "found"),
        [
            (None, ["0", "1", "2"]),
            ("", ["0", "1", "2"]),
            ("web", ["web", "1", "2"]),
            (":dns", ["0", "dns", "2"]),
            ("a:b:c:d", ["a", "b", "c"]),
        ],
    )
    def test_without_names(
        self, manager: Manager, sockets: list[socket.socket], names: str | None, found: list[str]
    ) -> None:
        """Each is called by its number; and no socket is lost for a name."""
        passed = manager.pass_on(descriptors(sockets), names)
        assert [address.name for address in addresses(passed.listeners)] == found

    def test_for_another_process(self, manager: Manager, sockets: list[socket.socket]) -> None:
        """They are its own, and so is what is said of them."""
        before = os.dup2(sockets[0].fileno(), Manager.FIRST)
        passed = manager.pass_on(descriptors(sockets[:1]), "web", pid=PID + 1)
        assert passed == Passed(passed.listeners)
        assert len(passed.listeners) == 0
        assert "LISTEN_FDS" in manager.environment
        os.close(before)

    @pytest.mark.parametrize("count", ["", "x", "-1"])
    def test_nonsense(self, count: str) -> None:
        environment = {"LISTEN_PID": str(PID), "LISTEN_FDS": count}
        assert len(received(environment, {}, PID).listeners) == 0

    def test_that_somebody_has_taken_out(self, sockets: list[socket.socket]) -> None:
        """Importing Twisted's endpoints does; how the process was started stays known."""
        os.dup2(sockets[0].fileno(), Manager.FIRST)
        started = {"LISTEN_PID": str(PID), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
        with closing(received({}, started, PID, Manager.FIRST).listeners) as listeners:
            assert addresses(listeners) == [PassedAddress("web", Transport.TCP, 0)]

    def test_what_cannot_be_used(self, manager: Manager, tmp_path: Path) -> None:
        """Is said, and closed."""
        pair = socket.socketpair()
        kinds = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with (tmp_path / "file").open("w") as file, pair[0], pair[1], kinds[0], kinds[1]:
            given = [file.fileno(), pair[0].fileno(), kinds[0].fileno()]
            passed = manager.pass_on(given, "file:pair:kind")
        assert passed.refused == (
            "file is not a socket",
            "pair is a connection and not a listener: remove Accept=yes from its socket unit",
            "kind is of a kind that netd does not serve (family 1, type 5)",
        )
        assert len(passed.listeners) == 0
        for number in range(3):
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(Manager.FIRST + number)

    def test_fewer_than_was_said(self) -> None:
        environment = {"LISTEN_PID": str(PID), "LISTEN_FDS": "1"}
        passed = received(environment, {}, PID, 4000)
        assert passed.refused == ("0 cannot be used: Bad file descriptor",)


def test_initial_environment() -> None:
    """That of a process as its parent has made it, whatever it has set since then."""
    code = (
        "import os; os.environ['NETD_TEST'] = 'changed'\n"
        "from netd.listening.activation import initial_environment\n"
        "print(initial_environment()['NETD_TEST'])"
    )
    environment = {**os.environ, "NETD_TEST": "given"}
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert said.stdout == "given\n"


def configuration(*listen: str) -> Configuration:
    addresses = tuple(parse(text) for text in listen)
    runs = Runs("handler", Reference("m", "H"))
    return Configuration("netd.toml", (Service("a", addresses, runs, "a"),))


class TestListening:
    def test_a_name_is_for_all_that_have_it(
        self, manager: Manager, sockets: list[socket.socket]
    ) -> None:
        """In the order in which they were passed."""
        passed = manager.pass_on(descriptors(sockets), "web:dns:web").listeners
        wanted = with_passed(
            configuration("systemd:web:tls=yes", "systemd:dns", "systemd:other"), passed
        )
        assert wanted.services[0].listen == (
            PassedAddress("web", Transport.TCP, 0, is_tls=True),
            PassedAddress("web", Transport.TCP, 1, is_tls=True),
            PassedAddress("dns", Transport.UDP),
            PassedAddress("other", Transport.SYSTEMD),
        )

    def test_taken_over(self, manager: Manager, sockets: list[socket.socket]) -> None:
        """Their queue stays as the service manager has it."""
        passed = manager.pass_on(descriptors(sockets), "web:dns:other").listeners
        wanted = with_passed(configuration("systemd:dns", "systemd:web"), passed)
        listeners = bind_all(wanted.services, passed)
        assert [one.bound for one in listeners] == [
            f"{word} 127.0.0.1:{sockets[number].getsockname()[1]}"
            for word, number in (("udp", 1), ("tcp", 0))
        ]
        assert not list(listeners)[1].socket.getblocking()
        assert [one.address.name for one in passed.without(listeners)] == ["other"]  # type: ignore[union-attr]
        assert len(listeners.own()) == 0

    def test_that_are_not_there(self, manager: Manager, sockets: list[socket.socket]) -> None:
        passed = manager.pass_on(descriptors(sockets), "web:dns:web").listeners
        wanted = with_passed(configuration("systemd:mail"), passed)
        with pytest.raises(CannotBind, match=r"no socket of that name, only web, dns$"):
            bind_all(wanted.services, passed)

    def test_datagrams_by_tls(self, manager: Manager, sockets: list[socket.socket]) -> None:
        passed = manager.pass_on(descriptors(sockets), "web:dns:web").listeners
        wanted = with_passed(configuration("systemd:dns:tls=yes"), passed)
        with pytest.raises(CannotBind, match="tls=yes is for streams, and it is udp"):
            bind_all(wanted.services, passed)
