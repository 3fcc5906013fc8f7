"""Hosted twistd plugins on the real daemon: Twisted's own, and one that misbehaves."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import textwrap
from urllib.request import urlopen

import pytest

from tests.integration.daemons import PATIENCE, Project, is_alive, until

ODD = """
    import os, sys
    from twisted.application import internet, service
    from twisted.internet import protocol, reactor
    from twisted.internet.defer import Deferred
    from twisted.python import usage
    from twisted.plugin import IPlugin
    from twisted.application.service import IServiceMaker
    from zope.interface import implementer

    class Options(usage.Options):
        optParameters = [["port", None, 0, "", int], ["wait", None, 0.0, "", float]]
        optFlags = [["break", None, ""]]

    class Odd(protocol.Protocol):
        def dataReceived(self, data):
            if data == b"exit":
                os._exit(3)
            self.transport.write(f"{os.getpid()} {os.getuid()}".encode())
            self.transport.loseConnection()

    class Slow(service.MultiService):
        wait = 0
        def stopService(self):
            super().stopService()
            print("being stopped")
            done = Deferred()
            reactor.callLater(self.wait, done.callback, None)
            return done

    @implementer(IServiceMaker, IPlugin)
    class Maker:
        tapname = "oddly"
        description = "for tests"
        options = Options
        def makeService(self, options):
            if options["break"]:
                raise RuntimeError("broken as told")
            made = Slow()
            made.wait = options["wait"]
            factory = protocol.Factory.forProtocol(Odd)
            server = internet.TCPServer(options["port"], factory, interface="127.0.0.1")
            server.setServiceParent(made)
            return made

    maker = Maker()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def service(name: str, plugin: str, *arguments: str, more: str = "") -> str:
    return textwrap.dedent(f"""
        [services.{name}]
        plugin = "{plugin}"
        arguments = {json.dumps(arguments)}
    """) + textwrap.dedent(more)


def web(name: str, port: int, directory: object) -> str:
    listen = f"tcp:{port}:interface=127.0.0.1"
    return service(name, "web", "--listen", listen, "--path", f"{directory}")


@pytest.fixture
def with_oddly(project: Project) -> Project:
    """A project with a plugin of its own, found as twistd finds one that is installed."""
    plugins = project.directory / "handlers" / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "oddly.py").write_text(textwrap.dedent(ODD))
    return project


def ask(port: int, text: bytes = b"hello") -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(text)
        return client.recv(100)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class TestHosting:
    """What ``twistd web`` does, a service does, beside others."""

    @pytest.mark.long
    def test_two_side_by_side(self, project: Project) -> None:
        """Each has its own arguments and its own process."""
        configuration = ""
        ports = {}
        for name in "ab":
            directory = project.directory / name
            directory.mkdir()
            (directory / "file.txt").write_text(f"of {name}")
            ports[name] = free_port()
            configuration += web(name, ports[name], directory)
        project.configure(configuration)
        daemon = project.start()
        for name in "ab":
            with urlopen(f"http://127.0.0.1:{ports[name]}/file.txt", timeout=PATIENCE) as answer:
                assert answer.read() == f"of {name}".encode()
        assert len(daemon.workers()) == 2
        daemon.log.wait(r"\[a#info\] Site starting")
        assert daemon.stop() == 0
        assert not any(map(listens, ports.values()))

    @pytest.mark.long
    def test_stop_waits_for_it(self, with_oddly: Project) -> None:
        """The Deferred of its ``stopService`` is waited for, as twistd does."""
        port = free_port()
        with_oddly.configure(service("s", "oddly", "--port", f"{port}", "--wait", "0.3"))
        daemon = with_oddly.start()
        assert ask(port)
        assert daemon.stop() == 0
        daemon.log.wait(r"\[s#info\] being stopped")
        assert not daemon.log.matching("still served|Traceback")

    def test_one_that_crashes_is_replaced(self, with_oddly: Project) -> None:
        """And the others notice nothing."""
        ports = free_port(), free_port()
        a = service("a", "oddly", "--port", f"{ports[0]}")
        b = service("b", "oddly", "--port", f"{ports[1]}")
        with_oddly.configure(a + b)
        daemon = with_oddly.start()
        other = ask(ports[1])
        before = ask(ports[0])
        assert ask(ports[0], b"exit") == b""
        daemon.log.wait(r"worker a \(pid \d+\) ended with status 3")
        until(lambda: listens(ports[0]), "the plugin is back")
        assert ask(ports[0]) != before
        assert ask(ports[1]) == other

    @pytest.mark.long
    def test_an_upgrade(self, with_oddly: Project) -> None:
        """The new daemon is ready without it, since its port is free when the old one has left."""
        port = free_port()
        echo = '[services.e]\nlisten = ["tcp:0:interface=127.0.0.1"]\nhandler = "echo"\n'
        with_oddly.configure(service("s", "oddly", "--port", f"{port}") + echo)
        daemon = with_oddly.start()
        before = ask(port)
        daemon.signal(signal.SIGUSR2)
        new = int(daemon.log.wait(r"upgraded: pid (\d+) serves now").group(1))
        daemon.process.wait(PATIENCE)
        until(lambda: listens(port), "the plugin is back")
        assert ask(port) != before
        with daemon.tcp("e") as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"
        os.kill(new, signal.SIGTERM)
        until(lambda: not is_alive(new), "the new daemon leaves")

    @pytest.mark.long
    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
    def test_binds_as_its_user(self, with_oddly: Project) -> None:
        """The worker is the user before there is anything of the plugin's."""
        port = free_port()
        with_oddly.configure(
            service("s", "oddly", "--port", f"{port}", more="user = 65534\ngroup = 65534\n")
        )
        daemon = with_oddly.launch()
        found = daemon.log.wait(r"ready: 1 service|Permission denied")
        if found.group(0) == "Permission denied":
            pytest.skip("the user nobody cannot read this Python, or netd, here")
        assert ask(port).split()[1] == b"65534"


class TestProblems:
    """What twistd would print with its usage is a problem at the line of the key."""

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("text", "key", "line", "said"),
        [
            (service("s", "wbe"), "plugin", 3, 'there is no twistd plugin "wbe"; did you mean "w'),
            (service("s", "netd"), "plugin", 3, 'there is no twistd plugin "netd"'),
            (service("s", "web", "--prot", "1"), "arguments", 4, "web: option --prot not rec"),
            (service("s", "web", "--help"), "arguments", 4, "web: an argument makes it print and"),
            (service("s", "web", more="threads = 5"), "threads", 5, "the reactor serves all"),
            (service("s", "web", more="processes = 2"), "processes", 5, "a plugin listens for its"),
            (service("s", "web", more='worker = "w"'), "worker", 5, "a plugin listens for itself"),
            (service("s", "web", more="backlog = 5"), "backlog", 5, "a plugin listens for itself"),
            (service("s", "web", more="max_memory = 5"), "max_memory", 5, "a plugin listens for"),
            (service("s", "web", more='listen = ["tcp:1"]'), "listen", 5, "a plugin binds by"),
            (
                service("s", "web", more='[services.s.access]\nallow = ["::1"]'), "access", 5,
                "a plugin listens for itself, in a worker of its own, so netd sees none of its",
            ),
        ],
    )  # fmt: skip
    def test_said(self, project: Project, text: str, key: str, line: int, said: str) -> None:
        project.configure(text)
        done = project.check()
        assert done.returncode == 78
        # One line before: the python_path.
        expected = f"{project.file}:{line + 1}: services.s.{key}: {said}"
        assert done.stderr.startswith(expected), done.stderr
        assert len(done.stderr.splitlines()) == 1

    @pytest.mark.long
    def test_another_service_cannot_share_its_worker(self, project: Project) -> None:
        """By its name neither."""
        text = '[services.e]\nlisten = ["tcp:0"]\nhandler = "echo"\nworker = "s"\n'
        project.configure(service("s", "web") + text)
        done = project.check()
        assert done.returncode == 78
        assert "shares worker s with services." in done.stderr

    @pytest.mark.long
    def test_rules_from_the_defaults_are_noted(self, project: Project) -> None:
        """Nobody holds to them."""
        text = web("s", free_port(), project.directory)
        project.configure('[defaults.access]\ndeny = ["127.0.0.1"]\n' + text)
        daemon = project.start()
        daemon.log.wait("services.s.plugin: the access rules of .defaults. have no effect")

    @pytest.mark.sweep
    @pytest.mark.parametrize("kind", ["web", "oddly"])
    def test_a_port_that_is_taken(self, with_oddly: Project, kind: str) -> None:
        """It is said, tried again later and later, and the rest goes on."""
        project = with_oddly
        with socket.create_server(("127.0.0.1", 0)) as request:
            port = request.getsockname()[1]
            plugin = (
                web("s", port, project.directory)
                if kind == "web"
                else service("s", "oddly", "--port", f"{port}")
            )
            echo = '[services.e]\nlisten = ["tcp:0:interface=127.0.0.1"]\nhandler = "echo"\n'
            project.configure(plugin + echo)
            daemon = project.launch()
            daemon.log.wait(r"service s: cannot be started")
            daemon.log.wait(r"worker s .*; the next in 0.2 s")
            with daemon.tcp("e") as client:
                client.sendall(b"hello")
                assert client.recv(10) == b"hello"
            assert re.search(rf"127.0.0.1:{port}.*in use|Couldn't listen", daemon.log.text)
        until(lambda: listens(port), "it has the port when that is free")
        daemon.wait_until_ready()

    @pytest.mark.long
    def test_one_that_cannot_be_made(self, with_oddly: Project) -> None:
        """Its own words are in the log."""
        with_oddly.configure(service("s", "oddly", "--break"))
        daemon = with_oddly.launch()
        daemon.log.wait(r'service s: plugin "oddly": broken as told')
        workers = daemon.workers()
        assert daemon.stop() == 0
        assert not any(map(is_alive, workers))
