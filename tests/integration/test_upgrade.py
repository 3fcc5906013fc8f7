"""Upgrades of the real daemon: another one in its place, or everything as it was."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.integration.administered import WORDS, Administered, Conversation
from tests.integration.daemons import (
    PATIENCE,
    RunningDaemon,
    children,
    command_line,
    datagram_client,
    is_alive,
    is_fork_server,
    until,
)

TCP = "tcp:0:interface=127.0.0.1"
HOUR = '[daemon]\ngraceful_timeout = "1h"\n'

SLOWLY = (
    WORDS
    + """
    with open("/proc/self/cmdline") as line:
        if os.path.exists("slow") and not "probe" in line.read():
            time.sleep(1000)
"""
)
"""A handler that workers do not come to the end of importing, once there is a file ``slow``."""


def words(name: str, *listen: str, more: str = "") -> str:
    """A service that converses."""
    where = list(listen or (TCP, f"unix:{name}:mode=620")).__repr__().replace("'", '"')
    return f'[services.{name}]\nlisten = {where}\nhandler = "handlers:Words"\n{more}\n'


@pytest.fixture
def site(administered: Administered) -> Administered:
    """A project whose handler converses."""
    administered.project.handlers(SLOWLY)
    return administered


@contextmanager
def callers(*addresses: object) -> Iterator[list[object]]:
    """Call again and again while the context lasts; whatever is no answer is in the list."""
    stop = threading.Event()
    wrong: list[object] = []
    calls = [0] * len(addresses)

    def run(number: int, address: object) -> None:
        while not stop.is_set():
            try:
                with Conversation(address) as client:
                    answer = client.ask(b"hello")
            except OSError as error:
                wrong.append((address, error))
            else:
                calls[number] += 1
                if answer != b"hello":
                    wrong.append((address, answer))

    threads = [threading.Thread(target=run, args=one) for one in enumerate(addresses)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
        before = list(calls)
        until(lambda: all(n > m + 10 for n, m in zip(calls, before, strict=True)), "calls go on")
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def answers(site: Administered, name: str = "a") -> bool:
    """Whether both listeners of a service have somebody behind them."""
    for number in range(2):
        with site.talk(name, number) as client:
            if client.ask(b"hello") != b"hello":
                return False
    return True


def versions(site: Administered) -> list[bytes]:
    """Which code is behind the two listeners of a service."""
    found = []
    for number in range(2):
        with site.talk("a", number) as client:
            found.append(client.ask(b"version"))
    return found


def until_it_starts(daemon: RunningDaemon) -> int:
    """The pid of a new daemon, once it has a worker that does not get ready."""

    def starting() -> list[int]:
        return [
            pid
            for pid in children(daemon.pid)
            for server in filter(is_fork_server, children(pid))
            if any(command_line(worker).startswith("netd: worker") for worker in children(server))
        ]

    until(starting, "the new daemon starts workers")
    return starting()[0]


class TestUpgrade:
    def test_takes_the_sockets(self, site: Administered) -> None:
        """The same ones, path, mode and inode; a client inside stays with the old daemon."""
        udp = '[services.u]\nlisten = ["udp:0:interface=127.0.0.1"]\nhandler = "echo"\n'
        site.start(HOUR + words("a") + udp)
        path = site.directory / "a"
        before = path.stat(), site.address("a"), site.address("u")
        with site.talk("a") as inside:
            assert inside.ask(b"version") == b"one"
            site.project.handlers(SLOWLY.replace('b"one"', 'b"two"'))
            old = site.upgrade_well()
            assert site.status()["pid"] == site.daemon.pid != old.pid
            now = path.stat()
            assert (now.st_ino, now.st_mode) == (before[0].st_ino, before[0].st_mode)
            assert (site.address("a"), site.address("u")) == before[1:]
            # Both take for a moment.
            until(lambda: versions(site) == [b"two"] * 2, "the new one takes alone")
            with datagram_client(socket.AF_INET, site.address("u")) as client:
                client.send(b"hello")
                assert client.recv(10) == b"hello"
            # Only the one that serves answers at the admin socket.
            assert {site.status()["pid"] for _ in range(20)} == {site.daemon.pid}
            assert inside.ask(b"version") == b"one"
            assert is_alive(old.pid)
        assert old.wait() == 0
        assert answers(site)
        assert site.daemon.stop() == 0
        assert not path.exists()
        assert not site.admin_socket.exists()

    @pytest.mark.long
    def test_three_in_a_chain(self, site: Administered) -> None:
        """By the signal, too; under load nobody fails, and HUP ends none of them."""
        first = site.start(words("a") + words("r").replace("handlers:Words", "echo"))
        addresses = [site.address(name, number) for name in "ar" for number in range(2)]
        with callers(*addresses) as wrong:
            for turn in range(1, 4):
                before = site.daemon
                before.signal(signal.SIGUSR2)
                new: list[int] = []
                while not site.daemon.log.matching("upgraded: pid")[turn - 1 :]:
                    new = [pid for pid in children(before.pid) if "twistd" in command_line(pid)]
                    for pid in new:
                        os.kill(pid, signal.SIGHUP)
                found = site.daemon.log.wait(r"upgraded: pid (\d+) serves now", turn).group(1)
                assert new == [int(found)]
                site.daemon = site.project.succeeded(int(found), before)
                if turn > 1:
                    before.wait()
        assert first.wait() == 0
        assert not wrong
        assert site.daemon.stop() == 0
        assert not site.daemon.log.matching("Traceback|error in netd")

    @pytest.mark.long
    def test_another_configuration(self, site: Administered) -> None:
        """What it does not name any more is served to the end of its queue, and goes."""
        site.start(HOUR + words("a") + words("gone"))
        site.client.do("suspend", service="gone")
        address = site.address("gone")
        with ExitStack() as stack:
            waiting = [
                stack.enter_context(Conversation(site.address("gone", n % 2))) for n in range(6)
            ]
            for client in waiting:
                client.say(b"hello")
            # Taken by nobody before the upgrade is under way.
            site.client.do("resume", service="gone")
            site.configure(words("a") + words("new"))
            old = site.upgrade_well()
            assert [client.hear() for client in waiting] == [b"hello"] * 6
        assert old.wait() == 0
        assert not (site.directory / "gone").exists()
        with closing(socket.socket()) as late, pytest.raises(ConnectionRefusedError):
            late.connect(address)
        assert answers(site)
        assert answers(site, "new")

    @pytest.mark.long
    def test_what_is_suspended_stays_so(self, site: Administered) -> None:
        """Who waits goes on waiting."""
        site.start(words("a"))
        site.client.do("suspend", service="a")
        with site.talk("a") as waiting:
            waiting.say(b"hello")
            old = site.upgrade_well()
            assert old.wait() == 0
            assert site.service("a")["state"] == "suspended"
            assert site.client.do("resume", service="a").ok
            assert waiting.hear() == b"hello"


class TestFailure:
    """The old daemon goes on as if nothing had been, with its listeners as they were."""

    def goes_on(self, site: Administered) -> None:
        """Whatever is asked of it."""
        assert site.status()["pid"] == site.daemon.pid
        assert site.status()["state"] == "running"
        assert answers(site)
        assert site.daemon.stop() == 0
        assert not (site.directory / "a").exists()

    def test_a_broken_configuration(self, site: Administered) -> None:
        """The new daemon says what is wrong, in its log."""
        site.start(words("a"))
        site.configure(words("a", more="threads = 0"))
        reply = site.client.do("upgrade")
        assert reply.problems == ["the new daemon ended before it was ready; its log says why"]
        site.daemon.log.wait("services.a.threads")
        self.goes_on(site)

    @pytest.mark.sweep
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_the_new_one_is_ended(self, site: Administered, number: signal.Signals) -> None:
        """By whoever thinks better of it, once its workers start."""
        site.start(words("a"))
        (site.directory / "slow").touch()
        site.daemon.signal(signal.SIGUSR2)
        new = until_it_starts(site.daemon)
        os.kill(new, number)
        site.daemon.log.wait("not upgraded: the new daemon ended before it was ready")
        until(lambda: not is_alive(new), "it has gone")
        self.goes_on(site)

    @pytest.mark.long
    def test_the_old_one_is_ended(self, site: Administered) -> None:
        """Both are, and nothing is left."""
        site.start(words("a"))
        (site.directory / "slow").touch()
        site.daemon.signal(signal.SIGUSR2)
        new = until_it_starts(site.daemon)
        assert site.daemon.stop() == 0
        until(lambda: not is_alive(new), "the new one has gone, too")
        site.daemon.log.wait("not upgraded: the daemon is stopping")
        assert not (site.directory / "a").exists()


class TestInTheBackground:
    """Daemons that have become nobody's children, and are known by their pid file."""

    @pytest.fixture
    def pid_file(self, site: Administered) -> Iterator[Path]:
        """That of a daemon that runs; whoever is named there at the end is killed."""
        site.configure(words("a"))
        path = site.directory / "netd.pid"
        command = site.project.command(f"--pidfile={path}", f"--logfile={path}.log")
        command.remove("-n")
        command.remove("--pidfile=")
        subprocess.run(command, cwd=site.directory, check=True, timeout=PATIENCE)
        until(lambda: says(path, "ready: 1 service"), "it is ready")
        started = pid_in(path)
        yield path
        for file in (path, Path(f"{path}.old")):
            started = pid_in(file) if file.exists() else started
            if is_alive(started):
                os.kill(started, signal.SIGKILL)

    @pytest.mark.long
    def test_the_pid_file(self, site: Administered, pid_file: Path) -> None:
        """It is the new daemon's; the old one's has another name while it has a client."""
        old = pid_in(pid_file)
        with site.talk("a") as inside:
            assert inside.ask(b"hello") == b"hello"
            os.kill(old, signal.SIGUSR2)
            until(lambda: says(pid_file, "upgraded"), "it is upgraded")
            assert pid_in(Path(f"{pid_file}.old")) == old
            new = pid_in(pid_file)
            assert new != old
            until(lambda: site.status()["pid"] == new, "the new one answers")
        until(lambda: not is_alive(old), "the old one has gone")
        until(lambda: not Path(f"{pid_file}.old").exists(), "so has its file")
        assert pid_in(pid_file) == new
        os.kill(new, signal.SIGTERM)
        until(lambda: not is_alive(new), "the new one has gone")
        assert not pid_file.exists()

    @pytest.mark.long
    def test_one_that_is_not_wanted(self, site: Administered, pid_file: Path) -> None:
        """It is told to leave, since nobody has its pid; with it goes whatever it has made."""
        old = pid_in(pid_file)
        site.configure(words("a") + words("new"))
        (site.directory / "slow").touch()
        os.kill(old, signal.SIGUSR2)
        until(lambda: (site.directory / "new").exists(), "the new one has bound")
        until(lambda: pid_file.exists() and pid_in(pid_file) != old, "the new one has its file")
        new = pid_in(pid_file)
        os.kill(old, signal.SIGTERM)
        until(lambda: not is_alive(old), "the old one has gone")
        until(lambda: not is_alive(new), "so has the new one")
        assert says(pid_file, "goes on by itself: this one stops")
        left = {path.name for path in site.directory.iterdir()}
        assert not left & {"a", "new", "admin.sock", pid_file.name, f"{pid_file.name}.old"}


def pid_in(path: Path) -> int:
    """The pid in a file, 0 while it is being written."""
    return int(path.read_text() or 0)


def says(pid_file: Path, text: str) -> bool:
    """Whether the log of the daemons of a pid file has a text."""
    log = Path(f"{pid_file}.log")
    return log.exists() and text in log.read_text()
