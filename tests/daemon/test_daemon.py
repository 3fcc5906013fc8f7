"""``netd.daemon.daemon``: a daemon from its start to its stop, without a process of its own."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, capturedLogs

from netd.config.plan import Plan
from netd.daemon.daemon import SIGNALS, Daemon
from netd.daemon.generations.controller import REPLACED, STOPPING
from netd.daemon.generations.predecessor import Predecessor
from netd.daemon.generations.reload import Outcome
from netd.daemon.generations.tools import DaemonTools
from netd.daemon.generations.upgrade import CommandLine, Upgraded
from netd.daemon.states import DaemonState, ServiceState
from netd.daemon.systemd import Notifications
from netd.ipc.worker import ConfigureLog, Drain, Resume, StartWorker, Stop
from netd.listening.binding import bind_all
from netd.listening.handover import Handover
from netd.listening.listener import Listeners
from netd.log.destination import LogLocation
from netd.log.file import Destination
from netd.model.address import Transport, UnixAddress
from netd.model.log import Form, Level, Log, WorkerLog
from netd.model.problem import ConfigurationError, Problem
from netd.model.service import Configuration
from tests.daemon.estates import Stage, configuration, service
from tests.daemon.fakes import texts

READY = (
    "import json, os; values = json.loads(os.environ['NETD_HANDOVER']);"
    " os.write(values['channel'], b'ready\\n'); os.read(values['channel'], 1)"
)
"""A new daemon that is ready immediately."""

FAILS = "raise SystemExit(78)"


class FakeLog:
    """The daemon's log: what was asked of it."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def write(self, text: str) -> None:
        self.said.append(text)

    def start(self) -> None:
        self.said.append("start")

    def change(self, destination: Destination | None, form: Form, level: Level) -> None:
        self.said.append((destination is not None, form, level))
        if destination is not None:
            destination.close()

    def reopen(self) -> None:
        self.said.append("reopen")

    def close(self) -> None:
        self.said.append("close")


class Scene(Stage):
    """A daemon of one service, ``a``."""

    def __init__(
        self, directory: Path, predecessor: Predecessor | None = None, **keys: Any
    ) -> None:
        super().__init__()
        self.next: Deferred[Configuration] | Configuration | Exception = configuration()
        self.asked: list[str | None] = []
        self.log = FakeLog()
        self.command = CommandLine((sys.executable, "-c", FAILS), str(directory), {})
        self.predecessor: Predecessor | None = None
        self.outcomes: list[Outcome] = []
        self.happened: list[str] = []
        self.directory = directory
        self.configuration = configuration(service("a"), **keys)
        self.daemon = self.daemon_of(self.configuration, Listeners())

    def daemon_of(self, of: Configuration, held: Listeners) -> Daemon:
        """A daemon that has not started."""
        tools = DaemonTools(
            self.reactor,
            self.spawner,
            self.log,  # type: ignore[arg-type]
            LogLocation({"nodaemon": True}, str(self.directory), None),
            self._recheck,
            self.command,
            Notifications(),
        )
        made = Daemon(of, bind_all(of.services, held), tools, self.predecessor)
        made.at_start(lambda: self.happened.append("start"))
        made.at_end(lambda: self.happened.append("end"))
        made.generations.when_replaced(lambda: self.happened.append("replaced"))
        return made

    def _recheck(self, file: str | None) -> Deferred[Configuration]:
        self.asked.append(file)
        if isinstance(self.next, Deferred):
            return self.next
        return fail(self.next) if isinstance(self.next, Exception) else succeed(self.next)

    def run(self) -> None:
        """Start, and report that all workers are ready."""
        self.daemon.startService()
        self.all_are_ready()
        assert self.state is DaemonState.RUNNING

    def reload(self, to: Configuration | Exception) -> None:
        """Begin a reload."""
        self.next = to
        self.daemon.generations.reload().addCallback(self.outcomes.append)

    def upgrade(self, program: str) -> Upgraded:
        """Run *program* as the new daemon, and wait for what comes of it."""
        self.command = replace(self.command, arguments=(sys.executable, "-c", program))
        self.use(self.command)
        ended: list[Upgraded] = []
        self.daemon.generations.upgrade().addCallback(ended.append)
        while not ended:
            assert self.state is DaemonState.UPGRADING
            assert select.select(self.reactor.readers, [], [], 30)[0]
            self.reactor.read()
        return ended[0]

    def use(self, command: CommandLine) -> None:
        generations = self.daemon.generations
        generations._tools = replace(generations._tools, command=command)

    @property
    def state(self) -> DaemonState:
        return self.daemon.state

    @property
    def listener(self) -> socket.socket:
        return next(iter(self.daemon.generations.current.listeners)).socket

    def is_listening(self) -> bool:
        """Whether a new client can connect."""
        with socket.socket() as client:
            client.settimeout(0.1)
            try:
                client.connect(self.listener.getsockname())
            except (TimeoutError, ConnectionRefusedError):
                return False
        self.listener.accept()[0].close()
        return True

    def finish(self) -> None:
        if self.state is not DaemonState.STOPPED:
            if self.state not in (DaemonState.BOUND, DaemonState.STOPPING):
                self.daemon.stopService()
            self.reactor.advance(1)
            for process in self.spawner.processes:
                if process.pid not in self._ended:
                    self._end(process, "status 0")
        self.daemon.generations.current.listeners.close()
        if self.predecessor is not None:
            self.predecessor._forget()
        if (
            self.daemon.generations._upgrade is not None
            and self.daemon.generations._upgrade._process is not None
        ):
            self.daemon.generations._upgrade._process.wait()
        self.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def make(*arguments: Any, **keys: Any) -> Scene:
        scenes.append(Scene(tmp_path, *arguments, **keys))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.finish()


@pytest.fixture
def scene(make: Callable[..., Scene]) -> Scene:
    return make()


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


class TestStart:
    def test_is_running_when_all_are_ready(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """That is logged once, and ``at_start`` calls are made."""
        assert scene.state is DaemonState.BOUND
        scene.daemon.startService()
        assert scene.state is DaemonState.STARTING
        assert scene.log.said == ["start"]
        assert not scene.happened
        scene.all_are_ready()
        assert scene.state is DaemonState.RUNNING
        assert scene.happened == ["start"]
        scene.ends("a", "status 1")
        scene.all_are_ready()
        assert len([text for text in texts(logged) if "ready: 1 service" in text]) == 1
        assert scene.state is DaemonState.RUNNING


class TestStop:
    def test_waits_for_drain_delay(self, make: Callable[..., Scene]) -> None:
        """It serves until then; a second stop changes nothing."""
        scene = make(drain_delay=5.0)
        scene.run()
        scene.daemon.stop()
        scene.daemon.stop()
        assert scene.state is DaemonState.DELAYING
        scene.reactor.advance(4.9)
        assert not scene.reactor.is_stopped
        assert scene.is_listening()
        scene.reactor.advance(0.1)
        assert scene.reactor.is_stopped

    def test_ends_with_the_last_worker(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        scene.run()
        ended: list[None] = []
        scene.daemon.stopService().addCallback(ended.append)
        assert scene.state is DaemonState.STOPPING
        assert not scene.is_listening()
        scene.reactor.advance(1)
        assert Drain() in scene.orders("a")
        assert not ended
        scene.ends("a")
        assert ended == [None]
        assert scene.state is DaemonState.STOPPED
        assert scene.happened == ["start", "end"]
        assert "info: stopped: 0 served, 0 refused, 0 failed, 0 dropped" in texts(logged)

    @pytest.mark.parametrize("delay", [0.0, 60.0])
    def test_gives_up_a_reload(self, make: Callable[..., Scene], delay: float) -> None:
        """A stop abandons a reload, with and without drain_delay."""
        scene = make(drain_delay=delay)
        scene.run()
        scene.reload(configuration(service("a"), service("b")))
        assert scene.state is DaemonState.RELOADING
        scene.daemon.stop()
        assert scene.state is DaemonState.DELAYING
        assert [outcome.problems for outcome in scene.outcomes] == [(STOPPING,)]
        scene.reload(configuration(service("a"), service("b")))
        assert scene.outcomes[1].problems == (STOPPING,)
        scene.daemon.stopService()
        asked = len(scene.asked)
        scene.reload(configuration())
        assert scene.outcomes[2].problems == (STOPPING,)
        assert len(scene.asked) == asked

    def test_while_it_starts(self, scene: Scene) -> None:
        """A worker that is not ready is not waited for."""
        scene.daemon.startService()
        scene.daemon.stopService()
        for _ in range(2):
            scene.reactor.advance(1)
        assert scene.spawner.processes[0].killed
        scene.ends("a")
        assert scene.state is DaemonState.STOPPED
        assert scene.happened == ["end"]


class TestReload:
    def test_is_done(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        """It reloads until all is ready, and runs again then."""
        scene.run()
        scene.reload(configuration(service("a"), service("b"), admin_socket="/run/x"))
        assert scene.state is DaemonState.RELOADING
        assert not scene.outcomes
        scene.all_are_ready()
        assert scene.outcomes[0].done
        assert scene.state is DaemonState.RUNNING
        assert list(scene.daemon.generations.current.pools) == ["a", "b"]
        assert [text for text in texts(logged) if "admin.socket has changed" in text]

    def test_is_refused(self, scene: Scene) -> None:
        """By the configuration, or because a worker does not come up: all is as it was."""
        scene.run()
        before = scene.daemon.generations.current
        scene.reload(ConfigurationError([Problem("netd.toml", 3, "services.a", "is wrong")]))
        scene.reload(configuration(service("a", threads=7)))
        scene.ends("a", "status 3")
        assert [outcome.done for outcome in scene.outcomes] == [False, False]
        assert scene.outcomes[0].problems == ("netd.toml:3: services.a: is wrong",)
        assert scene.daemon.generations.current is before
        assert scene.state is DaemonState.RUNNING

    def test_while_it_starts(self, scene: Scene) -> None:
        """It is starting after that, until all are ready."""
        scene.daemon.startService()
        scene.reload(configuration(service("a")))
        assert scene.outcomes[0].done
        assert scene.state is DaemonState.STARTING
        scene.all_are_ready()
        assert scene.state is DaemonState.RUNNING
        assert scene.happened == ["start"]

    def test_ready_meanwhile(self, scene: Scene) -> None:
        """The old generation comes up while the new one starts."""
        scene.daemon.startService()
        scene.reload(configuration(service("a"), service("b")))
        scene.is_ready("a")
        assert scene.happened == ["start"]
        assert scene.state is DaemonState.RELOADING
        scene.is_ready("b")
        assert scene.state is DaemonState.RUNNING

    def test_plan(self, scene: Scene) -> None:
        """Of the daemon's own file, or another one; nothing is done."""
        plans: list[Plan] = []
        scene.next = configuration(service("b"))
        for file in (None, "/other.toml"):
            scene.daemon.generations.plan(file).addCallback(plans.append)
        assert scene.asked == [None, "/other.toml"]
        assert [[str(step) for step in one.steps] for one in plans] == [["add b", "remove a"]] * 2


class TestLog:
    def test_a_reload_changes_it(self, scene: Scene) -> None:
        """For the daemon and the workers that are kept."""
        scene.run()
        scene.orders("a")
        scene.reload(configuration(service("a"), log=Log("json", "warn", file="log")))
        assert scene.outcomes[0].done
        assert scene.log.said[-1] == (True, "json", "warn")
        assert scene.orders("a") == [ConfigureLog(WorkerLog("json", "warn", True))]

    def test_one_that_cannot_be_opened(self, scene: Scene) -> None:
        """Refuses the reload."""
        scene.run()
        log = Log(file=str(scene.directory / "none" / "log"))
        scene.reload(configuration(service("a"), log=log))
        (problem,) = scene.outcomes[0].problems
        assert problem.startswith("cannot log to ")
        assert scene.daemon.generations.current.configuration.log == Log()
        assert scene.state is DaemonState.RUNNING

    def test_level(self, scene: Scene) -> None:
        """Changed by a command it holds until a reload, which says so."""
        scene.run()
        scene.orders("a")
        scene.daemon.generations.log_from("debug")
        scene.daemon.generations.log_from("debug")
        assert scene.log.said == ["start", (False, "text", "debug")]
        assert scene.orders("a") == [ConfigureLog(WorkerLog("text", "debug", True))]
        assert scene.daemon.generations.current.configuration.log.level == "debug"
        scene.reload(scene.configuration)
        assert scene.outcomes[0].plan is not None
        assert [str(one) for one in scene.outcomes[0].plan.settings] == [
            'change log.level: "debug" to "info"'
        ]
        assert scene.daemon.generations.current.configuration.log.level == "info"
        assert scene.log.said[-1] == (False, "text", "info")


class TestSignals:
    @pytest.fixture(autouse=True)
    def restored(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in SIGNALS}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    def obeys(self, scene: Scene, number: signal.Signals) -> None:
        """Send a signal to this process, and advance its reactor."""
        signal.raise_signal(number)
        scene.reactor.advance(0)

    @pytest.fixture
    def obeying(self, scene: Scene) -> Scene:
        """A daemon that runs, and has taken the signals over."""
        scene.run()
        for call in scene.reactor.when_running:
            call()
        return scene

    def test_only_enqueue(self, obeying: Scene) -> None:
        """Nothing is done where the signal finds the process."""
        signal.raise_signal(signal.SIGTERM)
        assert obeying.state is DaemonState.RUNNING
        obeying.reactor.advance(0)
        assert obeying.state is DaemonState.DELAYING

    def test_hup_and_usr1(self, obeying: Scene) -> None:
        self.obeys(obeying, signal.SIGHUP)
        assert obeying.asked == [None]
        self.obeys(obeying, signal.SIGUSR1)
        assert obeying.log.said[-1] == "reopen"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_second_one(self, obeying: Scene, number: signal.Signals) -> None:
        """A second signal ends all workers immediately."""
        self.obeys(obeying, number)
        obeying.daemon.stopService()
        self.obeys(obeying, number)
        assert Stop() in obeying.orders("a")

    def test_a_second_one_within_drain_delay(self, make: Callable[..., Scene]) -> None:
        scene = make(drain_delay=60.0)
        scene.run()
        for call in scene.reactor.when_running:
            call()
        self.obeys(scene, signal.SIGTERM)
        assert not scene.reactor.is_stopped
        self.obeys(scene, signal.SIGTERM)
        assert scene.reactor.is_stopped
        scene.daemon.stopService()
        assert Stop() in scene.orders("a")

    def test_usr2_at_the_wrong_time(self, obeying: Scene, logged: Sequence[LogEvent]) -> None:
        """Is answered in the log."""
        obeying.reload(configuration(service("b")))
        self.obeys(obeying, signal.SIGUSR2)
        assert "error: not upgraded: the daemon is reloading: try again later" in texts(logged)


class TestUpgrade:
    def test_succeeds(self, scene: Scene) -> None:
        """The listeners stay as they are when this one stops."""
        scene.run()
        assert scene.upgrade(READY).pid
        assert scene.state is DaemonState.REPLACED
        assert scene.happened == ["start", "replaced"]
        scene.reload(configuration())
        assert scene.outcomes[0].problems == (REPLACED,)
        scene.reactor.advance(0.1)
        assert scene.reactor.is_stopped
        scene.daemon.stopService()
        assert scene.is_listening()
        scene.ends("a")
        assert scene.state is DaemonState.STOPPED

    def test_fails(self, scene: Scene) -> None:
        scene.run()
        how = scene.upgrade(FAILS)
        assert how.problem == "the new daemon ended before it was ready; its log says why"
        assert scene.state is DaemonState.RUNNING
        assert scene.happened == ["start"]

    def test_is_given_up(self, scene: Scene) -> None:
        """When this one is told to stop; there is one at a time."""
        scene.run()
        arguments = (sys.executable, "-c", "import time; time.sleep(1000)")
        scene.use(replace(scene.command, arguments=arguments))
        ended: list[Upgraded] = []
        scene.daemon.generations.upgrade().addCallback(ended.append)
        scene.daemon.generations.upgrade().addCallback(ended.append)
        assert ended[0].problem == "the daemon is upgrading: try again later"
        scene.daemon.stop()
        assert ended[1].problem == STOPPING
        assert scene.state is DaemonState.DELAYING


class TestPredecessor:
    @pytest.fixture
    def before(self, tmp_path: Path) -> Iterator[tuple[Listeners, socket.socket, Predecessor]]:
        """The listeners of the daemon before, its end of the channel, and how it is seen."""
        path = UnixAddress(Transport.UNIX, str(tmp_path / "gone"))
        old = bind_all([service("a"), service("gone", listen=(path,))])
        ours, theirs = socket.socketpair()
        handover = Handover(old, theirs.detach(), frozenset({"a", "gone"}))
        yield old, ours, handover  # type: ignore[misc]
        old.close()
        ours.close()

    def scene_after(self, make: Callable[..., Scene], before: Any) -> Scene:
        """A daemon that replaces one in which ``a`` is suspended."""
        scene: Scene = make()
        scene.daemon.generations.current.listeners.close()
        scene.predecessor = Predecessor(before[2], scene.reactor)
        scene.daemon = scene.daemon_of(scene.configuration, before[0])
        scene.daemon.startService()
        return scene

    def test_takes_over_when_it_is_ready(self, before: Any, make: Callable[..., Scene]) -> None:
        """Not before; what is suspended stays so; and it says what it has no use for."""
        scene = self.scene_after(make, before)
        (gone,) = before[0].of("gone")
        number = gone.socket.fileno()
        (start,) = scene.orders("a")
        assert isinstance(start, StartWorker)
        assert start.services[0].suspended
        scene.all_are_ready()
        assert before[1].recv(100) == b"ready %d\n" % number
        assert scene.happened == ["start"]
        assert os.path.exists(gone.address.path)
        pool = scene.daemon.generations.current.pools["a"]
        assert pool.state("a") is ServiceState.SUSPENDED
        assert scene.orders("a") == []
        pool.suspension.resume("a")
        assert scene.orders("a") == [Resume("a")]

    def test_is_not_wanted(self, before: Any, make: Callable[..., Scene]) -> None:
        """It stops immediately, and the listeners stay as they were."""
        scene = self.scene_after(make, before)
        scene.command.twistd["pidfile"] = "/run/netd.pid"
        before[1].send(b"leave\n")
        scene.reactor.read()
        assert scene.reactor.is_stopped
        assert scene.command.twistd["pidfile"] == ""
        scene.daemon.stopService()
        assert Stop() in scene.orders("a")
        assert scene.is_listening()

    def test_is_told_to_stop(self, before: Any, make: Callable[..., Scene]) -> None:
        """Before it is ready: the listeners are not its own."""
        scene = self.scene_after(make, before)
        scene.daemon.stopService()
        assert scene.is_listening()

    def test_is_alone(self, before: Any, make: Callable[..., Scene]) -> None:
        """The predecessor has died, so its listeners are this daemon's."""
        scene = self.scene_after(make, before)
        before[1].close()
        scene.reactor.read()
        (gone,) = before[0].of("gone")
        scene.all_are_ready()
        assert not os.path.exists(gone.address.path)
        scene.daemon.stopService()
        assert not scene.is_listening()
