"""``netd.execution.programs.serving``: the environment, as a value, and real processes."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import pytest

from netd.core.output_lines import LONGEST_LINE, Lines
from netd.execution.programs.environment import environment_of
from netd.execution.programs.serving import ProgramServing
from netd.execution.programs.spawn import PIPE, Running, read_last, read_some, start
from netd.execution.request import Request
from netd.execution.serving import ServedListener
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.listening.handler_view import ListenerSocket
from netd.log.buffer import LogBuffer
from netd.model.address import Transport
from netd.model.peer import Credentials
from netd.model.service import Program
from netd.worker.build.server import HandlerHost, server_of
from tests.descriptors import none_left_open

PATIENCE = 30.0

INET = Request(None, ("192.0.2.7", 4711), "192.0.2.7:4711", None)
INET6 = Request(None, ("2001:db8::7", 4711, 0, 0), "[2001:db8::7]:4711", None)
UNIX = Request(None, "", "uid:1000,pid:42", Credentials(1000, 100))
STRANGER = Request(None, "", "unix", None)


class TestEnvironment:
    """The names of UCSPI; nothing that a client can choose but its address."""

    @pytest.mark.parametrize(
        ("transport", "client", "local", "expected"),
        [
            (
                Transport.TCP, INET, ("192.0.2.1", 80),
                {"PROTO": "TCP", "TCPLOCALIP": "192.0.2.1", "TCPLOCALPORT": "80",
                 "TCPREMOTEIP": "192.0.2.7", "TCPREMOTEPORT": "4711",
                 "REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": "4711"},
            ),
            (
                Transport.TCP6, INET6, ("2001:db8::1", 80, 0, 0),
                {"PROTO": "TCP", "TCPLOCALIP": "2001:db8::1", "TCPLOCALPORT": "80",
                 "TCPREMOTEIP": "2001:db8::7", "TCPREMOTEPORT": "4711",
                 "REMOTE_ADDR": "2001:db8::7", "REMOTE_PORT": "4711"},
            ),
            (
                Transport.TCP, None, ("0.0.0.0", 80),
                {"PROTO": "TCP", "TCPLOCALIP": "0.0.0.0", "TCPLOCALPORT": "80"},
            ),
            (
                Transport.UDP, None, ("192.0.2.1", 53),
                {"PROTO": "UDP", "UDPLOCALIP": "192.0.2.1", "UDPLOCALPORT": "53"},
            ),
            (
                Transport.UDP6, None, ("::1", 53, 0, 0),
                {"PROTO": "UDP", "UDPLOCALIP": "::1", "UDPLOCALPORT": "53"},
            ),
            (
                Transport.UNIX, UNIX, "/run/s",
                {"PROTO": "UNIX", "UNIXLOCALPATH": "/run/s", "UNIXREMOTEEUID": "1000",
                 "UNIXREMOTEEGID": "100"},
            ),
            (
                Transport.UNIX, STRANGER, b"\0name",
                {"PROTO": "UNIX", "UNIXLOCALPATH": "@name"},
            ),
            (
                Transport.UNIXGRAM, None, "/run/s",
                {"PROTO": "UNIX", "UNIXLOCALPATH": "/run/s"},
            ),
        ],
    )  # fmt: skip
    def test_names(
        self, transport: Transport, client: Request | None, local: object, expected: dict[str, str]
    ) -> None:
        assert environment_of(transport, client, local, {}) == expected

    def test_nothing_is_left_over(self) -> None:
        """What the daemon was started with of these would lie; all else is kept."""
        own = environment_of(Transport.TCP, INET, ("192.0.2.1", 80), {})
        every = own | environment_of(Transport.UNIX, UNIX, "/run/s", {})
        every |= environment_of(Transport.UDP, None, ("192.0.2.1", 53), {})
        base = dict.fromkeys([*every, "TCPREMOTEHOST", "TCPREMOTEINFO", "TCPLOCALHOST"], "liar")
        found = environment_of(Transport.TCP, INET, ("192.0.2.1", 80), base | {"PATH": "/bin"})
        assert found == own | {"PATH": "/bin"}


def program(*arguments: str) -> Program:
    return Program(arguments[0], arguments)


def sh(text: str) -> Program:
    return program("/bin/sh", "-c", text)


@contextmanager
def running(
    what: Program, environment: Mapping[str, str] = {"PATH": os.defpath}
) -> Iterator[tuple[Running, socket.socket]]:
    """A program and its client, both gone at the end."""
    client, connection = socket.socketpair()
    client.settimeout(PATIENCE)
    with client:
        with connection:
            started = start(what, connection.fileno(), environment)
        try:
            yield started, client
        finally:
            started.end(signal.SIGKILL)
            wait_for(started.pidfd)
            started.reap()
            started.close()


def is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # that of the directory that was listed
        return False


def wait_for(descriptor: int) -> None:
    ready, _, _ = select.select([descriptor], [], [], PATIENCE)
    assert ready


class TestStart:
    """A real process, whose standard streams are what it was given."""

    @pytest.mark.parametrize(
        ("text", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM)]
    )
    def test_how_it_ended(self, text: str, code: int) -> None:
        client, connection = socket.socketpair()
        with client, connection:
            started = start(sh(text), connection.fileno(), {})
        wait_for(started.pidfd)
        assert started.reap() == code
        started.close()

    def test_input_and_output(self) -> None:
        with running(program("/bin/cat")) as (_, client):
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"hello"
            assert client.recv(100) == b""

    def test_its_descriptors_are_three(self) -> None:
        """Whatever this process has open, if it may not be inherited."""
        inherited = {name for name in os.listdir("/proc/self/fd") if is_inheritable(int(name))}
        with running(sh("ls /proc/self/fd")) as (_, client), client.makefile() as lines:
            found = set(lines.read().split())
        # One beside them is the directory that is listed.
        assert len(found - {"0", "1", "2"} - inherited) <= 1
        assert {"0", "1", "2"} < found

    def test_environment(self) -> None:
        with running(program("/usr/bin/env"), {"A": "b", "C": ""}) as (_, client):
            assert sorted(client.makefile().read().splitlines()) == ["A=b", "C="]

    def test_signals_are_as_they_should_be(self) -> None:
        """Python's own, and a worker's, are not handed on; nothing is blocked."""
        before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            with running(program("/bin/cat", "/proc/self/status")) as (_, client):
                status = dict(
                    line.split(":\t", 1) for line in client.makefile().read().splitlines()
                )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
            signal.signal(signal.SIGUSR1, before)
        assert int(status["SigBlk"], 16) == 0
        # The C library keeps 32 and 33 for itself.
        assert int(status["SigIgn"], 16) & ((1 << 31) - 1) == 0

    @pytest.mark.parametrize(
        ("path", "error"),
        [("/no/such", FileNotFoundError), ("/etc/passwd", PermissionError)],
    )
    def test_one_that_cannot_be_started(self, path: str, error: type[OSError]) -> None:
        """Nothing stays behind."""
        with none_left_open(), pytest.raises(error), closing(socket.socket()) as connection:
            start(program(path), connection.fileno(), {})

    def test_where_the_standard_streams_are_closed(self) -> None:
        """What takes their numbers is not mixed up: the program has three, and the right ones."""
        script = f"""
import os, socket, sys
sys.path.insert(0, {os.getcwd()!r})
from netd.execution.programs.serving import start
from netd.model.service import Program
kept = os.dup(1)
for number in range(3):
    os.close(number)
client, connection = socket.socketpair()
text = "import os, sys; sys.stderr.write('e'); names = os.listdir('/proc/self/fd')\\n"
text += "for n in map('/proc/self/fd/'.__add__, names):\\n"
text += "    if os.path.exists(n): print(n[-1:], os.readlink(n))"
program = Program(sys.executable, (sys.executable, "-I", "-c", text))
running = start(program, connection.fileno(), {{}})
connection.close()
os.waitpid(running.pid, 0)
os.write(kept, client.recv(1000) + b"|" + os.read(running.error, 100))
"""
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE
        )
        streams, _, said = done.stdout.partition("|")
        kinds = dict(line.split(":")[0].split() for line in streams.splitlines() if ":" in line)
        assert kinds == {"0": "socket", "1": "socket", "2": "pipe"}
        assert said == "e"


class TestStandardError:
    def test_what_there_is(self) -> None:
        """Without waiting for more."""
        found: list[str] = []
        lines = Lines(found.append)
        with running(sh("echo one >&2; read line; echo two >&2; read line")) as (started, client):
            wait_for(started.error)
            assert read_some(started.error, lines)
            assert not read_some(started.error, lines)
            assert found == ["one"]
            client.sendall(b"\n")
            wait_for(started.error)
            assert read_some(started.error, lines)
            assert found == ["one", "two"]

    def test_what_was_written_last(self) -> None:
        """All of it, and no more than a pipe holds: somebody left behind writes for ever."""
        found: list[str] = []
        with running(sh("yes >&2 & read line; exit 3")) as (started, client):
            wait_for(started.error)
            client.sendall(b"\n")
            wait_for(started.pidfd)
            time_before = time.monotonic()
            read_last(started.error, Lines(found.append))
            assert time.monotonic() - time_before < PATIENCE
            assert 0 < len(found) <= (PIPE + LONGEST_LINE) // 2 + 1


class Scene:
    """A ProgramServing with one lane."""

    def __init__(self, what: Program, timeout: float | None = None) -> None:
        page = Scoreboard.make("test", Geometry(1, 1, 1))
        self.board = Scoreboard(page, Geometry(1, 1, 1))
        os.close(page)
        self.log_buffer = LogBuffer(lambda: None)
        self.serving = ProgramServing(
            ServedListener(
                "test", Transport.UNIX, None, False, self.board.block(0), self.log_buffer
            ),
            what,
            timeout,
            {"PATH": os.defpath},
        )
        with socket.socket(socket.AF_UNIX) as listener:
            shown = ListenerSocket.copy_of(listener)
        host = HandlerHost(lambda *_: None, lambda: None)
        self._server = server_of(Transport.UNIX, shown, host)
        self.serving.serve_by(self._server, print)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()
        self.board.close()

    def serve(self) -> bytes:
        """Be a client with nothing to say, to the end; return the answer."""
        client, request = socket.socketpair()
        with client:
            client.shutdown(socket.SHUT_WR)
            self.serving.serve(0, Request(request, "", "unix", None))
            assert request.fileno() == -1
            client.settimeout(PATIENCE)
            return b"".join(iter(lambda: client.recv(4096), b""))

    def log(self) -> str:
        """What has been logged since it was last asked for."""
        return self.log_buffer.take(1 << 20)


class TestServing:
    def test_to_its_end(self) -> None:
        with Scene(sh("echo out; echo err >&2; exit 3")) as scene:
            assert scene.serve() == b"out\n"
            counts = scene.board.counts()
        said, ended = scene.log().splitlines()
        assert said.endswith("[test#warn] unix: err")
        assert re.search(r"unix unix ended with status 3 \(pid \d+\) \d+\.\dms", ended)
        assert (counts.served, counts.failed) == (1, 1)

    def test_one_that_cannot_be_started(self) -> None:
        with Scene(program("/no/such")) as scene:
            assert scene.serve() == b""
        said, ended = scene.log().splitlines()
        assert said.endswith("unix: /no/such cannot be started: No such file or directory")
        assert " unix failed " in ended

    def test_time_out(self) -> None:
        """SIGTERM; one that ends by it is not killed."""
        with Scene(sh("trap 'echo told; exit 0' TERM; while :; do :; done"), 0.2) as scene:
            assert scene.serve() == b"told\n"
        said, ended = scene.log().splitlines()
        assert said.endswith("unix: /bin/sh has run for more than 0.2 s: SIGTERM")
        assert " unix served " in ended

    def test_a_background_child_keeps_nobody_waiting(self) -> None:
        """It has the connection and the standard error; the program itself has ended."""
        client, request = socket.socketpair()
        text = "exec 3<&0; (read line; echo $line) <&3 & exit 0"
        with client, Scene(sh(text)) as scene:
            client.settimeout(PATIENCE)
            scene.serving.serve(0, Request(request, "", "unix", None))
            assert " unix served " in scene.log()
            client.sendall(b"still there\n")
            assert client.recv(100) == b"still there\n"

    def test_kill(self) -> None:
        """The program ends, and what it has started."""
        client, connection = socket.socketpair()
        with client, Scene(sh("trap '' TERM; sleep 1000 & echo in; wait")) as scene:
            client.settimeout(PATIENCE)
            request = Request(connection, "", "unix", None)
            thread = threading.Thread(target=scene.serving.serve, args=(0, request))
            thread.start()
            assert client.recv(10) == b"in\n"
            scene.serving.kill()
            # The end of it, when the last one has gone.
            assert client.recv(10) == b""
            thread.join(PATIENCE)
        assert not thread.is_alive()
        assert "ended with signal SIGKILL" in scene.log()

    def test_one_that_is_started_after_that(self) -> None:
        """It was on its way when all were to end, and ends as well."""
        with Scene(program("/bin/sleep", "1000")) as scene:
            scene.serving.kill()
            assert scene.serve() == b""
        assert "ended with signal SIGKILL" in scene.log()
