"""``netdctl`` beside ``check``, and a service without a file, as a person types them."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd import __version__
from netd.config.reference.json_schema import json_schema
from netd.tls.pem import certificates
from tests.integration.daemons import BIN, Project, netdctl, read_exactly
from tests.tls.authorities import authority, table
from tests.tls.sides import listening, of_blocking

HELLO = """
    from socketserver import StreamRequestHandler

    class Hello(StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"hello " + self.rfile.read())
"""


class TestPrintConfig:
    def test_of_a_file(self, project: Project) -> None:
        """As TOML, with the place beside each value."""
        project.configure(
            '[services.hello]\nlisten = ["tcp:0"]\nhandler = "socketserver:StreamRequestHandler"\n'
        )
        done = netdctl("print-config", str(project.file))
        assert (done.returncode, done.stderr) == (0, "")
        assert f'handler = "socketserver:StreamRequestHandler"  # {project.file}:4\n' in done.stdout
        assert "threads = 100  # default\n" in done.stdout
        assert tomllib.loads(done.stdout)["services"]["hello"]["listen"] == ["tcp:0"]

    def test_as_json(self, project: Project) -> None:
        """For a program, which finds a key by its name."""
        project.configure('[services.hello]\nlisten = ["tcp:0"]\nhandler = "echo"\n')
        done = netdctl("print-config", "--json", str(project.file))
        found = {each["key"]: each for each in json.loads(done.stdout)}
        assert found["services.hello.handler"]["line"] == 4
        assert found["daemon.graceful_timeout"]["value"] == "30s"

    @pytest.mark.long
    def test_of_what_is_decided_by_what_runs(self, project: Project) -> None:
        """A server's mix-in, a reactor: as defaults, and printed once more all is as it was."""
        project.configure("""
            [defaults]
            threads = 5
            [services.thread]
            listen = ["tcp:0"]
            handler = "socketserver:StreamRequestHandler"
            [services.single]
            listen = ["unix:socket"]
            server = "socketserver:UnixStreamServer"
            handler = "socketserver:StreamRequestHandler"
            [services.reactor]
            listen = ["tcp:0"]
            handler = "echo"
        """)
        once = netdctl("print-config", str(project.file)).stdout
        assert f"threads = 5  # {project.file}:4\n" in once
        services = tomllib.loads(once)["services"]
        assert [each.get("threads") for each in services.values()] == [5, 1, None]
        assert [each["concurrency"] for each in services.values()] == [
            "thread",
            "thread",
            "reactor",
        ]
        (project.directory / "elsewhere").mkdir()
        again = project.directory / "elsewhere" / "netd.toml"
        again.write_text(once)
        assert tomllib.loads(netdctl("print-config", str(again)).stdout) == tomllib.loads(once)

    @pytest.mark.long
    def test_of_the_default_file(self, project: Project) -> None:
        """The one that twistd would take, as it is named in messages."""
        project.configure('[services.hello]\nlisten = ["tcp:0"]\nhandler = "echo"\n')
        done = netdctl("print-config", cwd=project.directory)
        assert "# netd.toml:4\n" in done.stdout

    @pytest.mark.long
    def test_of_no_file(self, project: Project) -> None:
        """The files that were looked for are named."""
        if os.path.exists("/etc/netd/netd.toml"):
            pytest.skip("this machine has an /etc/netd/netd.toml")
        done = netdctl("print-config", cwd=project.directory)
        assert (done.returncode, done.stdout) == (78, "")
        assert done.stderr == (
            "netdctl: no configuration: there is no netd.toml, conf/netd.toml, "
            "/etc/netd/netd.toml; name a FILE\n"
        )

    @pytest.mark.long
    def test_of_a_file_with_problems(self, project: Project) -> None:
        """The lines of ``check``, and nothing that looks like a configuration."""
        project.configure('[services.hello]\nlisten = ["tcp:0"]\n')
        done = netdctl("print-config", str(project.file))
        assert (done.returncode, done.stdout) == (78, "")
        assert done.stderr.startswith(f"{project.file}:2: services.hello.handler: is required")


class TestSchema:
    def test_is_printed(self) -> None:
        """To be put beside a configuration."""
        done = netdctl("schema")
        assert (done.returncode, json.loads(done.stdout)) == (0, json_schema())


class TestInit:
    def test_makes_a_service_that_runs(self, project: Project) -> None:
        """Nothing needs editing: the command that it names serves, and says hello."""
        done = netdctl("init", "start", cwd=project.directory)
        assert (done.returncode, done.stderr) == (0, "")
        command = re.search(r"^run it: +cd start && (\S+ -n netd)$", done.stdout, re.MULTILINE)
        assert command is not None
        assert shlex.split(command[1])[0] == str(BIN / "twistd")
        project.file = project.directory / "start" / "netd.toml"
        assert project.check().stdout == f"{project.file}: ok (1 services)\n"
        daemon = project.start()
        assert daemon.address("tcp", "hello") == ("127.0.0.1", 10040)
        with daemon.tcp() as client:
            client.sendall(b"world\n")
            expected = b"What is your name? Hello, world!\n"
            assert read_exactly(client, len(expected)) == expected
        assert daemon.stop() == 0

    def test_overwrites_nothing(self, project: Project) -> None:
        """Said in a line, with status 1."""
        assert netdctl("init", ".", cwd=project.directory).returncode == 0
        done = netdctl("init", ".", cwd=project.directory)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "netdctl: ./netd.toml exists, and is not overwritten: name another directory\n"
        )


class TestHelp:
    @pytest.mark.parametrize("option", ["-v", "--version"])
    def test_version(self, option: str) -> None:
        """Of both commands."""
        assert netdctl(option).stdout == f"netdctl, version {__version__}\n"
        twistd = subprocess.run(
            [BIN / "twistd", "netd", option], capture_output=True, text=True, timeout=60
        )
        assert twistd.stdout == f"netd {__version__}\n"

    def test_names_every_command(self) -> None:
        """In a line each, which is not cut off."""
        text = netdctl("--help").stdout
        for command in ("check", "init", "print-config", "schema"):
            assert re.search(rf"^  {command} +\S.*[^.]\.$", text, re.MULTILINE)


class TestWithoutFile:
    def command(self, project: Project, *options: str) -> list[str]:
        project.handlers(HELLO, module="hello")
        return [*project.command()[:-2], *options]

    def run(self, project: Project, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(project, *options),
            capture_output=True,
            text=True,
            cwd=project.directory / "handlers",
            timeout=60,
        )

    def test_serves_a_class_of_the_current_directory(self, project: Project) -> None:
        """On everything that is named, by the class's name."""
        options = ["--handler", "hello:Hello", "--listen", "tcp:0:interface=127.0.0.1"]
        daemon = project.run(
            self.command(project, *options, "--listen", "unix:hello.sock"),
            project.directory / "handlers",
        )
        daemon.wait_until_ready()
        assert daemon.ask(b"you", service="Hello") == b"hello you"
        assert (project.directory / "handlers" / "hello.sock").is_socket()
        assert daemon.stop() == 0

    def test_can_be_checked(self, project: Project) -> None:
        """Binds nothing, and says so as of a file."""
        done = self.run(project, "--check", "--handler", "hello:Hello", "--listen", "unix:socket")
        assert (done.returncode, done.stdout) == (0, "--handler: ok (1 services)\n")
        assert not (project.directory / "handlers" / "socket").exists()

    def test_names_the_option_where_a_problem_is(self, project: Project) -> None:
        """Also of what only an import shows."""
        done = self.run(project, "--handler", "hello:Helo", "--listen", "tcp:0")
        assert done.returncode == 78
        assert done.stderr == (
            f'--handler: services.Helo.handler: module "hello" ({project.directory}/handlers/'
            'hello.py) has no "Helo"; did you mean "Hello"?\n'
        )

    def test_says_that_it_must_listen(self, project: Project) -> None:
        """There is no default: nobody guesses who shall reach a service."""
        done = self.run(project, "--handler", "hello:Hello")
        assert done.returncode == 78
        assert done.stderr.startswith("--listen: services.Hello.listen: is required: ")

    def test_is_no_second_configuration(self, project: Project) -> None:
        """Which of the two would be meant is not guessed, either."""
        done = self.run(project, "--config", "netd.toml", "--listen", "tcp:0")
        assert done.returncode == 1
        assert done.stdout.endswith("give --config, or --handler with --listen, but not both\n")


class TestCertificate:
    """What a TLS service presents."""

    @pytest.fixture
    def port(self) -> Iterator[int]:
        with listening(of_blocking(table())) as port:
            yield port

    def test_believed(self, port: int, tmp_path: Path) -> None:
        """The status tells; the text is for people, or for programs."""
        (tmp_path / "ca.pem").write_bytes(authority().cert_pem.bytes())
        options = ["--name", "host.example", "--ca", str(tmp_path / "ca.pem")]
        done = netdctl("certificate", f"127.0.0.1:{port}", *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"^names: +host\.example$", done.stdout, re.MULTILINE)
        facts = netdctl("certificate", f"127.0.0.1:{port}", *options, "--json")
        assert json.loads(facts.stdout)["is_for_name"] is True

    def test_not_believed(self, port: int) -> None:
        """Neither by its issuer nor for the host."""
        done = netdctl("certificate", f"127.0.0.1:{port}")
        assert done.returncode == 1
        assert "it is not trusted: " in done.stderr
        assert "it is not for 127.0.0.1" in done.stderr
        assert "trusted: " in done.stdout

    def test_as_a_file(self, port: int) -> None:
        """In PEM it can be read again, believed or not."""
        done = netdctl("certificate", "--pem", f"127.0.0.1:{port}")
        assert (done.returncode, done.stderr) == (0, "")
        assert certificates(done.stdout.encode())

    def test_nobody(self) -> None:
        """No service, or no address."""
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{bound.getsockname()[1]}"
            done = netdctl("certificate", address)
        assert (done.returncode, done.stderr) == (1, f"{address}: Connection refused\n")
        assert netdctl("certificate", "localhost").returncode == 2
