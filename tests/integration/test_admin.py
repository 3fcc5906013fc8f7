"""The admin socket of the real daemon, by the client, by HTTP and by netdctl."""

from __future__ import annotations

import json
import os
import socket
import stat
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from netd.ctl.client import Client, NoDaemon
from tests.integration.administered import WORDS, Administered
from tests.integration.daemons import PATIENCE, netdctl, read_all, until
from tests.integration.test_reload import words


@pytest.fixture
def site(administered: Administered) -> Administered:
    """A daemon with two services."""
    administered.project.handlers(WORDS)
    administered.start(words("a") + words("b"))
    return administered


def raw(site: Administered, data: bytes) -> bytes:
    """Write bytes to the admin socket; return what comes until it is closed."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(PATIENCE)
        client.connect(str(site.admin_socket))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


class TestSocket:
    def test_mode(self, site: Administered) -> None:
        assert stat.S_IMODE(site.admin_socket.stat().st_mode) == 0o600

    def test_goes_with_the_daemon(self, site: Administered) -> None:
        assert site.daemon.stop() == 0
        assert not site.admin_socket.exists()
        with pytest.raises(NoDaemon, match=r"no netd answers at .*: No such file"):
            site.client.see("status")

    @pytest.mark.long
    def test_answers_while_handlers_finish(self, site: Administered) -> None:
        """So that somebody can see what it waits for."""
        with site.talk("a") as client:
            assert client.ask(b"hello") == b"hello"
            assert site.client.do("stop").ok
            until(lambda: site.status()["state"] == "stopping", "it stops")
            assert not site.client.do("reload").ok
            assert client.finish() == b""
        assert site.daemon.wait() == 0

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
    def test_is_nobody_else_s(self, site: Administered) -> None:
        """Not even of who knows where it is."""
        site.directory.chmod(0o755)
        pid = os.fork()
        if pid == 0:
            os.setuid(65534)
            with closing(socket.socket(socket.AF_UNIX)) as client:
                os._exit(client.connect_ex(str(site.admin_socket)))
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 13  # EACCES


class TestHostile:
    """Nothing that comes by it ends the daemon."""

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0" * 100_000,
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /api/" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"POST /api/suspend?service=%00%ff HTTP/1.1\r\nConnection: close\r\n\r\n",
            b"POST /api/reload HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET /api/status HTTP/1.1\r\nConnection: close\r\n\r\n" * 1000,
        ],
        ids=["nothing", "junk", "no path", "long", "no name", "no length", "many"],
    )
    def test_data(self, site: Administered, data: bytes) -> None:
        with suppress(ConnectionError):  # cut off in the midst of it
            raw(site, data)
        assert site.status()["state"] == "running"
        assert not site.daemon.log.matching("Traceback|Unhandled")

    @pytest.mark.long
    def test_clients_that_go_away(self, site: Administered) -> None:
        """In the midst of a drain, too; what they asked for goes on."""
        with site.talk("a") as inside:
            assert inside.ask(b"hello") == b"hello"
            for _ in range(10):
                with closing(socket.socket(socket.AF_UNIX)) as client:
                    client.connect(str(site.admin_socket))
                    client.sendall(b"POST /api/drain?service=a HTTP/1.1\r\n\r\n")
            until(lambda: site.service("a")["state"] == "suspended", "the service is suspended")
            assert inside.finish() == b""
        assert site.client.do("drain", service="a").ok
        assert not site.daemon.log.matching("Traceback|Unhandled")

    def test_too_many_clients(self, site: Administered) -> None:
        """They have the end of it, and there is room again when they leave."""
        with ExitStack() as stack:
            for _ in range(100):
                client = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
                client.connect(str(site.admin_socket))
            client.settimeout(PATIENCE)
            assert client.recv(1) == b""
        until(lambda: answers(site.client), "there is room again")

    @pytest.mark.long
    def test_no_descriptors_left(self, site: Administered) -> None:
        """It waits, and does not spin."""
        import resource

        before = resource.prlimit(site.daemon.pid, resource.RLIMIT_NOFILE)
        with closing(socket.socket(socket.AF_UNIX)) as client:
            resource.prlimit(site.daemon.pid, resource.RLIMIT_NOFILE, (3, before[1]))
            client.connect(str(site.admin_socket))
            site.daemon.log.wait("admin socket: out of descriptors or memory")
            resource.prlimit(site.daemon.pid, resource.RLIMIT_NOFILE, before)
            assert site.status()["state"] == "running"
        assert len(site.daemon.log.matching("admin socket: out of descriptors")) == 1


def answers(client: Client) -> bool:
    """Whether the daemon does."""
    try:
        return client.see("status").ok
    except NoDaemon:
        return False


class TestCommands:
    def test_status(self, site: Administered) -> None:
        status = site.status()
        assert (status["pid"], status["state"]) == (site.daemon.pid, "running")
        assert status["configuration"] == str(site.project.file)
        a = site.service("a")
        assert a["listeners"] == ["tcp {}:{}".format(*site.daemon.address("tcp", "a"))]
        assert [one["pid"] for one in a["processes"]] == site.pids("a")

    def test_connections(self, site: Administered) -> None:
        """Each by its client and service, until it has left."""
        with site.talk("a") as client, site.talk("b") as other:
            assert (client.ask(b"x"), other.ask(b"x")) == (b"x", b"x")
            (found,) = site.client.see("connections", service="a").values
            assert found["service"] == "a"
            assert found["client"] == "{}:{}".format(*client.socket.getsockname())
            assert len(site.client.see("connections").values) == 2
        until(lambda: site.client.see("connections").values == [], "they have left")

    @pytest.mark.sweep
    @pytest.mark.parametrize("command", ["suspend", "resume", "drain"])
    def test_unknown_service(self, site: Administered, command: str) -> None:
        reply = site.client.do(command, service="no such")
        assert (reply.ok, reply.problems) == (False, ["there is no service no such"])

    def test_suspend_and_resume(self, site: Administered) -> None:
        """Clients wait, those inside go on, and others notice nothing."""
        with site.talk("a") as inside:
            assert inside.ask(b"hello") == b"hello"
            assert site.client.do("suspend", service="a").ok
            with site.talk("a") as waiting, site.talk("b") as other:
                waiting.say(b"version")
                assert inside.ask(b"hello") == b"hello"
                assert other.ask(b"hello") == b"hello"
                assert site.service("a")["active"] == 1
                assert site.client.do("resume", service="a").ok
                assert waiting.hear() == b"one"

    @pytest.mark.long
    def test_drain_waits_over_a_reload(self, site: Administered) -> None:
        """Whoever is inside counts, also in a generation that was replaced meanwhile."""
        with site.talk("a") as inside, closing(socket.socket(socket.AF_UNIX)) as asking:
            assert inside.ask(b"hello") == b"hello"
            asking.settimeout(PATIENCE)
            asking.connect(str(site.admin_socket))
            asking.sendall(b"POST /api/drain?service=a HTTP/1.0\r\n\r\n")
            until(lambda: site.service("a")["state"] == "suspended", "the service is suspended")
            site.reload_well(words("a", more="threads = 7") + words("b"))
            asking.setblocking(False)
            with pytest.raises(BlockingIOError):
                asking.recv(1)
            asking.settimeout(PATIENCE)
            assert inside.finish() == b""
            assert b" 200 " in read_all(asking)
        assert site.service("a")["state"] == "suspended"


class TestNetdctl:
    def run(self, site: Administered, *arguments: str) -> tuple[int, str, str]:
        done = netdctl("--socket", str(site.admin_socket), *arguments)
        return done.returncode, done.stdout, done.stderr

    def test_reload(self, site: Administered) -> None:
        """Its exit status tells what came of it."""
        site.configure(words("a", more="threads = 7"))
        assert self.run(site, "plan") == (0, "change a: threads\nremove b\n", "")
        assert self.run(site, "reload") == (0, "change a: threads\nremove b\n", "")
        site.configure(words("a", more="thread = 7"))
        code, said, problems = self.run(site, "reload")
        assert (code, said) == (78, "")
        assert problems.startswith(f"{site.project.file}:5: services.a.thread: ")

    def test_a_daemon_that_is_not_there(self, tmp_path: Path) -> None:
        done = netdctl("--socket", str(tmp_path / "s"), "reload")
        assert done.returncode == 1
        assert (
            done.stderr == f"netdctl: no netd answers at {tmp_path}/s: No such file or directory\n"
        )

    @pytest.mark.long
    def test_status_for_programs(self, site: Administered) -> None:
        code, said, _ = self.run(site, "status", "--json")
        assert (code, json.loads(said)["pid"]) == (0, site.daemon.pid)

    @pytest.mark.long
    def test_finds_it_by_a_file_that_is_broken(self, site: Administered) -> None:
        """It reads only ``[admin]``."""
        site.project.file.write_text('[admin]\nsocket = "admin.sock"\n[services.a]\nhandler = 1\n')
        done = netdctl("--config", str(site.project.file), "status")
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.long
    def test_log(self, site: Administered) -> None:
        """Holds for workers, too, until a reload does as the file says; plan knows."""
        assert self.run(site, "log") == (0, "info\n", "")
        assert self.run(site, "log", "error") == (0, "error\n", "")
        with site.talk("a") as client:
            assert client.ask(b"hello") == b"hello"
        until(lambda: site.service("a")["served"] == 1, "it is counted")
        steps = 'keep a\nkeep b\nchange log.level: "error" to "info"\n'
        assert self.run(site, "plan") == (0, steps, "")
        assert self.run(site, "reload") == (0, steps, "")
        with site.talk("b") as client:
            assert client.ask(b"hello") == b"hello"
        site.daemon.log.wait(r"\[b#info\] .* tcp served")
        assert not site.daemon.log.matching(r"\[a#info\]")
        assert self.run(site, "log", "loud")[0] == 2

    def test_stop(self, site: Administered) -> None:
        """Returns when the daemon has gone."""
        assert self.run(site, "stop") == (0, "stopped\n", "")
        assert site.daemon.wait() == 0
