"""Programs on the real daemon, a process a connection or with the listening socket."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import sys
import textwrap
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.integration.daemons import (
    PATIENCE,
    Project,
    RunningDaemon,
    datagram_client,
    is_alive,
    read_all,
    read_exactly,
    until,
)

TELL = """
    import json, os, sys
    sys.stdin.read()
    kinds = {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
             if os.path.exists(f"/proc/self/fd/{name}")}
    ignored = next(line for line in open("/proc/self/status") if line.startswith("SigIgn"))
    json.dump({"arguments": sys.argv[1:], "environment": dict(os.environ), "files": kinds,
               "session": os.getsid(0) == os.getpid(), "ignored": int(ignored.split()[1], 16),
               "blocking": [os.get_blocking(number) for number in range(3)]}, sys.stdout)
"""
"""Says all about itself that can be seen from within."""


def service(program: list[str], listen: str = "tcp:0:interface=127.0.0.1", more: str = "") -> str:
    """A service ``p`` that runs *program*."""
    return textwrap.dedent(f"""
        [services.p]
        listen = ["{listen}"]
        program = {json.dumps(program)}
    """) + textwrap.dedent(more)


def python(project: Project, text: str) -> list[str]:
    """A program in Python, as a list for ``program``."""
    script = project.directory / "script.py"
    script.write_text(textwrap.dedent(text))
    return [sys.executable, "-I", str(script), "first argument", "$HOME;*"]


def sh(text: str) -> list[str]:
    """A program in the shell's language."""
    return ["/bin/sh", "-c", text]


def started(project: Project, configuration: str) -> RunningDaemon:
    project.configure(configuration)
    return project.start()


class TestConnection:
    """The connection is the program's standard input and output, and nothing else is there."""

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("listen", "local"), [("tcp", "127.0.0.1"), ("tcp6", "::1")], ids=["tcp", "tcp6"]
    )
    def test_environment(self, project: Project, listen: str, local: str) -> None:
        """It names both ends, as tcpserver's does; what was there of that before is gone."""
        interface = f"[{local}]" if ":" in local else local
        text = service(python(project, TELL), f"{listen}:0:interface={interface}")
        project.configure(text)
        daemon = project.start(env={**os.environ, "TCPREMOTEHOST": "liar", "KEPT": "so"})
        host, port = daemon.address(listen)
        with socket.create_connection((host, port), PATIENCE) as client:
            client_port = client.getsockname()[1]
            client.shutdown(socket.SHUT_WR)
            told = json.loads(read_all(client))
        environment = told["environment"]
        expected = {
            "PROTO": "TCP", "TCPLOCALIP": local, "TCPLOCALPORT": str(port), "TCPREMOTEIP": local,
            "TCPREMOTEPORT": str(client_port), "REMOTE_ADDR": local,
            "REMOTE_PORT": str(client_port), "KEPT": "so",
        }  # fmt: skip
        assert {key: environment.get(key) for key in expected} == expected
        assert "TCPREMOTEHOST" not in environment

    @pytest.mark.long
    def test_environment_of_a_unix_client(self, project: Project) -> None:
        """Who it is, as the kernel says."""
        started(project, service(python(project, TELL), "unix:socket"))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(project.directory / "socket"))
            client.shutdown(socket.SHUT_WR)
            environment = json.loads(read_all(client))["environment"]
        assert environment["PROTO"] == "UNIX"
        assert environment["UNIXLOCALPATH"] == str(project.directory / "socket")
        assert environment["UNIXREMOTEEUID"] == str(os.geteuid())
        assert environment["UNIXREMOTEEGID"] == str(os.getegid())
        assert "TCPREMOTEIP" not in environment

    def test_a_program_finds_nothing_else(self, project: Project) -> None:
        """Three descriptors that block, its own session, no signal ignored, its own arguments."""
        daemon = started(project, service(python(project, TELL)))
        told = json.loads(daemon.ask(b"; rm -rf $HOME\n"))
        files = told["files"]
        # The directory that is being listed is the only one beside them.
        assert {name for name in files if not files[name].startswith("/proc/")} == set("012")
        assert files["0"] == files["1"]
        assert files["0"].startswith("socket:")
        assert files["2"].startswith("pipe:")
        assert told["arguments"] == ["first argument", "$HOME;*"]
        assert told["session"]
        assert told["blocking"] == [True, True, True]
        # Python itself ignores two, and the C library two of its own (32, 33); everything else
        # would be left over from a worker.
        others = {signal.SIGPIPE, signal.SIGXFSZ, 32, 33}
        assert {number for number in range(1, 65) if told["ignored"] >> number - 1 & 1} <= others

    def test_half_close_of_the_client_is_the_end_of_input(self, project: Project) -> None:
        """So whatever reads to the end can answer after it."""
        daemon = started(project, service(["wc", "-c"]))
        assert daemon.ask(b"12345") == b"5\n"

    def test_half_close_of_the_program_reaches_the_client(self, project: Project) -> None:
        """The client reads the end, and may go on sending."""
        daemon = started(project, service(sh("echo hello; exec >&-; cat >&2")))
        with daemon.tcp() as client:
            assert read_exactly(client, 6) == b"hello\n"
            client.sendall(b"still there\n")
            client.shutdown(socket.SHUT_WR)
            daemon.log.wait(r"\[p#warn\] 127.0.0.1:\d+: still there")

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("program", "answer"), [(["cat"], b"one\ntwo\n"), (["head", "-n", "1"], b"one\n")]
    )
    def test_as_under_xinetd(self, project: Project, program: list[str], answer: bytes) -> None:
        """Programs that know nothing of sockets, found in PATH."""
        daemon = started(project, service(program))
        for _ in range(5):
            with daemon.tcp() as client:
                client.sendall(b"one\ntwo\n")
                client.shutdown(socket.SHUT_WR)
                assert read_exactly(client, len(answer)) == answer

    @pytest.mark.long
    def test_a_daemon_keeps_its_connection(self, project: Project) -> None:
        """What the program has left behind has the connection for itself; netd has no copy."""
        text = "(sleep 0.2; read line; echo got $line) & exit 0"
        # Its input is the connection, not the shell's /dev/null for what runs beside it.
        daemon = started(project, service(sh(f"exec 3<&0; {text.replace(')', ') <&3')}")))
        with daemon.tcp() as client:
            daemon.log.wait(r"127.0.0.1:\d+ tcp served")
            client.sendall(b"me\n")
            assert read_all(client) == b"got me\n"


class TestLog:
    """What a program says and how it ended, with its client."""

    def test_standard_error(self, project: Project) -> None:
        """Line by line, one without an end as well, and one that is too long in pieces."""
        text = 'echo first >&2; head -c 20000 /dev/zero | tr "\\0" x >&2; echo >&2; printf last >&2'
        daemon = started(project, service(sh(text)))
        with daemon.tcp() as client:
            port = client.getsockname()[1]
            read_all(client)
        daemon.log.wait(rf"\[p#warn\] 127.0.0.1:{port}: first$")
        daemon.log.wait(rf"\[p#warn\] 127.0.0.1:{port}: last$")
        long = daemon.log.matching(rf"\[p#warn\] 127.0.0.1:{port}: x+$")
        assert sum(line.rpartition(" ")[2].count("x") for line in long) == 20_000

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("text", "verdict"),
        [
            ("exit 0", "served"),
            ("exit 3", "ended with status 3"),
            ("kill -9 $$", "ended with signal SIGKILL"),
        ],
    )
    def test_end(self, project: Project, text: str, verdict: str) -> None:
        """The connection's line has the status, the process and how long it took."""
        daemon = started(project, service(sh(text)))
        daemon.ask()
        daemon.log.wait(rf"\[p#info\] 127.0.0.1:\d+ tcp {verdict} \(pid \d+\) \d+\.\dms")
        assert daemon.stop() == 0
        failed = 0 if verdict == "served" else 1
        assert daemon.log.matching(f"stopped: 1 served, 0 refused, {failed} failed")

    def test_one_that_cannot_be_started_any_more(self, project: Project) -> None:
        """Its client is closed, the log says why, and the next one is served when it is back."""
        script = project.directory / "program"
        script.write_text("#!/bin/sh\necho hello\n")
        script.chmod(0o755)
        daemon = started(project, service(["./program"]))
        assert daemon.ask() == b"hello\n"
        script.rename(script.with_suffix(".away"))
        assert daemon.ask() == b""
        daemon.log.wait(r"127.0.0.1:\d+: ./program cannot be started: No such file or directory")
        script.with_suffix(".away").rename(script)
        assert daemon.ask() == b"hello\n"


class TestLimits:
    """Programs are under the rules that handlers are under."""

    def test_threads_bound_how_many_run(self, project: Project) -> None:
        """The third waits in the backlog until one of two has ended."""
        daemon = started(project, service(["cat"], more="threads = 2\n"))
        with daemon.tcp() as first, daemon.tcp() as second:
            for client in (first, second):
                client.sendall(b"x")
                assert read_exactly(client, 1) == b"x"
            with daemon.tcp() as third:
                third.sendall(b"y")
                third.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    third.recv(1)
                first.shutdown(socket.SHUT_WR)
                third.settimeout(PATIENCE)
                assert read_exactly(third, 1) == b"y"

    def test_lists_are_asked_first(self, project: Project) -> None:
        """Who is refused costs no process."""
        mark = project.directory / "ran"
        text = service(sh(f"touch {mark}"), more='access.deny = ["127.0.0.1"]\n')
        daemon = started(project, text)
        assert daemon.ask() == b""
        daemon.log.wait(r"127.0.0.1:\d+ tcp refused: ")
        assert not mark.exists()

    def test_verify_request_is_asked_first(self, project: Project) -> None:
        """With the connection, before there is a process."""
        project.handlers("""
            import socket
            def verify(request, client_address):
                return request.recv(1, socket.MSG_PEEK) == b"y"
        """)
        daemon = started(
            project, service(["cat"], more='access.verify_request = "handlers:verify"\n')
        )
        assert daemon.ask(b"yes") == b"yes"
        with daemon.tcp() as client:
            client.sendall(b"n")
            # What nobody has read makes an end of it by RST.
            with suppress(ConnectionResetError):
                assert client.recv(10) == b""
        daemon.log.wait(r"127.0.0.1:\d+ tcp refused: ")

    def test_handler_timeout(self, project: Project) -> None:
        """First asked, then made; the client has the end of it, and the service goes on."""
        text = "trap '' TERM; echo in; read line; echo $line; while :; do sleep 0.05; done"
        daemon = started(project, service(sh(text), more='handler_timeout = "300ms"\n'))
        with daemon.tcp() as client:
            assert read_exactly(client, 3) == b"in\n"
            client.sendall(b"x\n")
            assert read_all(client) == b"x\n"
        daemon.log.wait(r"\[p#error\] 127.0.0.1:\d+: /bin/sh has run for more than 0.3 s: SIGTERM")
        daemon.log.wait(r"has run for more than 0.3 s: SIGKILL")
        daemon.log.wait(r"127.0.0.1:\d+ tcp ended with signal SIGKILL")
        with daemon.tcp() as client:
            assert read_exactly(client, 3) == b"in\n"
        # Nobody else would end it.
        daemon.log.wait(r"127.0.0.1:\d+ tcp ended with signal SIGKILL", count=2)

    def test_max_requests(self, project: Project) -> None:
        """The worker that waits for programs is replaced, and nobody is lost."""
        daemon = started(project, service(["cat"], more="max_requests = 5\nthreads = 1\n"))
        for _ in range(20):
            assert daemon.ask(b"hello") == b"hello"
        daemon.log.wait(r"worker p \(pid \d+\) has taken \d requests?; it is replaced", count=3)


class TestProblems:
    """What cannot be run is said before anything is bound, at the line that is to blame."""

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("program", "more", "line", "text"),
        [
            (["no-such-program"], "", 4, r'program: there is no program "no-such-program" in PATH'),
            (["./missing"], "", 4, r"program: there is no program /.*/missing"),
            (["cat"], "options = {a = 1}", 5, r"options: a program has no such thing"),
            (["cat"], "datagram_size = 100", 5, r"datagram_size: a program has no such thing"),
            (["cat"], 'concurrency = "process"', 5, r"concurrency: a program is a process of its"),
            (["cat"], "wait = true\nthreads = 5", 6, r"threads: .* wait = true accepts"),
            (["cat"], 'wait = true\nhandler_timeout = "1s"', 6, r"handler_timeout: a program with"),
            (["cat"], "wait = true\nprocesses = 2", 6, r"processes: a program with wait = true"),
            (
                ["cat"], 'wait = true\n[services.p.access]\nallow = ["10.0.0.0/8"]', 6,
                r"access: a program with wait = true accepts its clients itself",
            ),
            (["cat"], 'handler = "echo"', 4, r"program: stands beside handler"),
        ],
    )  # fmt: skip
    def test_said(
        self, project: Project, program: list[str], more: str, line: int, text: str
    ) -> None:
        project.configure(service(program, more=more + "\n").replace("\n\n", "\n", 1))
        done = project.check()
        assert done.returncode == 78
        # One line before the service's own: the python_path.
        (problem,) = done.stderr.splitlines()
        place, _, said = problem.partition(": services.p.")
        assert said, problem
        assert place == f"{project.file}:{line + 1}", problem
        assert re.match(text, said), problem

    def test_datagrams_need_wait(self, project: Project) -> None:
        """A datagram is no connection."""
        project.configure(service(["cat"], "udp:0:interface=127.0.0.1"))
        done = project.check()
        assert done.returncode == 78
        assert "with wait = true it gets the socket" in done.stderr

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
    def test_executable_by_somebody_else(self, project: Project) -> None:
        """It is the service's user who has to be able to."""
        script = project.directory / "program"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o700)
        project.configure(service(["./program"], more='user = "nobody"\n'))
        done = project.check()
        assert done.returncode == 78
        nobody = pwd.getpwnam("nobody").pw_uid
        assert f"services.p.program: uid {nobody} cannot execute {script}" in done.stderr

    def test_rules_from_the_defaults_are_noted(self, project: Project) -> None:
        """They are for other services as well, so they are no problem, but they have no effect."""
        text = service(["cat"], more="wait = true\n")
        daemon = started(project, '[defaults.access]\ndeny = ["127.0.0.1"]\n' + text)
        daemon.log.wait(r"services.p.program: the access rules of \[defaults\] have no effect")


class TestStop:
    """Programs have the time that handlers have."""

    def test_lets_programs_finish(self, project: Project) -> None:
        """The connection inside is served to its end."""
        daemon = started(project, service(["cat"]))
        with daemon.tcp() as client:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
            daemon.signal(signal.SIGTERM)
            daemon.log.wait("SIGTERM: stopping")
            client.sendall(b"y")
            assert read_exactly(client, 1) == b"y"
        assert daemon.wait() == 0
        daemon.log.wait("stopped: 1 served, 0 refused, 0 failed, 0 dropped")

    def test_a_second_signal_ends_them(self, project: Project) -> None:
        """No program outlives the daemon."""
        daemon = started(project, service(sh("trap '' TERM HUP; echo $$; cat")))
        with daemon.tcp() as client:
            with client.makefile("rb") as lines:
                pid = int(lines.readline())
            daemon.signal(signal.SIGTERM)
            daemon.log.wait("SIGTERM: stopping")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert read_all(client) == b""
        until(lambda: not is_alive(pid), "the program has gone")

    def test_the_end_of_their_time_ends_them(self, project: Project) -> None:
        """What has not ended by then is killed, and the client named."""
        configuration = '[daemon]\ngraceful_timeout = "300ms"\n' + service(sh("echo $$; cat"))
        daemon = started(project, configuration)
        with daemon.tcp() as client, client.makefile("rb") as lines:
            pid = int(lines.readline())
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
        until(lambda: not is_alive(pid), "the program has gone")
        assert daemon.log.matching(r"1 connection \(127.0.0.1:\d+\) still served")


ACCEPTS = """
    import os, socket, sys
    with socket.socket(fileno=os.dup(0)) as listener:
        for line in range(int(os.environ.get("CLIENTS", "2"))):
            client, address = listener.accept()
            with client:
                client.sendall(f"{os.getpid()} {os.environ['PROTO']}".encode())
"""
"""Takes two clients and ends."""

ANSWERS = """
    import os, socket
    with socket.socket(fileno=os.dup(0)) as datagrams:
        data, address = datagrams.recvfrom(1000)
        datagrams.sendto(f"{os.getpid()} ".encode() + data, address)
"""
"""Answers one datagram and ends."""


class TestWait:
    """A program that gets the listening socket is left alone until it ends, and started again."""

    def test_stream(self, project: Project) -> None:
        """One process takes as many as it likes; the next client after its end has another."""
        daemon = started(project, service(python(project, ACCEPTS), more="wait = true\n"))
        answers = [daemon.ask().split() for _ in range(4)]
        assert answers[0] == answers[1] != answers[2] == answers[3]
        assert answers[0][1] == b"TCP"
        daemon.log.wait(r"\[p#info\] \S+ ended with status 0 after \d", count=2)

    def test_datagram(self, project: Project) -> None:
        """One that takes a datagram each is started as fast as they come."""
        daemon = started(
            project,
            service(python(project, ANSWERS), "udp:0:interface=127.0.0.1", "wait = true\n"),
        )
        pids = set()
        with datagram_client(socket.AF_INET, daemon.address("udp")) as client:
            for _ in range(6):
                client.send(b"hello")
                pid, text = client.recv(1000).split()
                assert text == b"hello"
                pids.add(pid)
        assert len(pids) == 6

    @pytest.mark.long
    def test_unix_datagram(self, project: Project) -> None:
        """The same on a Unix socket."""
        started(project, service(python(project, ANSWERS), "unixgram:socket", "wait = true\n"))
        own = str(project.directory / "own")
        address = str(project.directory / "socket")
        with datagram_client(socket.AF_UNIX, address, own) as client:
            client.send(b"hello")
            assert client.recv(100).endswith(b" hello")

    def test_one_that_takes_nobody_does_not_spin(self, project: Project) -> None:
        """It is started later each time."""
        count = project.directory / "count"
        text = service(sh(f"echo >> {count}; exit 1"), more="wait = true\n")
        daemon = started(project, text)
        with daemon.tcp():
            daemon.log.wait(r"ended with status 1", count=4)
            times = [line.partition(" ")[0] for line in daemon.log.matching("ended with status 1")]
            assert len(times) < 20
        assert len(count.read_text()) < 20

    @pytest.mark.long
    def test_several_listeners(self, project: Project) -> None:
        """Each has a program of its own, at the same time."""
        text = service(python(project, ACCEPTS), more="wait = true\n")
        first = '"tcp:0:interface=127.0.0.1"'
        daemon = started(project, text.replace(first, f'{first}, "unix:socket"'))
        with daemon.tcp() as inet, closing(socket.socket(socket.AF_UNIX)) as unix:
            unix.settimeout(PATIENCE)
            unix.connect(str(project.directory / "socket"))
            pid, proto = read_all(unix).split()
            assert proto == b"UNIX"
            assert read_all(inet).split()[0] != pid
        # Which ends programs that wait for more: they do not end with a daemon that is killed.
        assert daemon.stop() == 0

    @pytest.mark.long
    def test_graceful_stop(self, project: Project) -> None:
        """A program is told to end, and waited for."""
        text = "trap 'echo told >&2; exit 0' TERM; echo in >&2; while :; do sleep 0.02; done"
        daemon = started(project, service(sh(text), more="wait = true\n"))
        with daemon.tcp():
            daemon.log.wait("p#warn. in")
            assert daemon.stop() == 0
        assert daemon.log.matching("p#warn. told")
        assert daemon.log.matching("/bin/sh ended with status 0")

    @pytest.mark.long
    def test_second_signal(self, project: Project) -> None:
        """One that does not want to is killed."""
        daemon = started(
            project,
            service(
                sh("trap '' TERM; echo $$ >&2; while :; do sleep 0.1; done"), more="wait = true\n"
            ),
        )
        with daemon.tcp():
            pid = int(daemon.log.wait(r"p#warn. (\d+)$").group(1))
            daemon.signal(signal.SIGTERM)
            daemon.log.wait("SIGTERM: stopping")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
        until(lambda: not is_alive(pid), "the program has gone")


@pytest.mark.long
def test_no_zombies_and_no_descriptors_are_left(project: Project) -> None:
    """A hundred programs later the worker is as it was."""
    daemon = started(project, service(["cat"], more="threads = 4\n"))
    (worker,) = daemon.workers()
    descriptors = Path(f"/proc/{worker}/fd")
    assert daemon.ask(b"x") == b"x"
    daemon.log.wait("tcp served")
    before = len(list(descriptors.iterdir()))
    for _ in range(100):
        assert daemon.ask(b"x") == b"x"
    daemon.log.wait("tcp served", count=101)
    assert len(list(descriptors.iterdir())) == before
    assert Path(f"/proc/{worker}/task/{worker}/children").read_text().split() == []
