"""What the log says, and that it stops nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemons import BIN, PATIENCE, Project, connected, is_alive, read_all, until

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
            if order == b"fail":
                raise ValueError("no\\nvalue")
            self.request.sendall(b"done")
"""

SERVICE = """
    [services.s]
    handler = "handlers:Handler"
    listen = ["tcp:0:interface=127.0.0.1"]
"""

UNIX = """
    [services.s]
    handler = "handlers:Handler"
    listen = ["unix:socket"]
"""

REQUEST = {
    *("time", "level", "service", "message", "client", "transport"),
    *("verdict", "reason", "seconds", "bytes_in", "bytes_out", "round_trip"),
}
"""What a line about a request says."""

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
        daemon.log.wait(
            rf"{TIME} \[s#info\] 127.0.0.1:{port} tcp served \d+\.\dms in=5 out=4 rtt=[\d.]+ms$"
        )

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

    @pytest.mark.long
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
        daemon.log.wait("OWN info netd.daemon.daemon ready")
        daemon.log.wait(r"OWN info netd.daemon.generations.controller s listens on tcp ")
        assert daemon.ask(b"talk") == b"done"
        daemon.log.wait(r"OWN error s twisted event")
        daemon.log.wait(r"OWN info s 127.0.0.1:\d+ tcp served")


def objects(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of a log, each of which is an object."""
    found = [json.loads(line) for line in lines]
    assert all(set(line) >= {"time", "level", "service", "message"} for line in found)
    return found


class TestJson:
    @pytest.mark.long
    def test_every_line_is_an_object(self, project: Project) -> None:
        """Whoever says it: the daemon, a handler by any way, a program, and with lines in it."""
        project.handlers(HANDLER)
        project.configure("[log]\n    format = 'json'\n" + UNIX)
        daemon = project.start()
        assert project.ask(b"talk") == b"done"
        assert project.ask(b"fail") == b""
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGUSR1)
        daemon.log.wait("by a program")
        daemon.log.wait("reloaded")
        daemon.log.wait('"verdict":"failed"')
        assert daemon.stop() == 0
        lines = objects(daemon.log.lines)
        said = {(line["service"], line["level"], line["message"]) for line in lines}
        assert said >= {
            ("s", "info", "imported"),
            ("s", "info", "printed in two parts"),
            ("s", "warn", "to stderr"),
            ("s", "warn", "theirs: logged 1"),
            ("s", "error", "twisted event"),
            ("s", "info", "\x1b[31mred"),
            (None, "warn", "worker s: written raw"),
            (None, "warn", "worker s: by a program"),
        }
        (failure,) = (line for line in lines if "Traceback" in line["message"])
        assert failure["message"].endswith("\nValueError: no\nvalue")
        assert any(line["message"].startswith("stopped: 2 served") for line in lines)

    def test_of_a_request(self, project: Project) -> None:
        """What is known has a key each; a refusal, its reason."""
        project.handlers(HANDLER)
        project.configure("[log]\n    format = 'json'\n" + UNIX + "    access.allow = []\n")
        daemon = project.start()
        assert project.ask(b"") == b""
        daemon.log.wait('"client"')
        daemon.stop()
        (line,) = (line for line in objects(daemon.log.lines) if "client" in line)
        assert line.keys() == REQUEST
        assert line["client"].startswith("uid:")
        assert (line["service"], line["transport"], line["level"]) == ("s", "unix", "info")
        assert (line["verdict"], line["bytes_in"], line["bytes_out"]) == ("refused", 0, 0)
        assert line["reason"]
        assert 0 <= line["seconds"] < 30


class TestWanted:
    def test_level(self, project: Project) -> None:
        """What is below it is said by nobody: neither the daemon, nor a handler, nor a request."""
        project.handlers(HANDLER)
        project.configure("[log]\n    level = 'warn'\n" + UNIX)
        daemon = project.launch()
        assert project.ask(b"talk") == b"done"
        daemon.log.wait("by a program")
        assert daemon.stop() == 0
        assert all(re.search(r"#(warn|error|critical)\] ", line) for line in daemon.log.lines)
        assert len(daemon.log.matching(r"\[s#")) == 3

    @pytest.mark.long
    def test_debug(self, project: Project) -> None:
        """Handlers' debugging is there when it is asked for."""
        project.handlers(HANDLER)
        project.configure("[log]\n    level = 'debug'\n" + UNIX)
        daemon = project.start()
        assert project.ask(b"talk") == b"done"
        daemon.log.wait(r"\[s#debug\] root: never seen$")
        daemon.log.wait(" unix served ")

    @pytest.mark.long
    def test_without_connections(self, project: Project) -> None:
        """No request has a line, but a failure has its traceback."""
        project.handlers(HANDLER)
        project.configure("[log]\n    connections = false\n" + UNIX)
        daemon = project.start()
        assert project.ask(b"talk") == b"done"
        assert project.ask(b"fail") == b""
        assert daemon.stop() == 0
        assert daemon.log.matching(r"ValueError: no")
        assert daemon.log.matching(r"\[s#info\] printed in two parts$")
        assert not daemon.log.matching(r" unix (served|failed)")


class TestFile:
    @pytest.mark.long
    def test_is_where_the_configuration_says(self, project: Project) -> None:
        """Relative to the configuration, opened again by USR1; nothing goes to the terminal."""
        project.handlers(HANDLER)
        (project.directory / "logs").mkdir()
        log, old = project.directory / "logs/netd.log", project.directory / "logs/netd.log.1"
        project.configure("[log]\n    file = 'logs/netd.log'\n    format = 'json'\n" + UNIX)
        daemon = project.launch(under=["env", "-C", "/"])
        assert project.ask(b"talk") == b"done"
        until(lambda: '"verdict"' in log.read_text(), "logged")
        log.rename(old)
        daemon.signal(signal.SIGUSR1)
        until(log.exists, "opened again")
        assert project.ask(b"talk") == b"done"
        assert daemon.stop() == 0
        assert daemon.log.lines == []
        texts = [old.read_text(), log.read_text()]
        assert [text.count('"verdict":"served"') for text in texts] == [1, 1]
        assert objects("".join(texts).splitlines())

    @pytest.mark.long
    def test_cannot_be_opened(self, project: Project) -> None:
        """That is said before anything is bound, with the path and the reason."""
        project.handlers(HANDLER)
        project.configure("[log]\n    file = 'none/netd.log'\n" + UNIX)
        daemon = project.launch()
        assert daemon.wait() == 1
        path = project.directory / "none/netd.log"
        assert daemon.log.lines == [f"netd: cannot log to {path}: No such file or directory"]
        assert not (project.directory / "socket").exists()

    @pytest.mark.long
    def test_twistd_was_told_another(self, project: Project) -> None:
        """The command line wins, in the form of the configuration, and the log says so."""
        project.handlers(HANDLER)
        project.configure("[log]\n    file = 'one'\n    format = 'json'\n" + UNIX)
        daemon = project.launch("--logfile", "two")
        assert project.ask(b"talk") == b"done"
        assert daemon.stop() == 0
        assert not (project.directory / "one").exists()
        lines = objects((project.directory / "two").read_text().splitlines())
        warning = f"nothing is logged to {project.directory}/one: twistd was told where to log"
        assert [line["level"] for line in lines if line["message"] == warning] == ["warn"]


@pytest.mark.sweep
@pytest.mark.parametrize("log", ["journald", "syslog"])
def test_a_log_file_instead(project: Project, log: str) -> None:
    """Where twistd was told a file, it is written to, as text, whatever log there is."""
    project.handlers(HANDLER)
    project.configure(f"[log]\n    format = '{log}'\n" + UNIX)
    daemon = project.start("--logfile", "-")
    assert daemon.log.matching(f"#warn\\] nothing is logged to {log}: twistd was told where")


class TestReload:
    def test_changes_all(self, project: Project) -> None:
        """Place, form, level and connections: of the daemon, and of a worker that is kept."""
        project.handlers(HANDLER)
        project.configure("[log]\n    file = 'one'\n" + UNIX)
        one, two = project.directory / "one", project.directory / "two"
        daemon = project.launch()
        assert project.ask(b"talk") == b"done"
        until(lambda: " unix served " in one.read_text(), "logged")
        project.configure(
            "[log]\n    file = 'two'\n    format = 'json'\n    level = 'debug'\n"
            "    connections = false\n" + UNIX
        )
        daemon.signal(signal.SIGHUP)
        until(lambda: two.exists() and "reloaded" in two.read_text(), "reloaded")
        assert project.ask(b"talk") == b"done"
        assert daemon.stop() == 0
        before, after = one.read_text(), objects(two.read_text().splitlines())
        assert "never seen" not in before
        assert re.match(TIME, before.splitlines()[-1])
        assert ("s", "debug", "root: never seen") in {
            (line["service"], line["level"], line["message"]) for line in after
        }
        assert not any("verdict" in line for line in after)
        assert before.count("imported") == 1
        assert not any(line["message"] == "imported" for line in after)

    @pytest.mark.long
    def test_a_log_that_cannot_be_opened(self, project: Project) -> None:
        """It changes nothing, and the log that there is says why."""
        project.handlers(HANDLER)
        project.configure(UNIX)
        daemon = project.start()
        project.configure("[log]\n    file = 'none/two'\n    level = 'error'\n" + UNIX)
        daemon.signal(signal.SIGHUP)
        path = project.directory / "none/two"
        daemon.log.wait(rf"#error\] cannot log to {path}: No such file or directory$")
        daemon.log.wait("not reloaded")
        assert project.ask(b"talk") == b"done"
        daemon.log.wait(r"\[s#info\] printed in two parts$")


def can_unshare() -> bool:
    """Whether this machine lets us have mounts of our own."""
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


MOUNTS = """
    set -e
    for name in null zero urandom; do
        : > "$0/dev/$name"
        mount --bind "/dev/$name" "$0/dev/$name"
    done
    mount --rbind "$0/dev" /dev
    mount -t tmpfs none /run
    mkdir -p /run/systemd/journal
    mount --bind "$0/journal" /run/systemd/journal
    exec "$@"
"""


class Machine:
    """The places where the journal and syslog listen, as only our daemon sees them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.under = ["unshare", "-rm", "sh", "-c", MOUNTS, str(directory)]
        for name in ("dev", "journal"):
            (directory / name).mkdir()

    def listen(self, path: str) -> socket.socket:
        """Be the journal (``journal/socket``) or syslog (``dev/log``)."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.settimeout(PATIENCE)
        listener.bind(str(self._directory / path))
        return listener


@pytest.fixture
def machine(project: Project) -> Machine:
    if not can_unshare():
        pytest.skip("no mounts of our own on this machine")
    directory = project.directory / "machine"
    directory.mkdir()
    return Machine(directory)


def wait_for(listener: socket.socket, pattern: bytes) -> re.Match[bytes]:
    """The match of the first datagram that *pattern* is found in."""
    while True:
        found = re.search(pattern, listener.recv(1 << 16), re.DOTALL)
        if found:
            return found


class TestOtherLogs:
    def test_journald(self, project: Project, machine: Machine) -> None:
        """The daemon, a request and a traceback, each an entry with its fields."""
        project.handlers(HANDLER)
        project.configure("[log]\n    format = 'journald'\n" + UNIX)
        with machine.listen("journal/socket") as log_buffer:
            daemon = project.launch(under=machine.under)
            wait_for(log_buffer, rb"MESSAGE=ready: 1 service.*\nSYSLOG_IDENTIFIER=netd\n")
            assert project.ask(b"fail") == b""
            wait_for(log_buffer, rb"MESSAGE\n.{8}uid:.*Traceback.*\nPRIORITY=3\n.*NETD_SERVICE=s\n")
            wait_for(log_buffer, rb"PRIORITY=6\n.*NETD_CLIENT=uid:.*NETD_VERDICT=failed\n")
            assert daemon.stop() == 0
            wait_for(log_buffer, rb"MESSAGE=stopped: 1 served")
        assert daemon.log.lines == []

    def test_syslog(self, project: Project, machine: Machine) -> None:
        """The daemon, a request and a traceback, of which every line is a message."""
        project.handlers(HANDLER)
        project.configure("[log]\n    format = 'syslog'\n" + UNIX)
        head = rb"^<%d>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d netd\[\d+\]: "
        with machine.listen("dev/log") as local:
            daemon = project.launch(under=machine.under)
            wait_for(local, head % 30 + rb"ready: 1 service")
            assert project.ask(b"fail") == b""
            wait_for(local, head % 27 + rb"s:   ValueError: no$")
            wait_for(local, head % 30 + rb"s: uid:\d+,pid:\d+ unix failed [\d.]+ms in=4 out=0$")
            assert daemon.stop() == 0
        assert daemon.log.lines == []

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("log", "path"), [("journald", "/run/systemd/journal/socket"), ("syslog", "/dev/log")]
    )
    def test_nobody_listens(self, project: Project, machine: Machine, log: str, path: str) -> None:
        """That is said when netd starts, with the path; nothing is bound."""
        project.handlers(HANDLER)
        project.configure(f"[log]\n    format = '{log}'\n" + UNIX)
        daemon = project.launch(under=machine.under)
        assert daemon.wait() == 1
        assert daemon.log.lines == [f"netd: cannot log to {path}: No such file or directory"]
        assert not (project.directory / "socket").exists()


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
    @pytest.mark.long
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
            for turn in range(1500):
                with connected(path) as client:
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

    @pytest.mark.long
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
        for _ in range(40):
            with connected(path) as client:
                assert client.recv(100) == b"done"
        process.send_signal(signal.SIGTERM)
        with open(ours, errors="replace") as log:
            text = log.read()
        assert process.wait(30) == 0
        dropped = sum(map(int, re.findall(r"(\d+) log (?:lines|records) dropped", text)))
        assert dropped > 0
        assert dropped + text.count("x" * 30000) == 40 * 100


class TestNowhere:
    @pytest.mark.long
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
            with connected(path) as client:
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
