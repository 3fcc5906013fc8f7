"""``netd.daemon.generations.upgrade``: another program replaces the daemon, and its pid file."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netd.daemon.generations.upgrade import DEADLINE, CommandLine, Upgrade, Upgraded
from netd.listening.binding import bind_all
from tests.daemon.estates import service
from tests.daemon.fakes import FakeReactor

SAYS = """
import json, os, signal, sys
values = json.loads(os.environ["NETD_HANDOVER"])
channel = values["channel"]
numbers = [one["descriptor"] for one in values["listeners"]]
hup = signal.getsignal(signal.SIGHUP)
os.write(channel, eval(sys.argv[1]).encode())
os.read(channel, 10)
"""
"""A program that says what its argument comes to, and waits until the channel is closed."""


class Scene:
    """A daemon with a listener, and a pid file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.reactor = FakeReactor()
        self.listeners = bind_all([service("a")])
        self.pid_file = directory / "netd.pid"
        self.pid_file.write_text("old")
        self.twistd = {"pidfile": str(self.pid_file)}
        self.command = CommandLine((), str(directory), self.twistd)
        self.upgrades: list[Upgrade] = []
        self.ended: list[Upgraded] = []

    def begin(self, *arguments: str) -> Upgrade:
        """Begin an upgrade to a program."""
        command = replace(self.command, arguments=arguments)
        self.upgrades.append(Upgrade(command, self.listeners, frozenset({"a"}), self.reactor))
        self.upgrades[-1].begin().addCallback(self.ended.append)
        return self.upgrades[-1]

    def begin_saying(self, text: str) -> Upgrade:
        """Begin one to a program that says an expression of its own."""
        return self.begin(sys.executable, "-c", SAYS, text)

    def outcome(self) -> Upgraded:
        """Wait for it; nothing is left of it."""
        while not self.ended:
            assert select.select(self.reactor.readers, [], [], 30)[0]
            self.reactor.read()
        assert not self.reactor.readers
        assert not self.reactor.getDelayedCalls()
        return self.ended[0]

    def is_back(self) -> bool:
        """Whether the pid file is where it was."""
        names = [path.name for path in self.directory.iterdir()]
        return names == ["netd.pid"] and self.pid_file.read_text() == "old"

    def close(self) -> None:
        for upgrade in self.upgrades:
            if upgrade._process is not None:
                upgrade._process.wait()
        self.listeners.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


class TestSuccess:
    def test_is_ready(self, scene: Scene) -> None:
        """The pid file has made room, and twistd removes it by its new name."""
        scene.begin_saying("'ready\\n'")
        assert scene.outcome().pid
        assert not list(scene.outcome().unused)
        assert (scene.directory / "netd.pid.old").read_text() == "old"
        assert scene.twistd == {"pidfile": f"{scene.pid_file}.old"}

    def test_has_no_use_for_a_listener(self, scene: Scene) -> None:
        """Which it names by its descriptor; HUP is ignored from the beginning."""
        before = signal.getsignal(signal.SIGHUP)
        scene.begin_saying("f'ready {numbers[0]}\\n' if hup is signal.SIG_IGN else 'no'")
        assert list(scene.outcome().unused) == list(scene.listeners)
        assert signal.getsignal(signal.SIGHUP) == before

    def test_is_told_who_waits(self, scene: Scene) -> None:
        scene.begin_saying("'ready\\n' if values['suspended'] == ['a'] else 'no'")
        assert scene.outcome().pid


class TestFailure:
    def test_ends(self, scene: Scene) -> None:
        scene.begin(sys.executable, "-c", "raise SystemExit(78)")
        assert scene.outcome().problem == (
            "the new daemon ended before it was ready; its log says why"
        )
        assert scene.is_back()

    def test_cannot_be_started(self, scene: Scene) -> None:
        scene.begin(str(scene.directory / "none"))
        problem = scene.outcome().problem
        assert problem is not None
        assert problem.startswith("the new daemon cannot be started: ")
        assert scene.is_back()

    @pytest.mark.parametrize("said", ["hello\\n", "ready x\\n", "\\n"])
    def test_makes_no_sense(self, scene: Scene, said: str) -> None:
        """It is another version, perhaps."""
        scene.begin_saying(f"'{said}'")
        problem = scene.outcome().problem
        assert problem is not None
        assert problem.startswith("the new daemon sent an invalid report: ")
        assert scene.is_back()

    def test_takes_too_long(self, scene: Scene) -> None:
        """It is told to leave, and killed."""
        scene.begin(sys.executable, "-c", "import time; time.sleep(1000)")
        scene.reactor.advance(DEADLINE)
        assert scene.outcome().problem == f"the new daemon is not ready after {DEADLINE:g} s"
        process = scene.upgrades[0]._process
        assert process is not None
        assert process.returncode == -signal.SIGKILL
        assert scene.is_back()

    def test_is_given_up(self, scene: Scene) -> None:
        """Not twice, and not after its end."""
        upgrade = scene.begin_saying("'read'")
        for why in ("stopping", "again"):
            upgrade.give_up(why)
        assert scene.outcome().problem == "stopping"
        assert len(scene.ended) == 1


def test_without_a_pid_file(scene: Scene) -> None:
    """There is none to make room."""
    os.unlink(scene.pid_file)
    scene.twistd["pidfile"] = ""
    scene.begin(sys.executable, "-c", "pass")
    assert scene.outcome().pid is None
    assert scene.twistd == {"pidfile": ""}
    assert not list(scene.directory.iterdir())
