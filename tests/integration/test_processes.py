"""Pools of processes and their life on the real daemon: growing, wearing out, hanging, dying."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.integration.daemons import (
    PATIENCE,
    Project,
    RunningDaemon,
    children,
    is_alive,
    read_all,
    read_exactly,
    until,
)
from tests.tls.authorities import issued

HANDLER = """
    import atexit, ctypes, os, resource, signal, socket, sys, threading, time
    from socketserver import BaseRequestHandler, ForkingTCPServer, ForkingUDPServer

    seen = 0
    hoard = []

    def verify(request, client_address):
        return True

    class Odd(BaseRequestHandler):
        def handle(self):
            global seen
            seen += 1
            if isinstance(self.request, tuple):
                data, socket = self.request
                socket.sendto(f"{os.getpid()} {seen}".encode(), self.client_address)
                return
            order, _, argument = self.request.recv(100).decode().partition(" ")
            getattr(self, order)(argument)

        def say(self, *things):
            self.request.sendall(" ".join(map(str, things)).encode())

        def pid(self, _):
            self.say(os.getpid(), seen)

        def wait(self, _):
            self.say("in", os.getpid())
            self.request.recv(1)

        def sleep(self, seconds):
            self.say("in", os.getpid())
            time.sleep(float(seconds))

        def nap(self, seconds):
            time.sleep(float(seconds))
            self.say(os.getpid())

        def block(self, _):
            self.say("in", os.getpid())
            self.block_here()

        def block_here(self):
            threading.Event().wait()

        def grow(self, megabytes):
            hoard.append(b"x" * (int(megabytes) << 20))
            self.say(os.getpid())

        def exhaust(self, _):
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            self.say(os.getpid())
            hoard.append(bytearray(4 << 30))

        def segfault(self, _):
            ctypes.string_at(0)

        def exit(self, status):
            print("before", flush=True)
            os._exit(int(status))

        def close(self, _):
            for standard in range(3):
                os.close(standard)
            self.say(os.getpid())

        def mess(self, _):
            for standard in (1, 2):
                try:
                    os.write(standard, b"MESS")
                except OSError:
                    pass
            self.say("done", self.request.fileno() > 2)

        def threads(self, _):
            for _ in range(3):
                threading.Thread(target=threading.Event().wait).start()
            self.say(os.getpid())

        def descriptors(self, _):
            links = {}
            for name in os.listdir("/proc/self/fd"):
                try:
                    links[int(name)] = os.readlink(f"/proc/self/fd/{name}")
                except OSError:
                    pass
            self.say(links)

        def talk(self, count):
            for line in range(int(count)):
                print("line", line)
            print("L" * 200_000)
            print("\\N{SNOWMAN}" * 30_000)
            sys.stdout.write("no end")
            self.say(os.getpid())

        def shutdown(self, _):
            self.server.shutdown()
            self.say("shut")

        def ticks(self, _):
            self.say(getattr(self.server, "actions", 0), threading.active_count())

    class Acting(ForkingTCPServer):
        timeout = 0.2
        def service_actions(self):
            self.actions = getattr(self, "actions", 0) + 1
        def handle_timeout(self):
            print("nobody came, threads:", threading.active_count())
"""

LISTEN: Final = 'listen = ["tcp:0:interface=127.0.0.1"]\n'

PROCESS: Final = f"""
[services.p]
{LISTEN}handler = "handlers:Odd"
concurrency = "process"
"""

FORKS: Final = PROCESS + "max_requests = 1\n"

THREAD: Final = PROCESS.replace('"process"', '"thread"')

OTHER: Final = f"""
[services.other]
{LISTEN}handler = "handlers:Odd"
"""


def started(project: Project, configuration: str) -> RunningDaemon:
    project.handlers(HANDLER)
    project.configure(configuration)
    return project.start()


def pid_of(daemon: RunningDaemon) -> int:
    """Be a client that asks who serves it."""
    return int(daemon.ask(b"pid", "p").split()[0])


@contextmanager
def inside(daemon: RunningDaemon, count: int, order: bytes = b"wait") -> Iterator[list[int]]:
    """So many clients, all inside at once; the pids of those who serve them."""
    with ExitStack() as stack:
        clients = [stack.enter_context(daemon.tcp("p")) for _ in range(count)]
        for client in clients:
            client.sendall(order)
        yield [int(read_exactly_a_pid(client)) for client in clients]


def read_exactly_a_pid(client: socket.socket) -> bytes:
    """What follows "in "."""
    assert read_exactly(client, 3) == b"in "
    return client.recv(20)


def answers(daemon: RunningDaemon, order: bytes, service: str = "p") -> bytes | None:
    """What a client is told; None when its connection is lost, before or after it was taken."""
    try:
        return daemon.ask(order, service)
    except OSError:
        return None


class TestGrowth:
    """A pool has as many workers as its clients need, up to ``processes``."""

    def test_one_is_ready_and_more_come_when_needed(self, project: Project) -> None:
        """Clients that wait get a process each, and a quick one does not stand behind them."""
        daemon = started(project, PROCESS + "processes = 6\n")
        assert len(daemon.workers()) == 1
        with inside(daemon, 5) as pids:
            assert len(set(pids)) == 5
            assert pid_of(daemon) not in pids
        assert daemon.stop() == 0

    def test_processes_bounds_it(self, project: Project) -> None:
        """The next one waits in the backlog, and comes in when somebody leaves."""
        daemon = started(project, PROCESS + "processes = 2\n")
        with inside(daemon, 2) as pids:
            late = daemon.tcp("p")
            late.sendall(b"pid")
            late.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.recv(1)
        with late:
            late.settimeout(PATIENCE)
            assert int(read_all(late).split()[0]) in pids

    def test_nobody_waits_behind_a_busy_worker(self, project: Project) -> None:
        """Of two workers one is busy: every client is the other's at once."""
        daemon = started(project, PROCESS + "processes = 2\n")
        with inside(daemon, 2):
            pass
        with inside(daemon, 1) as pids:
            for _ in range(50):
                begun = time.monotonic()
                assert pid_of(daemon) not in pids
                assert time.monotonic() - begun < PATIENCE / 10

    def test_a_fixed_pool(self, project: Project) -> None:
        """Services of threads have just so many workers, all from the beginning."""
        daemon = started(project, THREAD + "processes = 3\nthreads = 1\n")
        assert len(daemon.workers()) == 3
        with inside(daemon, 3) as pids:
            assert sorted(pids) == sorted(daemon.workers())

    def test_datagrams(self, project: Project) -> None:
        """A forking UDP server: a pool of processes too."""
        configuration = PROCESS.replace("tcp:", "udp:").replace(
            "handler =", 'server = "socketserver:ForkingUDPServer"\nhandler ='
        )
        daemon = started(project, configuration)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.settimeout(PATIENCE)
            client.connect(daemon.address("udp"))
            for _ in range(5):
                client.send(b"x")
                assert int(client.recv(100).split()[0]) in daemon.workers()


class TestMaxRequests:
    """A worker is replaced after so many, before which its successor is ready."""

    def test_exact_in_a_process(self, project: Project) -> None:
        """One that serves one at a time takes no more than it may."""
        daemon = started(project, PROCESS + "max_requests = 5\nprocesses = 2\n")
        served = Counter(pid_of(daemon) for _ in range(60))
        assert max(served.values()) <= 5
        assert len(served) >= 12
        assert daemon.stop() == 0
        daemon.log.wait("stopped: 60 served, 0 refused, 0 failed, 0 dropped")

    @pytest.mark.parametrize("concurrency", ["thread", "process", "reactor"])
    def test_refused_clients_do_not_count(self, project: Project, concurrency: str) -> None:
        """No user's code has seen those that the lists refuse, or whose handshake fails."""
        issued("host.example").private_key_and_cert_chain_pem.write_to_path(
            project.directory / "server.pem"
        )
        runs = "echo" if concurrency == "reactor" else "handlers:Odd"
        configuration = f"""
            [services.p]
            listen = ["tcp:0:interface=127.0.0.1", "tls:0:interface=127.0.0.1"]
            handler = "{runs}"
            concurrency = "{concurrency}"
            processes = {2 if concurrency == "process" else 1}
            max_requests = 10
            access = {{deny = ["127.0.0.2"]}}
            tls = {{certificate = "server.pem"}}
        """
        daemon = started(project, configuration)
        refused = 30
        for _ in range(refused // 2):
            tcp, tls = (daemon.address(transport, "p") for transport in ("tcp", "tls"))
            with socket.create_connection(tcp, PATIENCE, ("127.0.0.2", 0)) as denied:
                assert denied.recv(1) == b""
            with socket.create_connection(tls, PATIENCE) as failing, suppress(ConnectionError):
                failing.sendall(b"no handshake at all\n")
                while failing.recv(100):  # an alert
                    pass
        daemon.log.wait(r"\[p#info\] .* refused: ", refused)
        assert not daemon.log.matching("it is replaced")
        assert daemon.ask(b"pid", "p")
        assert not daemon.log.matching("it is replaced")
        until(
            lambda: daemon.ask(b"pid", "p") and daemon.log.matching("has taken .* it is replaced"),
            "a worker that has served enough is replaced",
        )

    @pytest.mark.sweep
    @pytest.mark.parametrize("base", [THREAD, PROCESS], ids=["thread", "process"])
    def test_no_client_is_lost(self, project: Project, base: str) -> None:
        """Under load, with workers that come and go all the time."""
        daemon = started(project, base + "max_requests = 50\n")
        told: list[bytes | None] = []
        workers: set[bytes] = set()

        def client() -> None:
            # Of many threads each takes until the successor is there, so how often is not exact.
            for number in count():
                if number >= 150 and len(workers) > 3:
                    return
                told.append(answer := answers(daemon, b"pid"))
                workers.update((answer or b"").split()[:1])

        clients = [threading.Thread(target=client) for _ in range(4)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        assert None not in told
        assert b"" not in told
        assert daemon.stop() == 0

    def test_long_connections_do_not_stop_a_service(self, project: Project) -> None:
        """Retired workers may have clients for hours; there is no room for one more then."""
        daemon = started(project, THREAD + "max_requests = 10\n")
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(inside(daemon, 1))
                for _ in range(12):
                    pid_of(daemon)
            assert pid_of(daemon)
        until(lambda: len(daemon.workers()) == 1, "those retired leave")
        assert pid_of(daemon)

    def test_a_verify_request_takes_a_worker_for_each(self, project: Project) -> None:
        """It cannot fork; every client gets a fresh process all the same, and check says so."""
        configuration = FORKS + '[services.p.access]\nverify_request = "handlers:verify"\n'
        daemon = started(project, configuration)
        daemon.log.wait("every client gets a new worker, which takes longer than a fork")
        pids = [pid_of(daemon) for _ in range(8)]
        assert len(set(pids)) == 8


class TestForks:
    """``max_requests = 1``: a fresh process for each request, forked by the worker."""

    def test_fresh_for_each(self, project: Project) -> None:
        """Memory is as after the import, and the worker itself serves nobody."""
        daemon = started(project, FORKS)
        (worker,) = daemon.workers()
        told = [daemon.ask(b"pid", "p").split() for _ in range(20)]
        assert len({pid for pid, _ in told}) == 20
        assert {seen for _, seen in told} == {b"1"}
        assert daemon.workers() == [worker]
        assert daemon.stop() == 0
        daemon.log.wait("stopped: 20 served, 0 refused, 0 failed, 0 dropped")

    def test_processes_bounds_them(self, project: Project) -> None:
        daemon = started(project, FORKS + "processes = 2\n")
        with inside(daemon, 2) as pids:
            late = daemon.tcp("p")
            late.sendall(b"pid")
            late.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.recv(1)
        with late:
            late.settimeout(PATIENCE)
            assert int(read_all(late).split()[0]) not in pids

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("order", "how"), [(b"segfault", "signal SIGSEGV"), (b"exit 7", "status 7")]
    )
    def test_one_that_dies(self, project: Project, order: bytes, how: str) -> None:
        """It costs its own client, who is named; what it has said is not lost."""
        daemon = started(project, FORKS)
        with inside(daemon, 1) as (pid,):
            assert daemon.ask(order, "p") == b""
            daemon.log.wait(rf"127.0.0.1:\d+: its process \(pid \d+\) ended with {how}")
            assert is_alive(pid)
        if order == b"exit 7":
            daemon.log.wait(r"\[p#info\] before$")
        else:
            daemon.log.wait("Fatal Python error: Segmentation fault")
        assert pid_of(daemon)
        assert daemon.stop() == 0
        daemon.log.wait("stopped: 3 served, 0 refused, 1 failed, 0 dropped")

    def test_log(self, project: Project) -> None:
        """Lines come as they are said, whole, whatever their length and alphabet."""
        daemon = started(project, FORKS)
        with inside(daemon, 1):
            daemon.ask(b"talk 100", "p")
            daemon.log.wait(r"\[p#info\] line 99$")
        daemon.log.wait(r"tcp served", count=2)
        lines = daemon.log.matching(r"\[p#info\] line \d+$")
        assert [int(line.rpartition(" ")[2]) for line in lines] == list(range(100))
        assert sum(line.count("L") for line in daemon.log.matching("L{1000}")) == 200_000
        assert sum(line.count("\N{SNOWMAN}") for line in daemon.log.lines) == 30_000
        assert "\N{REPLACEMENT CHARACTER}" not in daemon.log.text

    def test_handler_timeout(self, project: Project) -> None:
        """It is killed; where it was is in the log."""
        daemon = started(project, FORKS + 'handler_timeout = "300ms"\n')
        with daemon.tcp("p") as client:
            client.sendall(b"block")
            assert read_all(client).startswith(b"in ")
        daemon.log.wait(r"127.0.0.1:\d+: the handler has run for more than 0.3 s, and its process")
        daemon.log.wait(r"handlers.py\", line \d+ in block_here")
        assert pid_of(daemon)

    def test_shutdown(self, project: Project) -> None:
        """Called in a fork it suspends the service, and returns when that is so."""
        daemon = started(project, FORKS)
        assert daemon.ask(b"shutdown", "p") == b"shut"
        daemon.log.wait("service p is suspended")
        with daemon.tcp("p") as client:
            client.sendall(b"pid")
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(1)

    def test_ticks(self, project: Project) -> None:
        """``service_actions`` and ``handle_timeout`` are the worker's, which has one thread."""
        daemon = started(
            project, FORKS.replace("handler =", 'server = "handlers:Acting"\nhandler =')
        )
        daemon.log.wait(r"nobody came, threads: 1$", count=2)
        for _ in range(3):
            daemon.ask(b"pid", "p")
        actions, threads = daemon.ask(b"ticks", "p").split()
        assert int(actions) >= 3
        assert threads == b"1"

    def test_a_stop_waits_and_a_second_one_does_not(self, project: Project) -> None:
        """A child that was stopped (SIGSTOP) holds nobody up."""
        daemon = started(project, FORKS)
        with daemon.tcp("p") as client:
            client.sendall(b"wait")
            pid = int(read_exactly_a_pid(client))
            os.kill(pid, signal.SIGSTOP)
            daemon.signal(signal.SIGTERM)
            daemon.log.wait("SIGTERM: stopping")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            with suppress(ConnectionResetError):
                assert read_all(client) == b""
        until(lambda: not is_alive(pid), "the child has gone")

    def test_they_end_with_their_worker(self, project: Project) -> None:
        """Nobody serves whom nobody knows; the clients are named."""
        daemon = started(project, FORKS)
        (worker,) = daemon.workers()
        with inside(daemon, 3) as pids:
            os.kill(worker, signal.SIGKILL)
            daemon.log.wait(r"ended with signal SIGKILL; 3 connections \(")
            until(lambda: not any(map(is_alive, pids)), "the children have gone")
        assert pid_of(daemon)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "they are reaped")

    @pytest.mark.long
    def test_many_at_once_leave_nothing(self, project: Project) -> None:
        """No zombie, no descriptor, no slot."""
        daemon = started(project, FORKS)
        (worker,) = daemon.workers()
        assert pid_of(daemon)
        until(lambda: not children(worker), "nobody is inside")
        before = descriptors(worker)
        for _ in range(3):
            with inside(daemon, 20):
                pass
        until(lambda: not children(worker), "nobody is inside")
        until(lambda: descriptors(worker) == before, "descriptors are given back")


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


OF_BOTH: Final = {
    "/dev/null": 1,
    # Standard output and error; both ends of what wakes the reactor.
    "pipe": 4,
    # The scoreboard, which the mapping keeps.
    "/memfdnetd": 1,
}

OF_A_WORKER: Final = OF_BOTH | {
    # The channel, the listener, the copy of it that handlers see, and the client.
    "socket": 4,
    # The reactor's, and the one that threads wait in, with what tells them to end.
    "anon_inodeeventpoll": 2,
    "anon_inodeeventfd": 1,
}

OF_A_FORK: Final = OF_BOTH | {
    # No channel, but the way to the worker's log.
    "socket": 4,
    "anon_inodeeventpoll": 1,
    # Whether the service is suspended. And no pidfd of a sibling.
    "anon_inodeeventfd": 1,
}


@pytest.mark.sweep
@pytest.mark.parametrize("configuration", [PROCESS, FORKS], ids=["worker", "fork"])
def test_descriptors_are_those_on_the_list(project: Project, configuration: str) -> None:
    """A worker, and a fork of one, has what it needs and nothing of the daemon's or a sibling's."""
    daemon = started(project, configuration + OTHER)
    with inside(daemon, 2):
        links: dict[int, str] = eval(daemon.ask(b"descriptors", "p"))
    kinds = Counter(re.sub(r"[\d:\[\]]+", "", link.split()[0]) for link in links.values())
    assert kinds == (OF_A_FORK if configuration is FORKS else OF_A_WORKER), links


class TestMaxMemory:
    """A worker that uses too much is replaced between clients."""

    @pytest.mark.sweep
    @pytest.mark.parametrize("base", [THREAD, PROCESS], ids=["thread", "process"])
    def test_replaced(self, project: Project, base: str) -> None:
        daemon = started(project, base + 'max_memory = "200MiB"\n')
        first = int(daemon.ask(b"grow 300", "p"))
        # It is looked at ten times a second at most, when a client leaves.
        until(lambda: pid_of(daemon) != first, "another worker serves")
        daemon.log.wait(rf"worker p \(pid {first}\) uses \d+ KiB of memory; it is replaced")
        until(lambda: not is_alive(first), "the worker has left")
        assert daemon.stop() == 0
        assert not daemon.log.matching("lost")


class TestHandlerTimeout:
    """A handler that runs for too long loses its client, its thread, and perhaps its process."""

    def test_of_a_process(self, project: Project) -> None:
        """The worker is killed and replaced within a second, and the log says where it was."""
        daemon = started(project, PROCESS + 'handler_timeout = "300ms"\nprocesses = 1\n')
        with daemon.tcp("p") as client:
            client.sendall(b"block")
            pid = int(read_exactly_a_pid(client))
            with suppress(ConnectionResetError):
                assert read_all(client) == b""
        begun = time.monotonic()
        assert pid_of(daemon) != pid
        assert time.monotonic() - begun < 2
        daemon.log.wait(r"\[p#error\] 127.0.0.1:\d+: the handler has run for more than 0.3 s")
        daemon.log.wait(r"handlers.py\", line \d+, in block_here")
        daemon.log.wait("worker p hangs in service p; it is ended")

    def test_of_threads(self, project: Project) -> None:
        """The thread is written off; the others go on, in the same process."""
        daemon = started(project, THREAD + 'handler_timeout = "300ms"\nthreads = 8\n')
        with daemon.tcp("p") as client:
            client.sendall(b"block")
            pid = int(read_exactly_a_pid(client))
            assert read_all(client) == b""
        daemon.log.wait(r"handlers.py\", line \d+, in block_here")
        assert pid_of(daemon) == pid
        assert daemon.stop() == 0

    @pytest.mark.long
    def test_a_quarter_written_off(self, project: Project) -> None:
        """The worker is replaced; a handler that is inside runs to its end."""
        daemon = started(project, THREAD + 'handler_timeout = "1s"\nthreads = 8\n')
        first = pid_of(daemon)
        with ExitStack() as stack:
            for _ in range(2):
                client = stack.enter_context(daemon.tcp("p"))
                client.sendall(b"block")
                assert int(read_exactly_a_pid(client)) == first
            daemon.log.wait("the handler has run for more than 1 s", count=1)
            guest = stack.enter_context(daemon.tcp("p"))
            guest.sendall(b"nap 0.6")
            daemon.log.wait(rf"worker p \(pid {first}\) has 2 handlers that do not come back")
            until(lambda: pid_of(daemon) != first, "another worker serves")
            assert read_all(guest)
        until(lambda: not is_alive(first), "the worker has left")
        assert not daemon.log.matching("lost")

    @pytest.mark.long
    def test_one_that_uses_its_socket_again_is_told(self, project: Project) -> None:
        """Its next use raises, and its thread serves nobody else's connection."""
        daemon = started(project, THREAD + 'handler_timeout = "300ms"\nthreads = 8\n')
        with daemon.tcp("p") as client:
            client.sendall(b"nap 0.8")
            assert read_all(client) == b""
        daemon.log.wait(r"OSError: \[Errno 9\] Bad file descriptor")
        daemon.log.wait(r"127.0.0.1:\d+ tcp failed")
        assert pid_of(daemon)

    @pytest.mark.long
    def test_a_function_whose_server_has_no_threads(self, project: Project) -> None:
        """Its only thread hangs, so its process is ended."""
        project.handlers("""
            from socketserver import TCPServer
            from handlers import Odd
            def make(address):
                return TCPServer(address, Odd)
        """, "making")  # fmt: skip
        text = THREAD.replace('handler = "handlers:Odd"', 'server = "making:make"')
        text = text.replace('concurrency = "thread"\n', 'handler_timeout = "300ms"\n')
        daemon = started(project, text)
        with daemon.tcp("p") as client:
            client.sendall(b"block")
            read_exactly_a_pid(client)
        assert pid_of(daemon)
        daemon.log.wait("worker p hangs in service p; it is ended")


class TestFaults:
    """What handlers do to their process is their process's."""

    @pytest.mark.sweep
    @pytest.mark.parametrize("base", [PROCESS, FORKS, THREAD], ids=["process", "forks", "thread"])
    @pytest.mark.parametrize(
        "order", [b"segfault", b"exit 0", b"exit 9", b"exhaust", b"close", b"threads"]
    )
    def test_fault(self, project: Project, base: str, order: bytes) -> None:
        """The service is back within a second, and another one loses nothing."""
        daemon = started(project, base + OTHER)
        other = daemon.ask(b"pid", "other").split()[0]
        for _ in range(3):
            answers(daemon, order)
            begun = time.monotonic()
            assert pid_of(daemon)
            assert time.monotonic() - begun < 3
        assert daemon.ask(b"pid", "other").split()[0] == other
        assert daemon.stop() == 0

    def test_exhausted_memory_is_the_handlers_own(self, project: Project) -> None:
        """A MemoryError is an exception like any other."""
        daemon = started(project, PROCESS)
        daemon.ask(b"exhaust", "p")
        daemon.log.wait("MemoryError")
        daemon.log.wait("127.0.0.1:.* tcp failed")

    def test_closed_standard_streams_are_no_clients(self, project: Project) -> None:
        """Whoever writes to standard output afterwards writes to nobody."""
        daemon = started(project, THREAD)
        daemon.ask(b"close", "p")
        for _ in range(3):
            assert daemon.ask(b"mess", "p") == b"done True"

    @pytest.mark.long
    def test_threads_left_behind_do_not_keep_a_worker(self, project: Project) -> None:
        """One that is replaced leaves when its time is over, whatever runs on in it."""
        daemon = started(
            project, '[daemon]\ngraceful_timeout = "500ms"\n' + PROCESS + "max_requests = 2\n"
        )
        pid = int(daemon.ask(b"threads", "p"))
        until(lambda: pid_of(daemon) != pid, "another worker serves")
        until(lambda: not is_alive(pid), "the worker has left")

    @pytest.mark.long
    def test_blocked_for_ever(self, project: Project) -> None:
        """Handlers that block cost their slots, and nobody else anything."""
        daemon = started(project, PROCESS + "processes = 4\n")
        with inside(daemon, 3, b"block") as pids:
            for _ in range(5):
                assert pid_of(daemon) not in pids


class TestKilled:
    """Random workers are killed under load, again and again."""

    @pytest.mark.long
    @pytest.mark.parametrize("base", [PROCESS, FORKS, THREAD], ids=["process", "forks", "thread"])
    def test_only_what_they_held_is_lost(
        self, project: Project, base: str, request: pytest.FixtureRequest
    ) -> None:
        """The service goes on, others lose nothing, and in the end all is as it was."""
        seconds = 10.0 if request.config.getoption("--long") else 3.0
        daemon = started(project, base + "threads = 4\n" * (base is THREAD) + OTHER)
        # Once round, so that what is made once has been made.
        (spared,) = {int(daemon.ask(b"pid", "other").split()[0])}
        load = Load(daemon)
        load.run_for(0.5)
        quiet(daemon)
        before = descriptors(daemon.pid), resident(daemon.pid)
        victims = Victims(daemon, spared)
        load.run_for(seconds, victims.kill_one)
        assert victims.killed >= seconds / 0.1 / 3
        assert load.others_lost == 0
        # A client that was in the hands of a victim, and nobody beside.
        most = victims.killed * (40 if base is FORKS else 4)
        assert load.lost <= most
        assert load.served > 0
        begun = time.monotonic()
        until(lambda: answers(daemon, b"pid"), "the service is back")
        assert time.monotonic() - begun < 3
        quiet(daemon)
        until(lambda: descriptors(daemon.pid) <= before[0], "descriptors are given back")
        assert resident(daemon.pid) < before[1] + (8 << 20)
        assert not [pid for pid in victims.pids if Path(f"/proc/{pid}").exists()]
        assert daemon.ask(b"pid", "other").split()[0] == str(spared).encode()
        assert daemon.stop() == 0


class Victims:
    """The workers of a daemon but one, of which one is killed now and then."""

    def __init__(self, daemon: RunningDaemon, spared: int) -> None:
        self._daemon = daemon
        self._spared = spared
        self._chance = random.Random(4)
        self.pids: set[int] = set()
        self.killed = 0

    def kill_one(self) -> None:
        """Kill one, if there is one."""
        candidates = [pid for pid in self._daemon.workers() if pid != self._spared]
        if candidates:
            pid = self._chance.choice(candidates)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed += 1
                self.pids.add(pid)


class Load:
    """Eight clients of the service ``p``, and one of another."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.served = self.lost = self.others_lost = 0

    def run_for(self, seconds: float, disturb: object = None) -> None:
        """Be clients for so long, and call *disturb* every tenth of a second."""
        self._over.clear()
        clients = [threading.Thread(target=self._be_client) for _ in range(8)]
        clients.append(threading.Thread(target=self._be_other))
        for client in clients:
            client.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._over.wait(0.1)
            if callable(disturb):
                disturb()
        self._over.set()
        for client in clients:
            client.join()

    def _be_client(self) -> None:
        while not self._over.is_set():
            told = answers(self._daemon, b"nap 0.002")
            with self._lock:
                self.served += bool(told)
                self.lost += not told

    def _be_other(self) -> None:
        while not self._over.is_set():
            if not answers(self._daemon, b"pid", "other"):
                self.others_lost += 1


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def quiet(daemon: RunningDaemon) -> None:
    """Wait until the pool is one worker, beside the other service's, and nobody is inside."""
    until(lambda: len(daemon.workers()) == 2, "idle workers have left")
