"""The main job: the classic time server, from the shipped configuration."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.daemons import PATIENCE, Project, datagram_client, netdctl, read_all

CONF = Path(__file__).parents[2] / "conf"


def is_time(reply: bytes) -> bool:
    """Whether *reply* is what ``time.ctime()`` said a moment ago, and CRLF."""
    assert reply.endswith(b"\r\n"), reply
    said = time.mktime(time.strptime(reply.decode().strip()))
    return abs(time.time() - said) < 60


def over_tls(trusted: Path) -> bytes:
    """What ``openssl s_client`` is told by the service, whose certificate is *trusted*."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    options = ["-quiet", "-verify_return_error", "-verify_hostname", "localhost"]
    trust = ["-CAfile", str(trusted), "-connect", "127.0.0.1:10443"]
    done = subprocess.run(
        [openssl, "s_client", *options, *trust], input=b"", capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestShippedConfiguration:
    def test_answers_on_every_transport_at_once(self, project: Project) -> None:
        """One handler answers by TCP, UDP, a Unix stream, Unix datagrams and TLS."""
        shutil.copytree(CONF, project.directory / "conf")
        project.file = project.directory / "conf" / "netd.toml"
        daemon = project.start()
        assert is_time(daemon.ask())
        with datagram_client(socket.AF_INET, ("127.0.0.1", 10037)) as client:
            client.send(b"what time is it?")
            assert is_time(client.recv(100))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(project.directory / "run" / "time"))
            assert is_time(read_all(client))
        path = str(project.directory / "run" / "time.dgram")
        with datagram_client(socket.AF_UNIX, path, bind=b"\0netd-time-client") as client:
            client.send(b"?")
            assert is_time(client.recv(100))
        assert is_time(over_tls(project.directory / "run" / "time.pem"))
        assert daemon.stop() == 0
        daemon.log.wait("stopped: 5 served, 0 refused, 0 failed, 0 dropped")

    def test_is_found_without_being_named(self, project: Project) -> None:
        """In a directory with conf/netd.toml, ``twistd -n netd`` needs no option."""
        shutil.copytree(CONF, project.directory / "conf")
        command = [*project.command()[:-2], "--check"]
        done = subprocess.run(command, cwd=project.directory, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "conf/netd.toml: ok (1 services)\n")

    def test_passes_its_own_check(self) -> None:
        """What is shipped has no problem."""
        done = netdctl("check", str(CONF / "netd.toml"))
        assert (done.returncode, done.stderr) == (0, "")
