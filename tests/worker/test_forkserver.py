"""``netd.worker.forkserver``: the real program, with a test in the daemon's place."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netd.daemon.forkserver.spawn import command
from netd.ipc.forkserver import (
    ChildEnded,
    Fork,
    Forked,
    ForkFailed,
    Packet,
    PassDescriptors,
    fork_packets,
    receive,
    send,
)
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.ipc.worker import (
    LENGTH,
    Drain,
    Ready,
    ServiceStart,
    StartWorker,
    decode_report,
    encode_order,
)
from netd.listening.description import parse
from netd.model.service import Reference, Runs, Service
from tests.integration.daemons import children, until

PATIENCE = 30.0
"""Seconds that a test waits for what must happen."""

HANDLER = """
import gc, json, os, random, signal, ssl, sys, threading, uuid
from socketserver import BaseRequestHandler

class Facts(BaseRequestHandler):
    def handle(self):
        self.request.recv(1)
        facts = {
            "random": random.random(),
            "uuid": str(uuid.uuid4()),
            "ssl": ssl.RAND_bytes(8).hex(),
            "descriptors": {n: link(n) for n in os.listdir("/proc/self/fd")},
            "argv": sys.argv[1:],
            "collects": gc.isenabled(),
            "ignored": [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN],
            "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "sigchld": signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL,
            "subreaper": subreaper(),
        }
        self.request.sendall(json.dumps(facts).encode())

def link(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return None

def subreaper():
    import ctypes
    value = ctypes.c_int()
    ctypes.CDLL(None).prctl(37, ctypes.byref(value), 0, 0, 0)
    return value.value
"""


class Server:
    """A fork server, with the test as its daemon."""

    def __init__(self, directory: Path) -> None:
        self.handler = HANDLER
        """The text of the module that workers import."""
        self._directory = directory
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.settimeout(PATIENCE)
        nothing = os.open(os.devnull, os.O_RDONLY)
        self.output = os.memfd_create("output")
        moves = [(nothing, 0), (self.output, 1), (self.output, 2), (theirs.fileno(), 3)]
        self.pid = os.posix_spawn(
            sys.executable,
            command("forkserver"),
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, *move) for move in moves],
        )
        self.reaped = False
        theirs.close()
        os.close(nothing)

    def heard(self) -> Packet:
        """The next packet; a pidfd beside it is closed."""
        received = receive(self.connection)
        assert received is not None
        for descriptor in received[1]:
            os.close(descriptor)
        return received[0]

    def fork(self, number: int, name: str, *listeners: socket.socket) -> Worker:
        """Order a worker that serves on *listeners*."""
        (self._directory / "facts.py").write_text(self.handler)
        listen = tuple(parse("tcp:0") for _ in listeners)
        runs = Runs("handler", Reference("facts", "Facts"))
        service = Service(name, listen, runs, name, threads=1)
        page = Scoreboard.make(name, Geometry.of(service))
        ours, theirs = socket.socketpair()
        here = dict(enumerate([theirs.fileno(), page, *(x.fileno() for x in listeners)], start=3))
        for packet, descriptors in fork_packets(
            number, name, {1: self.output, 2: self.output, **here}
        ):
            send(self.connection, packet, descriptors)
        theirs.close()
        os.close(page)
        start = ServiceStart(service, tuple(here)[2:], 4)
        return Worker(ours, StartWorker(name, (start,), (str(self._directory),), 1.0))

    def wait(self) -> int:
        """Wait until it has ended; return how."""
        self.reaped = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def said(self) -> str:
        """What the fork server and its workers have printed."""
        return os.pread(self.output, 1 << 20, 0).decode()

    def close(self) -> None:
        """End it."""
        self.connection.close()
        if not self.reaped:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        os.close(self.output)


class Worker:
    """The daemon's end of a worker's channel."""

    def __init__(self, channel: socket.socket, start: StartWorker) -> None:
        self._channel = channel
        channel.settimeout(PATIENCE)
        self.order(start)

    def order(self, order: StartWorker | Drain) -> None:
        message = encode_order(order)
        with suppress(BrokenPipeError):  # when it was refused
            self._channel.sendall(len(message).to_bytes(LENGTH) + message)

    def wait_until_ready(self) -> None:
        length = int.from_bytes(self._channel.recv(LENGTH, socket.MSG_WAITALL))
        report = decode_report(self._channel.recv(length, socket.MSG_WAITALL))
        assert report == Ready()

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()


def facts(listener: socket.socket) -> dict[str, object]:
    """What a handler says of its process."""
    with socket.create_connection(listener.getsockname(), timeout=PATIENCE) as client:
        client.sendall(b"?")
        answer: dict[str, object] = json.loads(b"".join(iter(lambda: client.recv(65536), b"")))
    return answer


def listener() -> socket.socket:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    return listening


class TestWorkers:
    def test_life(self, server: Server) -> None:
        """A worker is announced, serves, drains, and its exit status is reported."""
        with listener() as listening:
            worker = server.fork(1, "time", listening)
            forked = server.heard()
            assert isinstance(forked, Forked)
            worker.wait_until_ready()
            assert facts(listening)["argv"] == ["time"]
            worker.order(Drain())
            assert server.heard() == ChildEnded(1, 0)
            worker.close()
            with pytest.raises(ProcessLookupError):
                os.kill(forked.pid, 0)
        assert server.said() == ""

    def test_is_as_a_program_of_its_own_would_be(self, server: Server) -> None:
        """A worker has none of the fork server's descriptors, signals and frozen objects."""
        with listener() as listening:
            worker = server.fork(1, "time", listening)
            worker.wait_until_ready()
            found = facts(listening)
            worker.close()
        descriptors = found["descriptors"]
        assert isinstance(descriptors, dict)
        assert descriptors["0"] == "/dev/null"
        assert descriptors["1"] == descriptors["2"] == "/memfd:output (deleted)"
        assert found["collects"]
        assert found["ignored"] == [signal.SIGPIPE, signal.SIGXFSZ]
        assert found["blocked"] == []
        assert found["sigchld"]
        assert found["subreaper"] == 0

    def test_can_be_told_apart(self, server: Server) -> None:
        """``ps`` shows the worker's name, in its short and its long form."""
        with listener() as listening:
            worker = server.fork(1, "time", listening)
            forked = server.heard()
            assert isinstance(forked, Forked)
            worker.wait_until_ready()
            there = Path(f"/proc/{forked.pid}")
            assert (there / "cmdline").read_text().rstrip("\0 ") == "netd: worker time"
            assert (there / "comm").read_text() == "netd time\n"
            own = Path(f"/proc/{server.pid}/cmdline").read_text().rstrip("\0 ")
            assert own == "netd: fork server"
            worker.close()

    def test_share_no_random_numbers(self, server: Server) -> None:
        """Each worker has generators of its own, for all that Python gets random numbers from."""
        found = []
        for number in (1, 2):
            with listener() as listening:
                worker = server.fork(number, "time", listening)
                worker.wait_until_ready()
                found.append(facts(listening))
                worker.close()
        for kind in ("random", "uuid", "ssl"):
            assert found[0][kind] != found[1][kind]

    def test_more_listeners_than_fit_into_a_packet(self, server: Server) -> None:
        """Six hundred listeners of one worker all arrive."""
        listening = [listener() for _ in range(600)]
        worker = server.fork(1, "many", *listening)
        worker.wait_until_ready()
        for one in (listening[0], listening[-1]):
            assert facts(one)["argv"] == ["many"]
        worker.close()
        for one in listening:
            one.close()

    def test_an_order_that_is_given_up(self, server: Server) -> None:
        """Descriptors for an order that never arrives are closed with the next one."""
        before = open_descriptors(server.pid, settled=4)
        with listener() as listening:
            send(
                server.connection,
                PassDescriptors(1, (3, 4)),
                (listening.fileno(), listening.fileno()),
            )
            worker = server.fork(2, "time", listening)
            assert isinstance(server.heard(), Forked)
            worker.wait_until_ready()
            worker.close()
        assert server.heard() == ChildEnded(2, 0), server.said()
        assert len(open_descriptors(server.pid)) == len(before)

    def test_too_few_descriptors(self, server: Server) -> None:
        """An order with missing descriptors is refused, and the next one is obeyed."""
        send(server.connection, Fork(1, "time", 2, (3, 4)), (0,))
        assert server.heard() == ForkFailed(1, "only 1 of its 2 descriptors came through")
        with listener() as listening:
            worker = server.fork(2, "time", listening)
            worker.wait_until_ready()
            worker.close()

    def test_no_descriptors_left(self, server: Server) -> None:
        """A fork server without free descriptors reports that, and recovers."""
        open_descriptors(server.pid, settled=4)
        before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (8, before[1]))
        with listener() as listening:
            worker = server.fork(1, "time", listening)
            answer = server.heard()
            assert isinstance(answer, ForkFailed)
            worker.close()
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
            worker = server.fork(2, "time", listening)
            assert isinstance(server.heard(), Forked)
            worker.wait_until_ready()
            worker.close()

    def test_killed(self, server: Server) -> None:
        """A killed worker is reported with its signal, and leaves no zombie."""
        with listener() as listening:
            worker = server.fork(1, "time", listening)
            forked = server.heard()
            assert isinstance(forked, Forked)
            os.kill(forked.pid, signal.SIGSEGV)
            assert server.heard() == ChildEnded(1, -signal.SIGSEGV)
            worker.close()


class TestServer:
    def test_ends_with_the_daemon(self, server: Server) -> None:
        """It exits in good order when its daemon closes the socket."""
        server.connection.close()
        assert server.wait() == 0
        assert server.said() == ""

    def test_ends_with_its_parent(self) -> None:
        """A stopped fork server ends with its daemon, too."""
        program = (
            "import os, signal, socket, sys, subprocess\n"
            "from netd.daemon.forkserver.spawn import command\n"
            "ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            "pid = os.posix_spawn(sys.executable, command('forkserver'), os.environ,\n"
            "    file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)])\n"
            "theirs.close()\n"
            "while b'fork server' not in open(f'/proc/{pid}/cmdline', 'rb').read(): pass\n"
            "os.kill(pid, signal.SIGSTOP)\n"
            "print(pid, flush=True)\n"
            "sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as parent:
            assert parent.stdout is not None
            pidfd = os.pidfd_open(int(parent.stdout.readline()))
            parent.kill()
        ended = select.select([pidfd], [], [], PATIENCE)[0]
        os.close(pidfd)
        assert ended

    def test_runs_no_reactor(self, server: Server) -> None:
        """It has one thread, and no descriptor of a reactor."""
        found = open_descriptors(server.pid, settled=4)
        assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
        assert not [link for link in found.values() if "eventpoll" in link]

    def test_obeys_no_signal_of_the_terminal(self, server: Server) -> None:
        """The signals of Ctrl-C reach every process; the fork server ignores them."""
        open_descriptors(server.pid, settled=4)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(server.pid, number)
        with listener() as listening:
            worker = server.fork(1, "time", listening)
            worker.wait_until_ready()
            worker.close()

    def test_reaps_what_workers_leave_behind(self, server: Server) -> None:
        """A process that outlives its worker becomes the fork server's child, which reaps it."""
        server.handler = """
import os
worker = os.getpid()
if os.fork():
    os._exit(3)
while os.getppid() == worker:
    pass
os.write(1, f"left to {os.getppid()}".encode())
os._exit(0)
"""
        with listener() as listening:
            worker = server.fork(1, "time", listening)
            assert isinstance(server.heard(), Forked)
            assert server.heard() == ChildEnded(1, 3)
            worker.close()
        until(lambda: f"left to {server.pid}" in server.said(), "it is adopted")
        until(lambda: children(server.pid) == [], "it is reaped")


def open_descriptors(pid: int, settled: int = 0) -> dict[int, str]:
    """The descriptors of a process, once it is ready to fork."""
    if settled:
        status = Path(f"/proc/{pid}/status")
        # SIGCHLD is caught when everything is there.
        while not int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & 1 << 16:
            pass
    there = Path(f"/proc/{pid}/fd")
    return {int(entry.name): os.readlink(entry) for entry in there.iterdir()}
