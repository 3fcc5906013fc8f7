"""With a test as the fork server, and with the real one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from netd.daemon.forkserver.client import ANSWER_DEADLINE, START_DEADLINE
from netd.daemon.forkserver.orphans import UNCLAIMED, Dead, Orphans, dead_children, reap
from netd.daemon.forkserver.process import STATUS_PATIENCE
from netd.daemon.forkserver.spawner import ForkSpawner
from netd.ipc.forkserver import (
    ChildEnded,
    Fork,
    Forked,
    ForkFailed,
    Packet,
    PassDescriptors,
    receive,
    send,
)
from tests.daemon.fakes import texts
from tests.descriptors import count_descriptors

KILLED = ProcessTerminated(None, 9, 9)


class FakeTransport:
    """The fork server's process, as far as it is needed."""

    def __init__(self) -> None:
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)


class Started:
    """A fork server that was to be started; the test is at its end of the socket."""

    def __init__(self, protocol: Any, descriptor: int) -> None:
        self.protocol = protocol
        self.transport = FakeTransport()
        self.connection = socket.socket(fileno=os.dup(descriptor))
        protocol.makeConnection(self.transport)

    def orders(self) -> list[tuple[Packet, list[str]]]:
        """What it was asked for, with what the descriptors that came along are."""
        self.connection.setblocking(False)
        found = []
        with suppress(BlockingIOError):
            while received := receive(self.connection):
                links = [os.readlink(f"/proc/self/fd/{number}") for number in received[1]]
                for descriptor in received[1]:
                    os.close(descriptor)
                found.append((received[0], links))
        return found

    def says(self, packet: Packet, *descriptors: int) -> None:
        send(self.connection, packet, descriptors)

    def ends(self) -> None:
        self.connection.close()
        self.protocol.processExited(Failure(KILLED))


class FakeReactor(Clock):
    """A clock that starts no process, and reads and writes when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Started] = []
        self.failures: list[OSError] = []
        """Raised by the next starts, one each."""
        self.readers: list[IReadDescriptor] = []
        self.writers: list[IWriteDescriptor] = []

    def spawnProcess(
        self,
        protocol: Any,
        *_: object,
        childFDs: Mapping[int, Any],  # noqa: N803
        **__: object,
    ) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.started.append(Started(protocol, childFDs[3]))

    def addReader(self, reader: IReadDescriptor) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        if writer in self.writers:
            self.writers.remove(writer)

    def look(self) -> None:
        """Read everything and write everything, once."""
        for reader in list(self.readers):
            lost = reader.doRead() if reader in self.readers else None
            if lost is not None:
                self.removeReader(reader)
                reader.connectionLost(Failure(lost))
        for writer in list(self.writers):
            writer.doWrite()


class Scene:
    """A spawner, and a process that serves as each worker."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.spawner = ForkSpawner(self.reactor)
        self.happened: list[str] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self.file = os.memfd_create("file")

    @property
    def server(self) -> Started:
        """The newest fork server."""
        return self.reactor.started[-1]

    def spawn(self, name: str = "time", count: int = 1) -> Any:
        descriptors = dict.fromkeys(range(3, 3 + count), self.file)
        return self.spawner.spawn(
            name,
            descriptors,
            lambda line: self.happened.append(f"{name} wrote {line}"),
            lambda how: self.happened.append(f"{name} ended with {how}"),
        )

    def process(self) -> tuple[int, int]:
        """The pid and a pidfd of a process that waits; it is the test's own child."""
        process = subprocess.Popen(["sleep", "1000"])
        self._processes.append(process)
        return process.pid, os.pidfd_open(process.pid)

    def announce(self, number: int) -> int:
        """Say that the worker of that order is there; return its pid."""
        pid, pidfd = self.process()
        self.server.says(Forked(number, pid), pidfd)
        os.close(pidfd)
        self.reactor.look()
        return pid

    def end(self, pid: int) -> None:
        """End a process, which is not reaped by that."""
        os.kill(pid, signal.SIGTERM)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        self.spawner.close()
        for started in self.reactor.started:
            started.connection.close()
        for process in self._processes:
            process.kill()
            process.wait()
        for reader in list(self.reactor.readers):
            self.reactor.removeReader(reader)
            os.close(reader.fileno())
        os.close(self.file)


@pytest.fixture
def scene() -> Iterator[Scene]:
    before = count_descriptors()
    scene = Scene()
    yield scene
    scene.close()
    assert count_descriptors() == before


@pytest.fixture
def said() -> Iterator[list[LogEvent]]:
    """What is logged."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    yield events
    globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]


class TestOrders:
    def test_one_server_for_all(self, scene: Scene) -> None:
        """The first worker that is needed starts the fork server, and the others use it."""
        scene.spawn("one")
        scene.spawn("two")
        assert len(scene.reactor.started) == 1
        orders = scene.server.orders()
        assert [order for order, _ in orders] == [
            Fork(1, "one", 3, (1, 2, 3)),
            Fork(2, "two", 3, (1, 2, 3)),
        ]
        for _, (output, error, file) in orders:
            assert output.startswith("pipe:")
            assert error.startswith("pipe:")
            assert output != error
            assert file == "/memfd:file (deleted)"

    def test_many_descriptors(self, scene: Scene) -> None:
        """A worker with more listeners than fit beside a packet gets them by several."""
        scene.spawn(count=600)
        orders = scene.server.orders()
        assert [type(order) for order, _ in orders] == [PassDescriptors, PassDescriptors, Fork]
        assert sum(len(links) for _, links in orders) == 602

    def test_do_not_wait_for_the_server(self, scene: Scene) -> None:
        """A fork server that does not read does not block the daemon; it gets all packets later."""
        for _ in range(400):
            scene.spawn(count=1)
        numbers = []
        while scene.reactor.writers:
            numbers += [order.number for order, _ in scene.server.orders()]
            scene.reactor.look()
        numbers += [order.number for order, _ in scene.server.orders()]
        assert numbers == list(range(1, 401))

    def test_server_cannot_be_started(self, scene: Scene) -> None:
        """The caller gets the error, and the next spawn tries again."""
        scene.reactor.failures.append(OSError("no more processes"))
        with pytest.raises(OSError, match="no more processes"):
            scene.spawn()
        scene.spawn()
        assert len(scene.server.orders()) == 1


class TestWorkers:
    def test_life(self, scene: Scene) -> None:
        """A worker has its pid when it is there, and its end is told once."""
        process = scene.spawn()
        assert process.pid == 0
        pid = scene.announce(1)
        assert process.pid == pid
        scene.server.says(ChildEnded(1, 3))
        scene.reactor.look()
        assert scene.happened == ["time ended with status 3"]
        scene.server.says(ChildEnded(1, 3))
        scene.reactor.look()
        assert len(scene.happened) == 1

    def test_not_forked(self, scene: Scene) -> None:
        """A process that cannot be made is told as one that has ended."""
        scene.spawn()
        scene.server.says(ForkFailed(1, "Resource temporarily unavailable"))
        scene.reactor.look()
        assert scene.happened == ["time ended with no process: Resource temporarily unavailable"]

    def test_killed_before_it_is_there(self, scene: Scene) -> None:
        """A worker that was given up meanwhile is killed as soon as it is announced."""
        process = scene.spawn()
        process.kill()
        pid = scene.announce(1)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        assert ended.si_status == signal.SIGKILL

    def test_killed(self, scene: Scene) -> None:
        """A worker is killed once it is there; one that has gone is left alone."""
        process = scene.spawn()
        pid = scene.announce(1)
        process.kill()
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        assert ended.si_status == signal.SIGKILL
        process.kill()
        scene.server.says(ChildEnded(1, -signal.SIGKILL))
        scene.reactor.look()
        process.kill()
        assert scene.happened == ["time ended with signal SIGKILL"]

    def test_end_that_nobody_tells(self, scene: Scene) -> None:
        """A fork server that does not say how a worker ended cannot hide that it has."""
        scene.spawn()
        # Not a child of this process, as a worker is none of the daemon.
        program = "import os, time; os.fork() or (print(os.getpid(), flush=True), time.sleep(1000))"
        with subprocess.Popen(
            [sys.executable, "-c", f"{program}; os.wait()"], stdout=subprocess.PIPE
        ) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            pidfd = os.pidfd_open(pid)
            scene.server.says(Forked(1, pid), pidfd)
            scene.reactor.look()
            os.kill(pid, signal.SIGTERM)
            parent.wait()
        os.close(pidfd)
        scene.reactor.look()
        assert scene.happened == []
        scene.reactor.advance(STATUS_PATIENCE)
        assert scene.happened == ["time ended with an unknown status"]


class TestLostServer:
    def test_is_replaced(self, scene: Scene, said: list[LogEvent]) -> None:
        """A fork server that ended is replaced immediately, then after growing delays."""
        scene.spawn()
        scene.announce(1)
        for delay in (0, 0.1, 0.2):
            before = len(scene.reactor.started)
            scene.server.ends()
            scene.reactor.advance(delay)
            assert len(scene.reactor.started) == before + 1
            assert texts(said)[-1] == (
                "error: the fork server ended with signal SIGKILL; its workers go on; "
                f"the next in {delay:g} s"
            )
        assert scene.happened == []

    def test_workers_that_were_not_there_yet(self, scene: Scene) -> None:
        """Orders that were not carried out never will be; workers that were announced are there."""
        one, two = scene.spawn("one"), scene.spawn("two")
        pid, pidfd = scene.process()
        scene.server.says(Forked(1, pid), pidfd)
        os.close(pidfd)
        scene.server.ends()
        assert (one.pid, two.pid) == (pid, 0)
        assert scene.happened == ["two ended with no process: the fork server has ended"]

    def test_workers_that_live_on(self, scene: Scene) -> None:
        """A worker without its fork server has become the daemon's child, which reaps it."""
        scene.spawn()
        pid = scene.announce(1)
        scene.server.ends()
        scene.end(pid)
        scene.reactor.look()
        assert scene.happened == ["time ended with signal SIGTERM"]
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

    def test_that_does_not_start_again(self, scene: Scene, said: list[LogEvent]) -> None:
        """If another cannot be started, the next worker that is needed tries it."""
        scene.spawn()
        scene.reactor.failures.append(OSError("no more processes"))
        scene.server.ends()
        scene.reactor.advance(0)
        assert texts(said)[-1] == "error: the fork server cannot be started: no more processes"
        scene.spawn("two")
        assert [order for order, _ in scene.server.orders()] == [Fork(2, "two", 3, (1, 2, 3))]

    def test_orders_that_had_not_been_sent(self, scene: Scene) -> None:
        """What waited for a fork server that does not read is given back when that ends."""
        for _ in range(400):
            scene.spawn()
        scene.server.ends()
        assert len(scene.happened) == 400

    def test_not_after_the_end(self, scene: Scene) -> None:
        """After close() a fork server that ends is not replaced."""
        scene.spawn()
        scene.announce(1)
        scene.spawner.close()
        scene.server.ends()
        scene.reactor.advance(1)
        assert len(scene.reactor.started) == 1


class TestSilentServer:
    def test_at_its_start(self, scene: Scene, said: list[LogEvent]) -> None:
        """A new fork server has time to import what it needs, and is ended when that is over."""
        scene.spawn()
        scene.reactor.advance(START_DEADLINE - 1)
        assert scene.server.transport.signals == []
        scene.reactor.advance(1)
        assert scene.server.transport.signals == ["KILL"]
        assert texts(said) == [
            "error: the fork server does not answer within 60 s; it is ended",
        ]

    def test_later(self, scene: Scene) -> None:
        """One that has answered before has less time; each answer gives it time for the next."""
        scene.spawn()
        scene.announce(1)
        scene.reactor.advance(1000)
        scene.spawn()
        scene.spawn()
        for number in (2, 3):
            scene.reactor.advance(ANSWER_DEADLINE - 1)
            assert scene.server.transport.signals == []
            scene.announce(number)
        scene.spawn()
        scene.reactor.advance(ANSWER_DEADLINE)
        assert scene.server.transport.signals == ["KILL"]


class TestReap:
    def test_codes(self) -> None:
        """Exit statuses are as they are, signals negative; what goes on has none."""
        for program, code in (("exit 3", 3), ("kill -9 $$", -9), ("exit 0", 0)):
            process = subprocess.Popen(["sh", "-c", f"read x; {program}"], stdin=subprocess.PIPE)
            pidfd = os.pidfd_open(process.pid)
            assert reap(pidfd) is None
            assert process.stdin is not None
            process.stdin.close()
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
            assert reap(pidfd) == code
            assert reap(pidfd) is None
            process.returncode = code
            os.close(pidfd)

    def test_of_others(self) -> None:
        """A process that is no child is not reaped."""
        pidfd = os.pidfd_open(os.getppid())
        assert reap(pidfd) is None
        os.close(pidfd)


class TestOrphans:
    def test_reaped_when_nobody_else_did(self) -> None:
        """A child that stays dead for that long is reaped, and none before."""
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        clock = Clock()
        orphans = Orphans(clock, dead_children)
        orphans.start()
        orphans.start()
        assert len(clock.getDelayedCalls()) == 1
        assert pid in {dead.pid for dead in dead_children()}
        clock.advance(UNCLAIMED)
        assert pid not in {dead.pid for dead in dead_children()}

    def test_dead_again(self) -> None:
        """A process of the same number that died meanwhile is another one."""
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        clock = Clock()
        answers = iter([{Dead(pid, "1")}, {Dead(pid, "2")}, {Dead(pid, "2")}])
        orphans = Orphans(clock, lambda: next(answers))
        orphans.start()
        clock.advance(UNCLAIMED)
        assert pid in {dead.pid for dead in dead_children()}
        clock.advance(UNCLAIMED)
        assert pid not in {dead.pid for dead in dead_children()}

    def test_of_the_living(self) -> None:
        """A child that runs is not among the dead."""
        with subprocess.Popen(["sleep", "1000"]) as process:
            assert process.pid not in {dead.pid for dead in dead_children()}
            process.kill()


PROGRAM = """
import json, os, signal, socket, sys
from twisted.internet import reactor
from netd.daemon.forkserver.spawner import ForkSpawner

ours, theirs = socket.socketpair()
happened = []
spawner = ForkSpawner(reactor)

def ended(how):
    happened.append(["ended", how])
    spawner.close()
    reactor.callLater(0.05, reactor.stop)

def start(name, more={}):
    process = spawner.spawn(
        name, {3: theirs.fileno(), **more}, lambda line: happened.append(["wrote", line]), ended
    )
    theirs.close()
    return process

def say(message):
    ours.sendall(len(message).to_bytes(4) + message)

def when(condition, then):
    if condition():
        then()
    else:
        reactor.callLater(0.01, when, condition, then)
"""

AFTER = """
reactor.callLater(20, reactor.stop)
reactor.run()
print(json.dumps(happened))
"""


def happened(program: str) -> list[Any]:
    """What a program with a reactor heard of the worker that it starts."""
    command = [sys.executable, "-P", "-c", PROGRAM + program + AFTER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    heard: list[Any] = json.loads(done.stdout)
    return heard


class TestReal:
    def test_ends_with_its_channel(self) -> None:
        """A worker has descriptor 3 as its channel; when that ends, it leaves in good order."""
        assert happened("start('time')\nours.close()") == [["ended", "status 0"]]

    def test_killed(self) -> None:
        """A worker that is killed before it is there is told by the signal."""
        assert happened("start('time').kill()") == [["ended", "signal SIGKILL"]]

    def test_signal_without_a_name(self) -> None:
        """A signal that has only a number is told by it."""
        program = (
            "process = start('time')\nwhen(lambda: process.pid, lambda: os.kill(process.pid, 40))\n"
        )
        assert happened(program) == [["ended", "signal 40"]]

    def test_what_it_writes(self) -> None:
        """What a worker says past its log comes line by line, before its end."""
        *wrote, ended = happened("start('time')\nsay(b'no order')")
        assert [kind for kind, _ in wrote] == ["wrote"] * len(wrote)
        assert wrote[0][1] == "Traceback (most recent call last):"
        assert "UnpicklingError" in wrote[-1][1]
        assert ended == ["ended", "status 1"]

    def test_descriptors(self) -> None:
        """Of the daemon's descriptors a worker has those that it is given, and no others."""
        program = (
            "read, write = os.pipe()\nos.set_inheritable(write, True)\n"
            "process = start('time', {4: read})\n"
            "def open_there():\n"
            "    there = f'/proc/{process.pid}/fd'\n"
            "    return {int(number): os.readlink(f'{there}/{number}')"
            " for number in sorted(os.listdir(there))}\n"
            "def look():\n"
            "    found = open_there()\n"
            "    happened.append([found[0], found[4] == os.readlink(f'/proc/self/fd/{read}')])\n"
            "    ours.close()\n"
            "def settled():\n"
            "    try:\n"
            "        return process.pid and list(open_there()) == [0, 1, 2, 3, 4]\n"
            "    except FileNotFoundError:\n"  # closed while we looked
            "        return False\n"
            "when(settled, look)\n"
        )
        assert happened(program) == [["/dev/null", True], ["ended", "status 0"]]

    def test_keeps_nothing_open(self) -> None:
        """A worker costs the daemon two pipes and a pidfd, until the worker has gone."""
        program = (
            "def count():\n    return len(os.listdir('/proc/self/fd'))\n"
            "before = None\n"
            "def begin():\n"
            "    global before\n"
            "    process = start('time')\n"
            "    before = count() - 2\n"
            "    def there():\n"
            "        happened.append(count() - before)\n"
            "        ours.close()\n"
            "    when(lambda: process.pid, there)\n"
            "def ended(how):\n"
            "    reactor.callLater(0.05, look)\n"
            "def look():\n"
            "    happened.append(count() - before)\n"
            "    reactor.stop()\n"
            "reactor.callWhenRunning(begin)\n"
        )
        assert happened(program) == [3, -1]

    def test_killed_server(self) -> None:
        """The worker of a fork server that is killed lives on, and how it ends later is known."""
        program = (
            "def parent():\n"
            "    status = open(f'/proc/{process.pid}/stat').read()\n"
            "    return int(status.rpartition(')')[2].split()[1])\n"
            "process = start('time')\n"
            "def adopted():\n"
            "    return parent() == os.getpid()\n"
            "def end():\n"
            "    happened.append('adopted')\n"
            "    ours.close()\n"
            "def kill():\n"
            "    os.kill(parent(), signal.SIGKILL)\n"
            "    when(adopted, end)\n"
            # Until then it has been announced, and may yet end with its fork server.
            "def lives():\n"
            "    return process.pid and 'worker' in open(f'/proc/{process.pid}/cmdline').read()\n"
            "when(lives, kill)\n"
        )
        assert happened(program) == ["adopted", ["ended", "status 0"]]

    def test_killed_before_it_answers(self) -> None:
        """What a fork server was asked for, and has not done, is told to be undone."""
        program = (
            "start('time')\n"
            "children = open(f'/proc/self/task/{os.getpid()}/children').read().split()\n"
            "os.kill(int(children[0]), signal.SIGKILL)\n"
        )
        assert happened(program) == [["ended", "no process: the fork server has ended"]]
