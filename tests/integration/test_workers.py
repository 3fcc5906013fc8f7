"""The daemon and its worker processes: who runs what, and what a death costs."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.integration.daemons import Project, children, is_alive, read_all, until

ODD = """
    import ctypes, os, socket, sys, threading
    from socketserver import BaseRequestHandler

    class Odd(BaseRequestHandler):
        def handle(self):
            order = self.request.recv(100).decode()
            if order == "pids":
                self.request.sendall(f"{os.getpid()} {os.getppid()}".encode())
            elif order == "segfault":
                ctypes.string_at(0)
            elif order == "exit":
                os._exit(7)
            elif order.startswith("fork"):
                if os.fork() == 0:
                    if order == "fork and raise":
                        raise RuntimeError("in the child")
                    return
                self.request.sendall(b"parent")
            elif order == "close all":
                os.closerange(3, 1000)
            elif order == "own error":
                class Odd(Exception):
                    def __getattribute__(self, name):
                        raise KeyboardInterrupt
                raise Odd
            elif order == "sys.exit":
                sys.exit(9)
            elif order == "interrupt":
                raise KeyboardInterrupt
            elif order == "raise":
                raise RuntimeError("as ordered")
            elif order == "wait":
                self.request.sendall(b"waiting")
                threading.Event().wait()
            elif order == "ids":
                ids = (os.getresuid(), os.getresgid(), os.getgroups())
                self.request.sendall(repr(ids).encode())
            elif order == "descriptors":
                links = []
                for name in os.listdir("/proc/self/fd"):
                    try:
                        links.append(os.readlink(f"/proc/self/fd/{name}"))
                    except OSError:
                        pass
                self.request.sendall(repr(links).encode())
            else:
                self.request.sendall(order.encode())
"""

ONE = """
    [services.odd]
    listen = ["tcp:0:interface=127.0.0.1"]
    handler = "handlers:Odd"
"""


class TestWorkers:
    @pytest.mark.long
    def test_run_what_the_daemon_does_not(self, project: Project) -> None:
        """A handler runs in a child of the daemon's fork server."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        pid, parent = map(int, daemon.ask(b"pids").split())
        assert parent == daemon.fork_server() != daemon.pid
        assert [pid] == daemon.workers()

    @pytest.mark.long
    def test_shared_by_services_that_say_so(self, project: Project) -> None:
        """The same worker name is the same process; other services have their own."""
        project.handlers(ODD)
        project.configure("".join(
            f"""
            [services.{name}]
            listen = ["tcp:0:interface=127.0.0.1"]
            handler = "handlers:Odd"
            {'worker = "both"' if name != "c" else ""}
            """
            for name in "abc"
        ))  # fmt: skip
        daemon = project.start()
        pids = [daemon.ask(b"pids", service).split()[0] for service in "abc"]
        assert pids[0] == pids[1] != pids[2]
        assert len(daemon.workers()) == 2

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("order", "how"), [("segfault", "signal SIGSEGV"), ("exit", "status 7")]
    )
    def test_that_die_are_replaced(self, project: Project, order: str, how: str) -> None:
        """A handler that ends its process costs its connections; the service is back."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        assert daemon.ask(order.encode()) == b""
        said = daemon.log.wait(rf"worker odd \(pid \d+\) ended with {how}; 1 connection \((\S+)\)")
        assert said.group(1).startswith("127.0.0.1:")
        assert daemon.ask(b"hello") == b"hello"
        assert daemon.stop() == 0

    def test_that_die_of_their_clients_are_replaced_at_once(self, project: Project) -> None:
        """Each was fit to serve; the next client waits in the backlog for milliseconds."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        for _ in range(3):
            daemon.ask(b"exit")
        assert daemon.ask(b"hello") == b"hello"
        delays = [line.rpartition("the next in ")[2] for line in daemon.log.matching("the next in")]
        assert delays == ["0 s", "0 s", "0 s"]

    def test_segfault_is_logged_with_where_it_was(self, project: Project) -> None:
        """Python's own report of the crash names the handler's line."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        daemon.ask(b"segfault")
        daemon.log.wait(r"worker odd: Fatal Python error: Segmentation fault")
        daemon.log.wait(r'worker odd:   File ".*handlers.py", line \d+ in handle')

    @pytest.mark.sweep
    @pytest.mark.parametrize("order", ["fork", "fork and raise"])
    def test_forked_by_a_handler_end_with_it(self, project: Project, order: str) -> None:
        """A child that comes back from the handler takes no clients and holds no port."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        workers = daemon.workers()
        assert daemon.ask(order.encode()) == b"parent"
        (worker,) = workers
        until(lambda: not any(map(is_alive, children(worker))), "the child ends")
        for _ in range(5):
            assert daemon.ask(b"pids").split()[0] == str(worker).encode()
        if order == "fork and raise":
            daemon.log.wait("worker odd: RuntimeError: in the child")
        host, port = daemon.address("tcp")
        assert daemon.stop() == 0
        socket.create_server((host, port)).close()

    def test_that_lose_their_channel_are_replaced(self, project: Project) -> None:
        """A handler that closes every descriptor costs its worker, not its service."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        with daemon.tcp() as client:
            client.sendall(b"close all")
            daemon.log.wait("worker odd has closed its channel; it is ended")
        assert daemon.ask(b"hello") == b"hello"

    @pytest.mark.long
    def test_outlive_an_exception_that_cannot_be_looked_at(self, project: Project) -> None:
        """Its client is closed all the same, and the thread goes on."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        for _ in range(3):
            assert daemon.ask(b"own error") == b""
        assert daemon.ask(b"hello") == b"hello"
        assert daemon.stop() == 0
        assert daemon.log.matching("stopped: 4 served, 0 refused, 3 failed")

    @pytest.mark.sweep
    @pytest.mark.parametrize("order", ["sys.exit", "interrupt", "raise"])
    def test_handlers_end_their_own_connection_only(self, project: Project, order: str) -> None:
        """Whatever a handler raises is logged once, with the client, and the worker goes on."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        before = daemon.workers()
        with daemon.tcp() as other:
            assert daemon.ask(order.encode()) == b""
            other.sendall(b"still here")
            assert read_all(other) == b"still here"
        assert daemon.workers() == before
        daemon.log.wait(r"\[odd#error\] 127.0.0.1:\d+ tcp: the handler raised")
        assert daemon.stop() == 0
        assert len(daemon.log.matching("Traceback")) == 1
        assert len(daemon.log.matching("127.0.0.1:.* failed")) == 1
        assert not daemon.log.matching(r"\bserving.py\b")

    def test_leave_when_the_daemon_is_killed(self, project: Project) -> None:
        """kill -9 leaves no worker behind, and the port is free at once."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        host, port = daemon.address("tcp")
        workers = daemon.workers()
        daemon.signal(signal.SIGKILL)
        until(lambda: not any(map(is_alive, workers)), "the workers leave")
        socket.create_server((host, port)).close()

    @pytest.mark.long
    def test_finish_their_handlers_when_the_daemon_is_killed(self, project: Project) -> None:
        """A handler that never returns ends at graceful_timeout, also without a daemon."""
        project.handlers(ODD)
        project.configure('[daemon]\ngraceful_timeout = "300ms"\n' + ONE)
        daemon = project.start()
        workers = daemon.workers()
        with daemon.tcp() as client:
            client.sendall(b"wait")
            assert client.recv(100) == b"waiting"
            daemon.signal(signal.SIGKILL)
            assert read_all(client) == b""
        until(lambda: not any(map(is_alive, workers)), "the workers leave")

    @pytest.mark.long
    def test_inherit_nothing_but_what_they_need(self, project: Project) -> None:
        """A worker has no descriptor of another service or of the daemon."""
        project.handlers(ODD)
        project.configure(ONE + ONE.replace("services.odd", "services.other"))
        daemon = project.start()
        links = eval(daemon.ask(b"descriptors", "odd"))
        sockets = [link for link in links if link.startswith("socket:")]
        # The listener, twice: handlers have a copy; the channel; the client.
        assert len(sockets) == 4
        assert len(set(sockets)) == 3
        assert [link for link in links if link.startswith("/memfd:")] == [
            "/memfd:netd scoreboard odd (deleted)"
        ]
        kinds = {link.partition(":")[0] for link in links}
        # /proc is the listing itself, pipes and anon_inodes are the reactor's and the output's.
        kinds = {"/proc" if kind.startswith("/proc/") else kind for kind in kinds}
        assert kinds <= {"pipe", "socket", "anon_inode", "/memfd", "/dev/null", "/proc"}

    @pytest.mark.long
    def test_do_not_see_the_terminals_signals(self, project: Project) -> None:
        """Ctrl-C goes to the whole foreground group; the daemon stops everything gracefully."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        with daemon.tcp() as client:
            daemon.log.wait("ready")
            os.killpg(daemon.pid, signal.SIGINT)
            daemon.log.wait("SIGINT: stopping")
            client.sendall(b"finish me")
            with suppress(ConnectionResetError):
                assert read_all(client) in (b"finish me", b"")
        assert daemon.wait() == 0
        assert not daemon.log.matching("Traceback|KeyboardInterrupt")


class TestImports:
    def test_modules_named_like_the_standard_librarys_harm_nobody(self, project: Project) -> None:
        """queue.py and html.py are handlers here, and Python's own for everybody else."""
        project.handlers("""
            import http.server, html, queue, concurrent.futures
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(b"queue " + html.escape("<").encode())
                    queue.Queue()
        """, "queue")  # fmt: skip
        project.handlers("""
            import http.server
            class Page(http.server.SimpleHTTPRequestHandler):
                def do_GET(self):
                    self.send_error(404, "<none>")
        """, "html")  # fmt: skip
        project.handlers(ODD)
        project.configure("""
            [services.queue]
            listen = ["tcp:0:interface=127.0.0.1"]
            handler = "queue:Handler"
            [services.html]
            listen = ["tcp:0:interface=127.0.0.1"]
            handler = "html:Page"
            [services.odd]
            listen = ["tcp:0:interface=127.0.0.1"]
            handler = "handlers:Odd"
        """)
        daemon = project.start()
        assert daemon.ask(service="queue") == b"queue &lt;"
        assert b"404 <none>" in daemon.ask(b"GET / HTTP/1.0\r\n\r\n", "html")
        assert daemon.ask(b"hello", "odd") == b"hello"

    @pytest.mark.long
    def test_that_stop_working_keep_the_daemon_running(self, project: Project) -> None:
        """A module that breaks later is reported when the worker is replaced, and mended."""
        project.handlers(ODD)
        project.configure(ONE)
        daemon = project.start()
        project.handlers("raise ValueError('half edited')")
        daemon.ask(b"exit")
        daemon.log.wait('service odd: importing "handlers": .*handlers.py:1: ValueError: half')
        project.handlers(ODD)
        assert daemon.ask(b"hello") == b"hello"
        assert daemon.stop() == 0


def nobody_can_run_python() -> bool:
    """Whether the user nobody can run this interpreter and import netd."""
    nobody = pwd.getpwnam("nobody")
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import netd.worker.build.context"],
        user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], capture_output=True, cwd="/",
    )  # fmt: skip
    return done.returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
class TestPrivileges:
    def test_are_dropped_for_good(self, project: Project) -> None:
        """A service's user is real, effective and saved, without other groups, in its worker."""
        if not nobody_can_run_python():
            pytest.skip("the user nobody cannot read this Python, or netd, here")
        project.handlers(ODD)
        project.configure(ONE + '    user = "nobody"\n')
        daemon = project.start()
        nobody = pwd.getpwnam("nobody")
        ids = eval(daemon.ask(b"ids"))
        assert ids == ((nobody.pw_uid,) * 3, (nobody.pw_gid,) * 3, [])

    def test_the_import_is_tried_as_that_user(self, project: Project) -> None:
        """What nobody cannot read is a problem of check, not of the running daemon."""
        if not nobody_can_run_python():
            pytest.skip("the user nobody cannot read this Python, or netd, here")
        project.handlers(ODD)
        (project.directory / "handlers" / "handlers.py").chmod(0o600)
        project.configure(ONE + '    user = "nobody"\n')
        done = project.check()
        assert done.returncode == 78
        assert "Permission denied" in done.stderr
