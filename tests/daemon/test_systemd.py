"""``netd.daemon.systemd``: messages to a service manager, on a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from netd.daemon.systemd import Notifications


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(b"")  # an abstract name that nobody else has (unix(7))
        sock.setblocking(False)
        yield sock


@pytest.fixture
def path(manager: socket.socket) -> str:
    return f"@{manager.getsockname()[1:].decode()}"


def heard(manager: socket.socket) -> list[str]:
    """All that was said."""
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def test_reloads_one_in_the_other(manager: socket.socket, path: str) -> None:
    """It is ready again when the last one is done."""
    notifications = Notifications(path, monotonic_ns=lambda: 5_000_000_999)
    notifications.reloading()
    notifications.reloading()
    notifications.reloaded("one")
    notifications.reloaded("both\nare done")
    assert heard(manager) == [
        "RELOADING=1\nMONOTONIC_USEC=5000000\nSTATUS=reloading",
        "RELOADING=1\nMONOTONIC_USEC=5000000\nSTATUS=reloading",
        "READY=1\nSTATUS=both are done",
    ]


def test_others(manager: socket.socket, path: str) -> None:
    notifications = Notifications(path)
    notifications.ready("a")
    notifications.replaced(7)
    notifications.stopping("b")
    assert heard(manager) == [
        f"READY=1\nMAINPID={os.getpid()}\nSTATUS=a",
        "MAINPID=7\nSTATUS=upgraded",
        "STOPPING=1\nSTATUS=b",
    ]


def test_watchdog(manager: socket.socket, path: str) -> None:
    """Twice in the time that a sign is waited for."""
    clock = Clock()
    Notifications(path, 10.0).start_watchdog(clock)
    clock.advance(4.9)
    assert heard(manager) == ["WATCHDOG=1"]
    clock.pump([0.2, 5.0])
    assert heard(manager) == ["WATCHDOG=1"] * 2


@pytest.mark.parametrize(("path", "watchdog"), [(None, 1.0), ("@x", None)])
def test_no_watchdog(path: str | None, watchdog: float | None) -> None:
    """Without a watchdog nothing is sent."""
    clock = Clock()
    Notifications(path, watchdog).start_watchdog(clock)
    assert not clock.getDelayedCalls()


def test_nobody_is_there() -> None:
    """The daemon goes on."""
    Notifications("@netd-nobody-is-there").ready("a")
    Notifications("/nobody/is/there").ready("a")
    Notifications(None).ready("a")


class TestEnvironment:
    @pytest.mark.parametrize(
        ("environment", "variables"),
        [
            ({}, {}),
            ({"NOTIFY_SOCKET": "/n"}, {"NOTIFY_SOCKET": "/n"}),
            (
                {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "300", "WATCHDOG_PID": "42"},
                {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "300"},
            ),
            (
                {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "300", "WATCHDOG_PID": "43"},
                {"NOTIFY_SOCKET": "/n"},
            ),
            ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "0"}, {"NOTIFY_SOCKET": "/n"}),
            ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "x"}, {"NOTIFY_SOCKET": "/n"}),
        ],
    )
    def test_is_for_this_daemon_and_the_next(
        self, environment: dict[str, str], variables: dict[str, str]
    ) -> None:
        """Other processes do not get the variables."""
        own = {**environment, "HOME": "/"}
        assert Notifications.of(own, 42).variables() == variables
        assert own == {"HOME": "/"}
