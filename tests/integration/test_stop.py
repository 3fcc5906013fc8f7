"""The way out: TERM, INT, a second one, HUP, and handlers that do not care."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from tests.integration.daemons import (
    Project,
    RunningDaemon,
    is_alive,
    read_all,
    read_exactly,
    until,
)

HANDLER = """
    import threading, atexit
    from socketserver import StreamRequestHandler
    atexit.register(print, "atexit ran")
    class Handler(StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"in")
            if self.rfile.readline() == b"never\\n":
                self.wfile.write(b"side")
                while True:
                    try:
                        threading.Event().wait()
                    except BaseException:
                        pass
            self.wfile.write(b"out")
"""


@pytest.fixture
def daemon(project: Project) -> RunningDaemon:
    """A daemon whose handlers wait for a line."""
    project.handlers(HANDLER)
    project.configure("""
        [daemon]
        graceful_timeout = "500ms"
        [services.s]
        handler = "handlers:Handler"
        listen = ["tcp:0:interface=127.0.0.1", "unix:socket"]
    """)
    return project.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
class TestStop:
    @pytest.mark.sweep
    def test_lets_handlers_finish(self, project: Project, number: signal.Signals) -> None:
        """Those inside are served to their end, and the status is 0."""
        project.handlers(HANDLER)
        project.configure("""
            [services.s]
            handler = "handlers:Handler"
            listen = ["tcp:0:interface=127.0.0.1"]
        """)
        daemon = project.start()
        with daemon.tcp() as client:
            assert client.recv(10) == b"in"
            daemon.signal(number)
            daemon.log.wait(f"{number.name}: stopping")
            client.sendall(b"go on\n")
            assert read_all(client) == b"out"
        assert daemon.wait() == 0
        daemon.log.wait("stopped: 1 served, 0 refused, 0 failed, 0 dropped")
        assert daemon.log.matching("atexit ran")

    @pytest.mark.sweep
    def test_ends_handlers_when_their_time_is_over(
        self, daemon: RunningDaemon, number: signal.Signals
    ) -> None:
        """A handler that never returns cannot hold the process; the log names its client."""
        workers = daemon.workers()
        with daemon.tcp() as client:
            client.sendall(b"never\n")
            assert read_exactly(client, 6) == b"inside"
            daemon.signal(number)
            assert read_all(client) == b""
        assert daemon.wait() == 0
        daemon.log.wait(r"service s: 1 connection \(127.0.0.1:\d+\) still served when the time was")
        assert not any(map(is_alive, workers))


class TestSecondSignal:
    def test_leaves_at_once(self, project: Project) -> None:
        """Nobody has to wait for graceful_timeout."""
        project.handlers(HANDLER)
        project.configure("""
            [daemon]
            graceful_timeout = "1h"
            [services.s]
            handler = "handlers:Handler"
            listen = ["tcp:0:interface=127.0.0.1"]
        """)
        daemon = project.start()
        with daemon.tcp() as client:
            assert client.recv(10) == b"in"
            daemon.signal(signal.SIGTERM)
            daemon.log.wait("SIGTERM: stopping")
            started = time.monotonic()
            daemon.signal(signal.SIGINT)
            assert daemon.wait() == 0
            assert time.monotonic() - started < 10
        daemon.log.wait("SIGINT again: stopping immediately")


class TestOthers:
    @pytest.mark.long
    def test_hup_costs_nobody_anything(self, daemon: RunningDaemon) -> None:
        """A reload of a file that has not changed leaves worker and client alone."""
        workers = daemon.workers()
        with daemon.tcp() as client:
            assert client.recv(10) == b"in"
            daemon.signal(signal.SIGHUP)
            daemon.log.wait("reloaded")
            client.sendall(b"go on\n")
            assert read_all(client) == b"out"
        assert daemon.workers() == workers

    def test_sockets_are_gone_afterwards(self, project: Project, daemon: RunningDaemon) -> None:
        """The Unix socket's file is removed, and the port refuses."""
        address = daemon.address("tcp")
        assert (project.directory / "socket").exists()
        assert daemon.stop() == 0
        assert not (project.directory / "socket").exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    @pytest.mark.long
    def test_a_worker_killed_while_stopping_is_not_replaced(self, daemon: RunningDaemon) -> None:
        """The daemon leaves when its last worker has, however that went."""
        (worker,) = daemon.workers()
        with daemon.tcp() as client:
            client.sendall(b"never\n")
            assert read_exactly(client, 6) == b"inside"
            daemon.signal(signal.SIGTERM)
            daemon.log.wait("stopping")
            import os

            os.kill(worker, signal.SIGKILL)
        assert daemon.wait() == 0
        until(lambda: not is_alive(worker), "the worker has gone")
