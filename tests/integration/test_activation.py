"""Sockets from the service manager, and what it is told, on the real daemon."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.activated import LAUNCH, activate, notified
from tests.integration.administered import WAY_IN, WORDS, Administered
from tests.integration.daemons import (
    PATIENCE,
    Project,
    command_line,
    connected,
    datagram_client,
    is_alive,
    netdctl,
    read_all,
    until,
)

CONF = Path(__file__).parents[2] / "conf" / "systemd"

HANDLER = """
    import os, socket
    from socketserver import BaseRequestHandler

    class Who(BaseRequestHandler):
        def handle(self):
            kept = [name for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET",
                    "WATCHDOG_USEC") if name in os.environ]
            answer = f"{type(self.server).__name__} {kept}".encode()
            if isinstance(self.request, socket.socket):
                self.request.recv(100)
                self.request.sendall(answer)
            else:
                self.server.socket.sendto(answer, self.client_address)
"""


def listening(family: int, address: object) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(address)  # type: ignore[arg-type]
    sock.listen(3)
    return sock


def receiving(family: int, address: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(address)  # type: ignore[arg-type]
    return sock


@pytest.fixture
def sockets(project: Project) -> Iterator[list[socket.socket]]:
    """One of each kind that netd serves, as a service manager binds them."""
    with ExitStack() as stack:
        made = [
            listening(socket.AF_INET, ("127.0.0.1", 0)),
            listening(socket.AF_INET6, ("::1", 0)),
            receiving(socket.AF_INET, ("127.0.0.1", 0)),
            receiving(socket.AF_INET6, ("::1", 0)),
            listening(socket.AF_UNIX, str(project.directory / "stream")),
            receiving(socket.AF_UNIX, str(project.directory / "dgram")),
        ]
        yield [stack.enter_context(one) for one in made]


def ask(sock: socket.socket) -> bytes:
    """Ask whoever serves a socket."""
    if sock.type == socket.SOCK_DGRAM:
        name = None if sock.family != socket.AF_UNIX else b""
        with datagram_client(sock.family, sock.getsockname(), name) as client:
            client.send(b"who")
            return client.recv(1000)
    with socket.socket(sock.family) as client:
        client.settimeout(PATIENCE)
        client.connect(sock.getsockname())
        client.sendall(b"who")
        return read_all(client)


KINDS = [
    b"ThreadingTCPServer",
    b"ThreadingTCPServer",
    b"ThreadingUDPServer",
    b"ThreadingUDPServer",
    b"ThreadingUnixStreamServer",
    b"ThreadingUnixDatagramServer",
]

SERVICE = '[services.a]\nlisten = ["systemd:web"]\nhandler = "handlers:Who"\n'


class TestSockets:
    @pytest.mark.long
    def test_of_every_kind(self, project: Project, sockets: list[socket.socket]) -> None:
        """All that have the name; the others are closed, and that is said.

        Nobody whom netd starts takes them for its own, and after netd they are as they were.
        """
        project.handlers(HANDLER)
        project.configure(SERVICE)
        pair, far_end = socket.socketpair()
        with listening(socket.AF_INET, ("127.0.0.1", 0)) as other, pair, far_end:
            names = ["web"] * len(sockets) + ["other", "connection"]
            daemon = activate(project, [*sockets, other, pair], names).wait_until_ready()
            port = other.getsockname()[1]
            daemon.log.wait(
                r"no service listens on systemd:other: tcp 127\.0\.0\.1:" + f"{port} is closed"
            )
            daemon.log.wait("connection is a connection and not a listener: remove Accept=yes")
        assert [ask(one) for one in sockets] == [kind + b" []" for kind in KINDS]
        daemon.log.wait(rf"a listens on unixgram {project.directory}/dgram")
        assert daemon.stop() == 0
        assert all(stat.S_ISSOCK(os.stat(one.getsockname()).st_mode) for one in sockets[4:])
        for one in sockets:
            one.setblocking(False)
            kind = one.type
            with socket.socket(one.family, kind) as client:
                client.connect(one.getsockname())  # nobody is turned away
                client.send(b"?")
            if kind is socket.SOCK_STREAM:
                one.accept()[0].close()
            else:
                assert one.recv(10) == b"?"

    @pytest.mark.long
    def test_without_names(self, project: Project, sockets: list[socket.socket]) -> None:
        """They are called by their numbers; twistd may go to the background."""
        project.handlers(HANDLER)
        project.configure(SERVICE.replace("systemd:web", "systemd:4") + WAY_IN)
        pid_file = project.directory / "twistd.pid"
        command = [*project.command()[:1], "--pidfile", str(pid_file), "netd", "--config"]
        command.append(str(project.file))
        daemon = activate_by(project, sockets, command)
        assert daemon == 0
        until(pid_file.exists, "the daemon has a pid file")
        until(lambda: pid_file.read_text().strip(), "the daemon has written it")
        pid = int(pid_file.read_text())
        try:
            assert ask(sockets[4]) == b"ThreadingUnixStreamServer []"
        finally:
            os.kill(pid, signal.SIGTERM)
            until(lambda: not is_alive(pid), "the daemon has gone")

    @pytest.mark.sweep
    @pytest.mark.parametrize(("names", "others"), [(["web"], "only web"), ([], "and no other")])
    def test_that_were_not_passed(
        self, project: Project, sockets: list[socket.socket], names: list[str], others: str
    ) -> None:
        """Check cannot know; who starts is told."""
        project.handlers(HANDLER)
        project.configure(SERVICE.replace("systemd:web", "systemd:wbe"))
        assert netdctl("check", str(project.file)).returncode == 0
        daemon = activate(project, sockets[: len(names)], names)
        assert daemon.wait() == 1
        daemon.log.wait(
            "netd: services.a: cannot listen on systemd:wbe: the service manager has passed no"
            f" socket of that name, {others}"
        )

    @pytest.mark.long
    def test_what_does_not_fit(self, project: Project, sockets: list[socket.socket]) -> None:
        """Is found when it is known what they are."""
        project.handlers(HANDLER + "\n    class Stream(socketserver.StreamRequestHandler): pass")
        module = project.directory / "handlers" / "handlers.py"
        module.write_text("import socketserver\n" + module.read_text())
        project.configure(SERVICE.replace("Who", "Stream"))
        daemon = activate(project, sockets[2:3], ["web"])
        assert daemon.wait() == 78
        daemon.log.wait("cannot serve datagrams, which systemd:web listens for")


def activate_by(project: Project, sockets: list[socket.socket], command: list[str]) -> int:
    """Start a daemon that goes to the background, without names; the status of its parent."""
    descriptors = [one.fileno() for one in sockets]
    told = json.dumps([descriptors, None, *command])
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, told],
        pass_fds=descriptors,
        cwd=project.directory,
        timeout=PATIENCE,
    )
    return done.returncode


class TestChanges:
    @pytest.mark.long
    def test_reload_and_upgrade(
        self, administered: Administered, sockets: list[socket.socket]
    ) -> None:
        """A service that takes sockets over, and another process that does."""
        project = administered.project
        project.handlers(WORDS)
        text = '[services.a]\nlisten = ["systemd:web"]\nhandler = "handlers:Words"\nthreads = {}\n'
        administered.configure(text.format(3))
        streams = [sockets[0], sockets[4]]
        administered.daemon = activate(project, streams, ["web", "web"]).wait_until_ready()
        with administered.talk("a") as conversation:
            assert conversation.ask(b"version") == b"one"
        assert administered.reload_well(text.format(4)) == {"a": "change"}
        assert not administered.reload(text.format(4).replace("web", "www")).ok
        administered.configure(text.format(5))
        with administered.upgraded():
            assert administered.service("a")["listeners"] == [
                f"tcp 127.0.0.1:{streams[0].getsockname()[1]}",
                f"unix {streams[1].getsockname()}",
            ]
            with administered.talk("a", 1) as conversation:
                assert conversation.ask(b"version") == b"one"
            # A service that goes leaves them to the service manager.
            assert administered.reload_well(
                '[services.b]\nlisten = ["unix:b"]\nhandler = "handlers:Words"\n'
            ) == {"a": "remove", "b": "add"}
            with socket.create_connection(streams[0].getsockname()):
                streams[0].accept()[0].close()
        assert os.path.exists(streams[1].getsockname())


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="no systemd-socket-activate"
)
class TestBySystemd:
    def test_socket_activate(self, project: Project) -> None:
        """Systemd's own program starts netd for its first client."""
        project.handlers(HANDLER)
        project.configure(SERVICE)
        path = project.directory / "web"
        command = ["systemd-socket-activate", f"--listen={path}", "--fdname=web"]
        daemon = project.launch(under=command)
        with connected(str(path)) as client:
            client.sendall(b"who")
            assert read_all(client) == b"ThreadingUnixStreamServer []"
        assert daemon.stop() == 0
        assert path.exists()

    @pytest.mark.long
    def test_a_datagram(self, project: Project) -> None:
        """Without a name, and with a datagram that has started it."""
        project.handlers(HANDLER)
        project.configure(SERVICE.replace("systemd:web", "systemd:0"))
        path = project.directory / "web"
        command = ["systemd-socket-activate", "--datagram", f"--listen={path}"]
        daemon = project.launch(under=command)
        until(path.exists, "the socket is bound")
        with datagram_client(socket.AF_UNIX, str(path), b"") as client:
            client.send(b"who")
            assert client.recv(100) == b"ThreadingUnixDatagramServer []"
        assert daemon.stop() == 0


class TestNotifications:
    @pytest.mark.long
    def test_of_a_life(self, administered: Administered) -> None:
        """Ready, reloading, reloaded or not, another process, stopping; each in its order."""
        project = administered.project
        project.handlers(WORDS)
        text = '[services.a]\nlisten = ["unix:a"]\nhandler = "handlers:{}"\n'
        with notified(project.directory / "notify") as manager:
            environment = {**os.environ, "NOTIFY_SOCKET": str(project.directory / "notify")}
            daemon = administered.start(text.format("Words"), env=environment)
            assert manager.next() == {
                "READY": "1",
                "MAINPID": str(daemon.pid),
                "STATUS": "serving 1 service(s)",
            }
            before = time.monotonic_ns() // 1000
            assert administered.reload().ok
            reloading = manager.next()
            assert before <= int(reloading.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
            assert reloading == {"RELOADING": "1", "STATUS": "reloading"}
            assert manager.next() == {"READY": "1", "STATUS": "serving 1 service(s)"}
            administered.configure(text.format("None"))
            daemon.signal(signal.SIGHUP)
            assert manager.next()["RELOADING"] == "1"
            failed = manager.next()
            assert failed["READY"] == "1"
            assert failed["STATUS"].startswith("serving 1 service(s); not reloaded: ")
            administered.configure(text.format("Words"))
            with administered.upgraded() as pid:
                told = [manager.next(), manager.next()]
                assert {"MAINPID": str(pid), "STATUS": "upgraded"} in told
                assert {"READY", "MAINPID", "STATUS"} in [set(one) for one in told]
            assert manager.next() == {
                "STOPPING": "1",
                "STATUS": "handlers have 30 s to finish",
            }

    @pytest.mark.long
    def test_watchdog(self, project: Project) -> None:
        """It gives signs of life while its reactor turns, and none when that stands still."""
        project.configure('[services.a]\nlisten = ["unix:a"]\nhandler = "echo"\n')
        name = f"@netd-{os.getpid()}-watchdog"
        with notified(name) as manager:
            environment = {**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"}
            daemon = project.start(env=environment)
            signs = 0
            while signs < 3:
                signs += manager.any() == {"WATCHDOG": "1"}
            daemon.signal(signal.SIGSTOP)
            until(lambda: " T" in status_of(daemon.pid), "the daemon stands still")
            manager.forget()
            with pytest.raises(TimeoutError):  # in five times the time that it has for a sign
                manager.any(patience=1.0)
            daemon.signal(signal.SIGCONT)
            assert {"WATCHDOG": "1"} in [manager.any(), manager.any()]
            assert daemon.stop() == 0

    @pytest.mark.long
    def test_nobody_listens(self, project: Project) -> None:
        """The log says so once."""
        project.configure('[services.a]\nlisten = ["unix:a"]\nhandler = "echo"\n')
        environment = {**os.environ, "NOTIFY_SOCKET": str(project.directory / "nobody")}
        daemon = project.start(env=environment)
        assert daemon.stop() == 0
        assert len(daemon.log.matching("cannot notify the service manager")) == 1


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]


class TestUnits:
    @pytest.mark.long
    def test_of_conf(self, project: Project) -> None:
        """The socket unit's sockets are the ones that the configuration beside it wants."""
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read(CONF / "netd.socket")
        name = unit["Socket"]["FileDescriptorName"]
        text = (CONF / "netd.toml").read_text()
        project.file.write_text(text.replace("/run/netd/admin.sock", "admin.sock"))
        with (
            listening(socket.AF_INET6, ("::1", 0)) as stream,
            receiving(socket.AF_INET6, ("::1", 0)) as datagram,
        ):
            daemon = activate(project, [stream, datagram], [name, name]).wait_until_ready()
            assert len(ask(stream)) == len(ask(datagram)) == 4
            assert daemon.stop() == 0

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
    def test_are_understood_by_systemd(self, tmp_path: Path) -> None:
        for name in ("netd.socket", "netd.service"):
            text = (CONF / name).read_text()
            (tmp_path / name).write_text(text.replace("/opt/netd/bin/twistd", sys.executable))
        command = ["systemd-analyze", "verify", str(tmp_path / "netd.service")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        about_ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
        assert about_ours == []


@pytest.mark.long
def test_names_are_kept_from_nobody(project: Project) -> None:
    """The variables are of the process that systemd has started, and of no other."""
    project.configure('[services.a]\nlisten = ["unix:a"]\nhandler = "echo"\n')
    environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "1"}
    daemon = project.start(env=environment)
    assert command_line(daemon.pid)
    assert daemon.stop() == 0
