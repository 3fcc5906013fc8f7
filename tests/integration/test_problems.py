"""What an operator sees when a configuration cannot be used, or cannot be bound."""

from __future__ import annotations

import os
import select
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.daemons import BIN, PATIENCE, Project, netdctl, until

GOOD = """
    [services.time]
    listen = ["tcp:0:interface=127.0.0.1"]
    handler = "handlers:Echo"
"""

ECHO = """
    from socketserver import StreamRequestHandler

    class Echo(StreamRequestHandler):
        def handle(self):
            self.wfile.write(self.rfile.read())
"""


def run(project: Project, *options: str) -> subprocess.CompletedProcess[str]:
    """Run twistd netd, in the foreground, until it leaves by itself."""
    command = [*project.command(), *options]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=project.directory, timeout=60
    )


class TestCheck:
    def test_says_ok_and_how_many(self, project: Project) -> None:
        """A configuration that can be used, by netdctl and under twistd."""
        project.handlers(ECHO)
        project.configure(GOOD)
        expected = f"{project.file}: ok (1 services)\n"
        for done in (project.check(), run(project, "--check")):
            assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")

    def test_says_every_problem_of_every_file(self, project: Project, tmp_path: Path) -> None:
        """Several files are checked, and one that is bad does not hide the next."""
        project.handlers(ECHO)
        project.configure(GOOD)
        bad = tmp_path / "bad.toml"
        bad.write_text('[services.a]\nlisten = ["tpc:80"]\nhander = "x:Y"\nthreads = "many"\n')
        done = netdctl("check", str(bad), str(project.file))
        assert done.returncode == 78
        assert done.stdout == f"{project.file}: ok (1 services)\n"
        assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == [
            f"{bad}:1", f"{bad}:2", f"{bad}:3", f"{bad}:4",
        ]  # fmt: skip
        assert 'services.a.hander: unknown key; did you mean "handler"?' in done.stderr

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("module", "expected"),
        [
            (None, r'there is no module "handlers"'),
            ("import nothing_like_it", "handlers.py:1: ModuleNotFoundError: No module named"),
            ("a = 1\nb = a / 0\nclass Echo: pass", "handlers.py:2: ZeroDivisionError: division"),
            ("class Eccho: pass", 'has no "Echo"; did you mean "Eccho"?'),
            ("def f(:\n", "handlers.py:1: SyntaxError"),
            ("import os\nos._exit(3)", "ended the process with status 3"),
            ("import ctypes\nctypes.string_at(0)", "ended the process with signal SIGSEGV"),
            ("raise SystemExit('no')", "handlers.py:1: SystemExit: no"),
            ("class Echo: pass", "not a subclass of socketserver.BaseRequestHandler"),
        ],
    )
    def test_tries_what_a_service_runs(
        self, project: Project, module: str | None, expected: str
    ) -> None:
        """A module that is missing is told from one that raises, with the line that raised."""
        if module is not None:
            project.handlers(module)
        project.configure(GOOD)
        done = project.check()
        assert done.returncode == 78
        assert done.stderr.startswith(f"{project.file}:5: services.time.handler: ")
        assert expected in done.stderr
        assert "Traceback" not in done.stderr


class TestStart:
    def test_with_problems_binds_nothing(self, project: Project) -> None:
        """All problems on stderr, status 78, and no socket file appears."""
        project.configure("""
            [services.time]
            listen = ["unix:socket"]
            handler = "missing:Handler"
            threads = 0
        """)
        done = run(project)
        assert done.returncode == 78
        assert done.stderr == (
            f"{project.file}:6: services.time.threads: must be 1 or more, not 0\n"
        )
        assert not (project.directory / "socket").exists()

    @pytest.mark.long
    def test_as_a_daemon_says_it_before_it_forks(self, project: Project) -> None:
        """Without -n the problems are on stderr all the same, and the status too."""
        project.configure(GOOD)
        command = [str(BIN / "twistd"), "--pidfile=", "netd", "-c", str(project.file)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=project.directory)
        assert done.returncode == 78
        assert 'there is no module "handlers"' in done.stderr

    def test_without_any_configuration(self, project: Project) -> None:
        """The files that were looked for are named."""
        if os.path.exists("/etc/netd/netd.toml"):
            pytest.skip("this machine has an /etc/netd/netd.toml")
        done = subprocess.run(
            project.command()[:-2], capture_output=True, text=True, cwd=project.directory
        )
        assert done.returncode == 78
        assert "netd.toml, conf/netd.toml, /etc/netd/netd.toml" in done.stderr

    def test_that_cannot_bind_names_service_address_and_reason(self, project: Project) -> None:
        """Status 1, no traceback, and what was bound before is given back."""
        project.handlers(ECHO)
        with closing(socket.create_server(("127.0.0.1", 0))) as request:
            port = request.getsockname()[1]
            project.configure(f"""
                [services.first]
                listen = ["unix:first"]
                handler = "handlers:Echo"
                [services.second]
                listen = ["tcp:{port}:interface=127.0.0.1"]
                handler = "handlers:Echo"
            """)
            done = run(project)
        assert done.returncode == 1
        assert done.stderr == (
            f"netd: services.second: cannot listen on tcp:{port}:interface=127.0.0.1: "
            "Address already in use\n"
        )
        assert not (project.directory / "first").exists()

    def test_refuses_to_become_a_user_it_could_not(self, project: Project) -> None:
        """twistd's --uid takes the right to a service's own user away."""
        project.handlers(ECHO)
        project.configure(GOOD + '    user = "nobody"\n')
        command = [str(BIN / "twistd"), "-n", "--pidfile=", "--uid", str(os.getuid()), "netd"]
        done = subprocess.run(
            [*command, "-c", str(project.file)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 78
        assert f"{project.file}:6: services.time.user: twistd's --uid" in done.stderr


class TestDaemonised:
    def test_serves_and_stops_as_twistd_daemons_do(self, project: Project) -> None:
        """Without -n: a pid file, a log file, and clients are served after the fork."""
        project.handlers(ECHO)
        project.configure('[services.time]\nlisten = ["unix:socket"]\nhandler = "handlers:Echo"\n')
        pidfile, log = project.directory / "pid", project.directory / "log"
        command = [str(BIN / "twistd"), "--pidfile", str(pidfile), "--logfile", str(log), "netd"]
        subprocess.run([*command, "-c", str(project.file)], check=True, timeout=60)
        pid = int(pidfile.read_text())
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(project.directory / "socket"))
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                assert client.recv(100) == b"hello"
            # A worker may serve somebody before the daemon has heard that it is ready.
            until(lambda: "ready: 1 service(s)" in log.read_text(), "ready")
        finally:
            os.kill(pid, 15)
            ended = os.pidfd_open(pid)
            try:
                select.select([ended], [], [], PATIENCE)
            finally:
                os.close(ended)
        assert "stopped: 1 served" in log.read_text()
        assert not pidfile.exists()


class TestPlaces:
    @pytest.mark.long
    def test_of_a_service_whose_name_needs_quotes(self, project: Project) -> None:
        """What only an import shows has its key and line, also where the name has a dot."""
        project.configure("""
            [services."a.b"]
            listen = ["tcp:0"]
            handler = "missing:Handler"
        """)
        done = project.check()
        assert done.stderr.startswith(f'{project.file}:5: services."a.b".handler: there is no')
