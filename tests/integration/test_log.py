"""What the log says, and that it stops nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time

from tests.integration.daemons import BIN, Project, is_alive, read_all, until

HANDLER = """
    import logging, os, sys
    from socketserver import BaseRequestHandler
    from twisted.logger import Logger
    log = Logger()
    print("imported")
    class Handler(BaseRequestHandler):
        def handle(self):
            order = self.request.recv(100)
            if order == b"talk":
                print("printed", end=" ")
                print("in two parts")
                print("to stderr", file=sys.stderr)
                logging.getLogger("theirs").warning("logged %d", 1)
                logging.info("informed")
                logging.debug("never seen")
                log.error("twisted {what}", what="event")
                os.write(1, b"written raw\\n")
                os.system("echo by a program")
                print("\\x1b[31mred\\nsecond line")
            self.request.sendall(b"done")
"""

SERVICE = """
    [services.s]
    handler = "handlers:Handler"
    listen = ["tcp:0:interface=127.0.0.1"]
"""

TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"


class TestLines:
    def test_one_a_connection(self, project: Project) -> None:
        """Service, client, transport, verdict, duration and bytes."""
        project.handlers(HANDLER)
        project.configure(SERVICE)
        daemon = project.start()
        with daemon.tcp() as client:
            port = client.getsockname()[1]
            client.sendall(b"hello")
            assert read_all(client) == b"done"
        daemon.log.wait(rf"{TIME} \[s#info\] 127.0.0.1:{port} tcp served \d+\.\dms in=5 out=4$")

    def test_everything_said_in_a_worker(self, project: Project) -> None:
        """Prints, logging, twisted.logger, programs: all with the service's name and a level."""
        project.handlers(HANDLER)
        project.configure(SERVICE)
        daemon = project.start()
        assert daemon.ask(b"talk") == b"done"
        for expected in (
            r"\[s#info\] imported$",
            r"\[s#info\] printed in two parts$",
            r"\[s#warn\] to stderr$",
            r"\[s#warn\] theirs: logged 1$",
            r"\[s#info\] root: informed$",
            r"\[s#error\] twisted event$",
            r"worker s: written raw$",
            r"worker s: by a program$",
            r"\[s#info\] \\x1b\[31mred$",
            r"\[s#info\] second line$",
        ):
            assert re.match(TIME, daemon.log.wait(expected).string)
        daemon.stop()
        assert not daemon.log.matching("never seen")

    def test_goes_to_twistds_own_observer_when_asked(self, project: Project) -> None:
        """With --logger every line of a worker is an event of its own."""
        project.handlers(HANDLER)
        project.handlers("""
            import sys
            from twisted.logger import formatEvent
            def observer():
                stream = sys.stdout
                def observe(event):
                    level = event["log_level"].name if "log_level" in event else "-"
                    namespace = event.get("log_namespace")
                    stream.write(f"OWN {level} {namespace} {formatEvent(event)}\\n")
                    stream.flush()
                return observe
        """, "own_observer")  # fmt: skip
        project.configure(SERVICE)
        environment = dict(os.environ, PYTHONPATH=str(project.directory / "handlers"))
        daemon = project.launch("--logger", "own_observer.observer", env=environment)
        daemon.log.wait("OWN info netd.daemon.service ready")
        daemon.log.wait(r"OWN info netd.daemon.service s listens on tcp ")
        assert daemon.ask(b"talk") == b"done"
        daemon.log.wait(r"OWN error s twisted event")
        daemon.log.wait(r"OWN info s 127.0.0.1:\d+ tcp served")


class TestReopening:
    def test_loses_no_line(self, project: Project) -> None:
        """USR1 after a rename: the old file ends, the new one goes on."""
        project.handlers(HANDLER)
        project.configure("""
            [services.s]
            handler = "handlers:Handler"
            listen = ["unix:socket"]
        """)
        log, old = project.directory / "log", project.directory / "log.1"
        daemon = project.launch("--logfile", str(log))
        until(lambda: log.exists() and "ready" in log.read_text(), "ready")

        def ask() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(project.directory / "socket"))
                client.sendall(b"hello")
                assert client.recv(10) == b"done"

        for turn in range(50):
            ask()
            if turn == 20:
                log.rename(old)
            if turn == 30:
                daemon.signal(signal.SIGUSR1)
        assert daemon.stop() == 0
        text = old.read_text() + log.read_text()
        assert text.count(" unix served ") == 50
        assert all(re.match(TIME + " \\[", line) for line in text.splitlines())


class TestSlow:
    def test_a_log_that_nobody_reads_stops_nothing(self, project: Project) -> None:
        """With stdout a full pipe, clients are served, and the daemon stops in time."""
        project.handlers("""
            from socketserver import StreamRequestHandler
            class Handler(StreamRequestHandler):
                def handle(self):
                    print("x" * 30000)
                    self.wfile.write(self.rfile.readline())
        """)
        project.configure("""
            [services.s]
            handler = "handlers:Handler"
            listen = ["unix:socket"]
        """)
        ours, theirs = os.pipe()
        process = subprocess.Popen(
            project.command(), stdout=theirs, stderr=subprocess.STDOUT, cwd=project.directory
        )
        os.close(theirs)
        path = str(project.directory / "socket")
        try:
            until(lambda: os.path.exists(path), "bound")
            for turn in range(1500):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(30)
                    client.connect(path)
                    client.sendall(b"%d\n" % turn)
                    assert client.recv(100) == b"%d\n" % turn
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            # The pipe is still full: the last words are not waited for long.
            assert process.wait(30) == 0
            assert time.monotonic() - started < 15
        finally:
            os.close(ours)
            if is_alive(process.pid):
                process.kill()
            process.wait()

    def test_what_is_dropped_is_counted(self, project: Project) -> None:
        """When the reader comes back, the log says how much is missing."""
        project.handlers("""
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    for _ in range(100):
                        print("x" * 30000)
                    self.request.sendall(b"done")
        """)
        project.configure("""
            [services.s]
            handler = "handlers:Handler"
            listen = ["unix:socket"]
        """)
        ours, theirs = os.pipe()
        process = subprocess.Popen(
            project.command(), stdout=theirs, stderr=subprocess.STDOUT, cwd=project.directory
        )
        os.close(theirs)
        path = str(project.directory / "socket")
        until(lambda: os.path.exists(path), "bound")
        for _ in range(40):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(path)
                assert client.recv(100) == b"done"
        process.send_signal(signal.SIGTERM)
        with open(ours, errors="replace") as log:
            text = log.read()
        assert process.wait(30) == 0
        dropped = sum(map(int, re.findall(r"(\d+) log (?:lines|records) dropped", text)))
        assert dropped > 0
        assert dropped + text.count("x" * 30000) == 40 * 100


class TestNowhere:
    def test_without_a_standard_output(self, project: Project) -> None:
        """With stdout closed the daemon serves, and logs to stderr."""
        project.handlers(HANDLER)
        project.configure("""
            [services.s]
            handler = "handlers:Handler"
            listen = ["unix:socket"]
        """)
        path = str(project.directory / "socket")
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *project.command()]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            until(lambda: os.path.exists(path), "bound")
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(path)
                client.sendall(b"hello")
                assert client.recv(10) == b"done"
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            assert "stopped: 1 served" in process.stderr.read()
        assert process.returncode == 0


def test_help_is_there() -> None:
    """``twistd netd --help`` and ``netdctl --help`` say what can be asked."""
    for command in ([str(BIN / "twistd"), "netd", "--help"], [str(BIN / "netdctl"), "--help"]):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "check" in done.stdout
