"""The fork server under a real daemon: what its death, its silence and its speed mean."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.integration.daemons import (
    PATIENCE,
    Project,
    RunningDaemon,
    children,
    is_alive,
    is_fork_server,
    read_exactly,
    until,
)

ECHO = """
    import os
    from socketserver import StreamRequestHandler

    class Echo(StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                if line == b"exit\\n":
                    os._exit(7)
                self.wfile.write(b"%d %d\\n" % (os.getpid(), os.getppid()))
"""

SERVICE = """
    [services.{name}]
    listen = ["tcp:0:interface=127.0.0.1"]
    handler = "handlers:Echo"
"""


def configure(project: Project, *names: str) -> None:
    project.handlers(ECHO)
    project.configure("".join(SERVICE.format(name=name) for name in names))


def ask(connection: socket.socket) -> tuple[int, int]:
    """The pid of the worker that serves a connection, and of that one's parent."""
    connection.sendall(b"?\n")
    answer = b""
    while not answer.endswith(b"\n"):
        more = connection.recv(100)
        assert more, "the connection was lost"
        answer += more
    pid, parent = answer.split()
    return int(pid), int(parent)


class Client(threading.Thread):
    """Asks by one connection, again and again, and counts."""

    def __init__(self, daemon: RunningDaemon, service: str) -> None:
        super().__init__(daemon=True)
        self._connection = daemon.tcp(service)
        self._enough = threading.Event()
        self.answers = 0
        self.lost = False

    def run(self) -> None:
        try:
            while not self._enough.is_set():
                ask(self._connection)
                self.answers += 1
        except (OSError, AssertionError):
            self.lost = True

    def stop(self) -> None:
        self._enough.set()
        self.join(PATIENCE)
        self._connection.close()


@contextmanager
def load(daemon: RunningDaemon, *services: str) -> Iterator[list[Client]]:
    """Clients of every service, while the block runs."""
    clients = [Client(daemon, service) for service in services for _ in range(4)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stop()


def are_served(clients: list[Client], before: list[int]) -> bool:
    """Whether each client has had some answers more than *before*."""
    counts = zip(clients, before, strict=True)
    return all(client.answers > count + 10 for client, count in counts)


def zombies_of(pid: int) -> list[int]:
    return [child for child in children(pid) if not is_alive(child)]


class TestDeath:
    def test_costs_no_client(self, project: Project) -> None:
        """Killed again and again under load, it takes no connection and no worker with it."""
        configure(project, "one", "two")
        daemon = project.start()
        workers = daemon.workers()
        with load(daemon, "one", "two") as clients:
            for count in range(1, 4):
                server = daemon.fork_server()
                os.kill(server, signal.SIGKILL)
                daemon.log.wait("the fork server ended with signal SIGKILL", count)
                until(partial(has_another, daemon, server), "another starts")
                before = [client.answers for client in clients]
                until(partial(are_served, clients, before), "everybody is served")
        assert not any(client.lost for client in clients)
        assert sorted(daemon.workers()) == sorted(workers)
        assert daemon.stop() == 0
        assert not daemon.log.matching("worker .* ended|Traceback")

    @pytest.mark.long
    def test_is_not_the_end_of_supervision(self, project: Project) -> None:
        """A worker that dies after its fork server is known to, reaped and replaced."""
        configure(project, "one")
        daemon = project.start()
        (worker,) = daemon.workers()
        os.kill(daemon.fork_server(), signal.SIGKILL)
        daemon.log.wait("the fork server ended")
        with daemon.tcp("one") as client:
            client.sendall(b"exit\n")
        daemon.log.wait(rf"worker one \(pid {worker}\) ended with status 7; 1 connection ")
        with daemon.tcp("one") as client:
            pid, parent = ask(client)
        assert pid != worker
        assert parent == daemon.fork_server()
        assert zombies_of(daemon.pid) == []

    @pytest.mark.long
    def test_together_with_its_workers(self, project: Project) -> None:
        """When all of them are killed at once, everything is back."""
        configure(project, "one", "two")
        daemon = project.start()
        for pid in (daemon.fork_server(), *daemon.workers()):
            os.kill(pid, signal.SIGKILL)
        for service in ("one", "two"):
            with daemon.tcp(service) as client:
                ask(client)
        assert daemon.stop() == 0
        assert not daemon.log.matching("Traceback")

    @pytest.mark.long
    def test_while_workers_are_on_their_way(self, project: Project) -> None:
        """However early it is killed, each service has one worker in the end, and no more."""
        names = [f"s{number}" for number in range(20)]
        configure(project, *names)
        daemon = project.launch()
        daemon.log.wait("s19 listens on")
        until(partial(has_forked, daemon), "there is a worker")
        os.kill(daemon.fork_server(), signal.SIGKILL)
        daemon.wait_until_ready()
        pids = set()
        for name in names:
            with daemon.tcp(name) as client:
                pids.add(ask(client)[0])
        assert len(pids) == len(names)
        assert pids == set(filter(is_alive, daemon.workers()))
        assert daemon.stop() == 0

    @pytest.mark.long
    def test_of_the_daemon(self, project: Project) -> None:
        """Without its daemon it leaves, also when it is stopped."""
        configure(project, "one")
        daemon = project.start()
        server, workers = daemon.fork_server(), daemon.workers()
        os.kill(server, signal.SIGSTOP)
        daemon.signal(signal.SIGKILL)
        until(lambda: not any(map(is_alive, [server, *workers])), "they leave")

    @pytest.mark.long
    def test_at_the_end(self, project: Project) -> None:
        """A daemon that stops leaves nothing behind, and does not complain of what it ended."""
        configure(project, "one")
        daemon = project.start()
        server = daemon.fork_server()
        assert daemon.stop() == 0
        until(lambda: not is_alive(server), "it leaves")
        assert not daemon.log.matching("fork server")


def has_forked(daemon: RunningDaemon) -> bool:
    """Whether the daemon has a fork server, and that a worker."""
    return any(map(children, filter(is_fork_server, children(daemon.pid))))


def has_another(daemon: RunningDaemon, server: int) -> bool:
    """Whether the daemon has a fork server that is not that one."""
    return any(pid != server and is_fork_server(pid) for pid in children(daemon.pid))


class TestSilence:
    @pytest.mark.long
    def test_holds_nobody_up(self, project: Project) -> None:
        """A stopped one is replaced as soon as a worker is needed; the daemon goes on meanwhile."""
        configure(project, "one", "two")
        daemon = project.start()
        server = daemon.fork_server()
        os.kill(server, signal.SIGSTOP)
        with load(daemon, "two") as clients:
            with daemon.tcp("one") as client:
                client.sendall(b"exit\n")
            daemon.log.wait("the fork server does not answer within 5 s; it is ended")
            with daemon.tcp("one") as client:
                ask(client)
            until(lambda: all(client.answers > 10 for client in clients), "two is served")
        assert not any(client.lost for client in clients)
        daemon.log.wait(r"worker one .* ended with ")
        assert not is_alive(server)
        assert daemon.stop() == 0


class TestCost:
    @pytest.mark.long
    def test_memory(self, project: Project) -> None:
        """A worker has little memory of its own: most is shared with its fork server."""
        configure(project, "one", "two")
        daemon = project.start()
        for worker in daemon.workers():
            rollup = Path(f"/proc/{worker}/smaps_rollup").read_text()
            own = [int(line.split()[1]) for line in rollup.splitlines() if "Private_" in line]
            assert sum(own) < 8 << 10  # KiB; an interpreter with Twisted of its own has 40 MiB

    @pytest.mark.long
    def test_many_services(self, project: Project) -> None:
        """A hundred services have their workers within the time of a few."""
        configure(project, *(f"s{number}" for number in range(100)))
        daemon = project.start()
        assert len(daemon.workers()) == 100
        for service in ("s0", "s99"):
            with daemon.tcp(service) as client:
                ask(client)
        assert daemon.stop() == 0
        assert not daemon.log.matching("Traceback")

    @pytest.mark.long
    def test_many_listeners(self, project: Project) -> None:
        """A worker takes more listeners than the kernel passes on with one message."""
        project.handlers(ECHO)
        listeners = ", ".join(['"tcp:0:interface=127.0.0.1"'] * 300)
        project.configure(f"[services.one]\nlisten = [{listeners}]\nhandler = 'handlers:Echo'\n")
        daemon = project.start()
        last = daemon.log.wait(r"one listens on tcp (\S+)", 300).group(1)
        host, _, port = last.rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as client:
            ask(client)
        assert daemon.stop() == 0


@pytest.mark.sweep
@pytest.mark.parametrize("service", ["one", "two"])
def test_descriptors(project: Project, service: str) -> None:
    """A worker has what it needs, and of the fork server or other workers nothing."""
    configure(project, "one", "two")
    daemon = project.start()
    found = {}
    with daemon.tcp(service) as client:
        pid, _ = ask(client)
        there = Path(f"/proc/{pid}/fd")
        for number in sorted(int(entry.name) for entry in there.iterdir()):
            found[number] = os.readlink(there / str(number)).partition(":")[0]
        client.shutdown(socket.SHUT_WR)
        assert read_exactly(client, 1) == b""
    assert [found.pop(number) for number in range(3)] == ["/dev/null", "pipe", "pipe"]
    assert sorted(found.values()) == [
        "/memfd",  # the scoreboard, of which the mapping keeps a descriptor
        *["anon_inode"] * 3,  # the reactor's epoll, that of the threads, what stops them
        *["pipe"] * 2,  # what wakes the reactor up
        *["socket"] * 4,  # the channel, the listener with the handler's copy, the client
    ]
