"""Descriptors run out: nobody spins, and service is back when they are."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from tests.integration.daemons import PATIENCE, Project, read_all, until

LIMIT = 128

HANDLER = """
    import os, threading
    from socketserver import BaseRequestHandler
    held = []
    class Handler(BaseRequestHandler):
        def handle(self):
            order = self.request.recv(100)
            if order == b"take all":
                try:
                    while True:
                        held.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    self.request.sendall(b"taken")
                self.request.recv(100)
                while held:
                    os.close(held.pop())
                self.request.sendall(b"given back")
            else:
                self.request.sendall(order)
"""


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def limit_descriptors() -> None:
    """Run in the child before it becomes twistd."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


@pytest.mark.long
def test_no_spinning_and_service_again(project: Project) -> None:
    """The worker rests while there are none, says so once, and serves who waited."""
    project.handlers(HANDLER)
    project.configure("""
        [services.s]
        handler = "handlers:Handler"
        listen = ["tcp:0:interface=127.0.0.1"]
    """)
    daemon = project.start(preexec_fn=limit_descriptors)
    (worker,) = daemon.workers()
    with daemon.tcp() as greedy:
        greedy.sendall(b"take all")
        assert greedy.recv(100) == b"taken"
        with daemon.tcp() as waiting:
            waiting.sendall(b"let me in")
            daemon.log.wait(r"\[s#error\] out of descriptors or memory")
            before = cpu(worker)
            waiting.settimeout(1.0)
            with pytest.raises(TimeoutError):
                waiting.recv(100)
            assert cpu(worker) - before < 0.3
            greedy.sendall(b"enough")
            assert greedy.recv(100) == b"given back"
            waiting.settimeout(PATIENCE)
            assert read_all(waiting) == b"let me in"
    daemon.log.wait("accepting again")
    assert len(daemon.log.matching("out of descriptors")) == 1


def test_more_clients_than_descriptors(project: Project) -> None:
    """Clients beyond the limit wait in the backlog until others have gone."""
    project.handlers("""
        from socketserver import StreamRequestHandler
        class Handler(StreamRequestHandler):
            def handle(self):
                self.wfile.write(self.rfile.readline())
    """)
    project.configure("""
        [services.s]
        handler = "handlers:Handler"
        threads = 400
        listen = ["tcp:0:interface=127.0.0.1"]
    """)
    daemon = project.start(preexec_fn=limit_descriptors)
    address = daemon.address("tcp")
    clients = [socket.create_connection(address, PATIENCE) for _ in range(300)]
    daemon.log.wait("out of descriptors or memory")
    for number, client in enumerate(clients):
        client.sendall(b"%d\n" % number)
    for number, client in enumerate(clients):
        assert read_all(client) == b"%d\n" % number
        client.close()
    until(lambda: len(daemon.log.matching(" tcp served ")) == 300, "all are logged")
    assert daemon.stop() == 0
