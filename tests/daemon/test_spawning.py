"""``netd.daemon.spawning``: real processes by a real reactor, and their lines by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from netd.daemon import spawning
from netd.daemon.spawning import LONGEST_LINE, PATIENCE, DirectSpawner, Lines, command

PROGRAM = """
import json, os, signal, socket, sys
from twisted.internet import reactor
from netd.daemon.spawning import DirectSpawner

ours, theirs = socket.socketpair()
happened = []

def ended(how):
    happened.append(["ended", how])
    reactor.callLater(0.05, reactor.stop)

def start(name, more={}):
    process = DirectSpawner(reactor).spawn(
        name, {3: theirs.fileno(), **more}, lambda line: happened.append(["wrote", line]), ended
    )
    theirs.close()
    return process

def say(message):
    ours.sendall(len(message).to_bytes(4) + message)
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


class TestCommand:
    def test_this_interpreter(self) -> None:
        """A worker is run by the daemon's own interpreter, and finds nothing beside it."""
        python, safe_path, program, *rest = command("probe")
        assert (python, safe_path, rest) == (sys.executable, "-P", ["probe"])
        assert program.endswith("/netd/worker/__main__.py")

    def test_daemon_imports_no_worker(self) -> None:
        """The daemon's processes know the worker by its path only."""
        program = "import sys, netd.tap; print([m for m in sys.modules if '.worker' in m])"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("[]\n", "")


class TestDirectSpawner:
    def test_ends_with_its_channel(self) -> None:
        """A worker has descriptor 3 as its channel; when that ends, it leaves in good order."""
        assert happened("start('time')\nours.close()") == [["ended", "status 0"]]

    def test_killed(self) -> None:
        """A worker that is killed is told by the signal, and killing it again does nothing."""
        program = (
            "process = start('time')\nprocess.kill()\n"
            "reactor.addSystemEventTrigger('during', 'shutdown', process.kill)\n"
        )
        assert happened(program) == [["ended", "signal SIGKILL"]]

    def test_signal_without_a_name(self) -> None:
        """A signal that has only a number is told by it."""
        program = "process = start('time')\nos.kill(process.pid, 40)\n"
        assert happened(program) == [["ended", "signal 40"]]

    def test_pid(self) -> None:
        """The process's number is known when ``spawn`` returns."""
        program = (
            "process = start('time')\n"
            "parent = open(f'/proc/{process.pid}/stat').read().rpartition(')')[2].split()[1]\n"
            "happened.append(int(parent) == os.getpid())\n"
            "ours.close()\n"
        )
        assert happened(program) == [True, ["ended", "status 0"]]

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
            "    try:\n"
            "        found = open_there()\n"
            "    except FileNotFoundError:\n"  # closed while we looked
            "        found = {}\n"
            "    if list(found) != [0, 1, 2, 3, 4]:\n"
            "        reactor.callLater(0.01, look)\n"
            "        return\n"
            "    happened.append([found[0], found[4] == os.readlink(f'/proc/self/fd/{read}')])\n"
            "    ours.close()\n"
            "look()\n"
        )
        assert happened(program) == [["/dev/null", True], ["ended", "status 0"]]

    def test_keeps_nothing_open(self) -> None:
        """Starting a worker costs the daemon two pipes, until the worker has gone."""
        program = (
            "def count():\n    return len(os.listdir('/proc/self/fd'))\n"
            "def begin():\n"
            "    before = count()\n"
            "    start('time')\n"  # which closes the worker's end of the channel here
            "    happened.append(count() - before)\n"
            "    ours.close()\n"
            "    reactor.addSystemEventTrigger('during', 'shutdown',"
            " lambda: happened.append(count() - before))\n"
            "reactor.callWhenRunning(begin)\n"
        )
        assert happened(program) == [2 - 1, ["ended", "status 0"], -2]


class FakeTransport:
    """A process's transport, as far as it is needed."""

    def __init__(self) -> None:
        self.pid: int | None = 77
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)


class SpawningClock(Clock):
    """A clock that also starts processes that do not exist."""

    def __init__(self) -> None:
        super().__init__()
        self.transport = FakeTransport()
        self.protocol: Any = None

    def spawnProcess(self, protocol: Any, *_: object, **__: object) -> None:
        self.protocol = protocol
        protocol.makeConnection(self.transport)


class Scene:
    def __init__(self) -> None:
        self.reactor = SpawningClock()
        self.happened: list[str] = []
        self.process = DirectSpawner(self.reactor).spawn(
            "time", {}, self.happened.append, lambda how: self.happened.append(f"ended: {how}")
        )
        self.protocol = self.reactor.protocol

    def exits(self, reason: Exception) -> None:
        self.reactor.transport.pid = None
        self.protocol.processExited(Failure(reason))

    def pipes_end(self, reason: Exception) -> None:
        self.protocol.processEnded(Failure(reason))


@pytest.fixture
def scene() -> Scene:
    return Scene()


class TestEnd:
    @pytest.mark.parametrize(
        ("reason", "how"),
        [
            (ProcessDone(0), "status 0"),
            (ProcessTerminated(3, None, 3 << 8), "status 3"),
            (ProcessTerminated(None, 9, 9), "signal SIGKILL"),
            (ProcessTerminated(None, 40, 40), "signal 40"),
        ],
    )
    def test_how(self, scene: Scene, reason: Exception, how: str) -> None:
        """How a process ended is told in the words of the log."""
        scene.exits(reason)
        scene.pipes_end(reason)
        assert scene.happened == [f"ended: {how}"]

    def test_last_output_first(self, scene: Scene) -> None:
        """What it wrote before it ended is passed on before that is told, and told once."""
        scene.exits(ProcessDone(0))
        scene.protocol.childDataReceived(2, b"last\nwords")
        scene.pipes_end(ProcessDone(0))
        scene.reactor.advance(PATIENCE)
        assert scene.happened == ["last", "words", "ended: status 0"]

    def test_a_program_holds_its_pipes(self, scene: Scene) -> None:
        """A program that it left behind does not keep its end a secret."""
        scene.exits(ProcessDone(0))
        scene.reactor.advance(PATIENCE)
        assert scene.happened == ["ended: status 0"]
        scene.protocol.childDataReceived(1, b"still here")
        scene.pipes_end(ProcessDone(0))
        assert scene.happened == ["ended: status 0", "still here"]

    def test_kill(self, scene: Scene) -> None:
        """A process is killed as long as it has not been reaped."""
        scene.process.kill()
        scene.exits(ProcessDone(0))
        scene.process.kill()
        assert scene.reactor.transport.signals == ["KILL"]

    def test_output_and_error_apart(self, scene: Scene) -> None:
        """Lines on the two do not run into each other."""
        for descriptor, data in ((1, b"on"), (2, b"tw"), (1, b"e\n"), (2, b"o\n")):
            scene.protocol.childDataReceived(descriptor, data)
        assert scene.happened == ["one", "two"]


def lines_of(*pieces: bytes) -> list[str]:
    """The lines that output becomes which comes in *pieces*."""
    found: list[str] = []
    lines = Lines(found.append)
    for piece in pieces:
        lines.dataReceived(piece)
    lines.finish()
    return found


class TestLines:
    @given(st.text("abc\u00e9\n"), st.integers(1, 10))
    def test_in_any_pieces(self, text: str, size: int) -> None:
        """However it is cut on its way, output comes as the lines that it has."""
        data = text.encode()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert lines_of(*pieces) == text.removesuffix("\n").split("\n") * bool(text)

    def test_without_an_end(self) -> None:
        """What has no end is a line all the same, and nothing is none."""
        assert lines_of(b"one\n\ntwo") == ["one", "", "two"]
        assert lines_of(b"one\n") == ["one"]
        assert lines_of() == []

    def test_too_long(self) -> None:
        """A line that never ends comes in pieces of bounded size, all of it."""
        found = lines_of(*[b"x" * 1000] * 100)
        assert "".join(found) == "x" * 100_000
        assert max(map(len, found)) <= LONGEST_LINE + 1000

    def test_after_one_that_is_too_long(self) -> None:
        """What comes after a line that was too long are lines of their own."""
        assert lines_of(b"x" * LONGEST_LINE, b"x\none\ntwo\n") == [
            "x" * (LONGEST_LINE + 1),
            "one",
            "two",
        ]

    def test_no_text(self) -> None:
        """Bytes that are no text are shown as what they are not."""
        assert lines_of(b"\xff\n") == ["\ufffd"]

    def test_finished_once(self) -> None:
        """What has been passed on is not passed on again."""
        found: list[str] = []
        lines = Lines(found.append)
        lines.dataReceived(b"x")
        lines.finish()
        lines.finish()
        assert found == ["x"]


def test_program_exists() -> None:
    """The path of the worker's program leads somewhere."""
    with open(spawning.PROGRAM) as program:
        assert "probe" in program.read()
