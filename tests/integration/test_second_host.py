"""What only shows with a second host: interfaces, groups, broadcasts and several addresses.

The daemon runs in one network namespace and its clients in another, with a link between them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.daemons import PATIENCE, Project, RunningDaemon

HANDLERS: Final = """
    import socket
    from socketserver import BaseRequestHandler

    class Who(BaseRequestHandler):
        def handle(self):
            answer = self.client_address[0].encode()
            if isinstance(self.request, socket.socket):
                self.request.sendall(answer)
            else:
                self.request[1].sendto(answer, self.client_address)
"""

SERVICES: Final = """
[services.link]
listen = ["tcp:7001", "udp:7001"]
handler = "handlers:Who"
socket = {SO_BINDTODEVICE = "here"}

[services.loopback]
listen = ["tcp:7001", "udp:7001"]
handler = "handlers:Who"
socket = {SO_BINDTODEVICE = "lo"}
access = {deny = ["10.77.0.0/24"]}

[services.groups]
listen = ["udp:7002", "udp6:7002"]
handler = "handlers:Who"

[services.groups.socket]
IP_ADD_MEMBERSHIP = ["239.77.0.1@here", "239.77.0.2@10.77.0.1"]
IPV6_JOIN_GROUP = "ff15::77@here"

[services.everywhere]
listen = ["udp:7003", "udp6:7004", "tcp6:7004"]
handler = "handlers:Who"
socket = {IPV6_V6ONLY = false, SO_BROADCAST = true}

[services.reactor]
listen = ["udp:7005", "udp6:7005"]
handler = "echo"
"""

CLIENT: Final = """
import json, socket, sys
kind, host, port = json.loads(sys.argv[1])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, getattr(socket, kind)) as client:
    client.settimeout(2)
    try:
        if kind == "SOCK_STREAM":
            client.connect((host, port))
            print(json.dumps([client.recv(100).decode(), host]))
        else:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.sendto(b"who", (host, port))
            data, address = client.recvfrom(100)
            print(json.dumps([data.decode(), address[0].partition("%")[0]]))
    except OSError as error:
        print(json.dumps(type(error).__name__))
"""
"""Prints what is answered, and from which address; or the error."""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="only root makes network namespaces"
)

OURS, THEIRS = f"netd-here-{os.getpid()}", f"netd-there-{os.getpid()}"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=PATIENCE)


def make_link(stack: ExitStack) -> None:
    """Two namespaces with a link; the near end has two addresses of each family."""
    for name in (OURS, THEIRS):
        ip("netns", "add", name)
        stack.callback(ip, "netns", "del", name)
    ip("link", "add", "here", "netns", OURS, "type", "veth", "peer", "there", "netns", THEIRS)
    for name, end, addresses in (
        (OURS, "here", ("10.77.0.1/24", "10.77.0.7/24", "fd77::1/64", "fd77::7/64")),
        (THEIRS, "there", ("10.77.0.2/24", "fd77::2/64")),
    ):
        for address in addresses:
            more = ("nodad",) if ":" in address else ("broadcast", "10.77.0.255")
            ip("-n", name, "address", "add", address, *more, "dev", end)
        for device in ("lo", end):
            ip("-n", name, "link", "set", device, "up")
    ip("-n", THEIRS, "route", "add", "multicast", "239.0.0.0/8", "dev", "there")


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    project = Project(directory)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        try:
            make_link(stack)
        except (subprocess.CalledProcessError, OSError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        stack.callback(project.clean_up)
        project.handlers(HANDLERS)
        project.configure(SERVICES)
        yield project.start(under=["ip", "netns", "exec", OURS])


def ask(kind: str, host: str, port: int, namespace: str = THEIRS) -> Any:
    """Ask a service from the second host: its answer, and the address that it came from."""
    what = json.dumps([f"SOCK_{kind}", host, port])
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", CLIENT, what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return json.loads(done.stdout)


class TestInterfaces:
    @pytest.mark.sweep
    @pytest.mark.parametrize("kind", ["STREAM", "DGRAM"])
    def test_each_has_its_service(self, daemon: RunningDaemon, kind: str) -> None:
        """On one port: who comes by the link gets the one, who is here the other."""
        assert ask(kind, "10.77.0.1", 7001) == ["10.77.0.2", "10.77.0.1"]
        assert ask(kind, "127.0.0.1", 7001, OURS) == ["127.0.0.1", "127.0.0.1"]
        daemon.log.wait(r"\[link#info\] 10\.77\.0\.2:")
        daemon.log.wait(r"\[loopback#info\] 127\.0\.0\.1:")


class TestGroups:
    @pytest.mark.parametrize(
        ("group", "client", "answers"),
        [
            ("239.77.0.1", "10.77.0.2", "10.77.0.1"),
            ("239.77.0.2", "10.77.0.2", "10.77.0.1"),
            ("ff15::77", "fd77::2", "fd77::"),
        ],
    )
    def test_members_hear(
        self, daemon: RunningDaemon, group: str, client: str, answers: str
    ) -> None:
        """What is sent to a group; and they answer from an address of their own."""
        name, address = ask("DGRAM", group, 7002)
        assert (name, address.startswith(answers)) == (client, True)

    def test_others_do_not(self, daemon: RunningDaemon) -> None:
        assert ask("DGRAM", "239.77.0.9", 7002) == "TimeoutError"


class TestAddresses:
    @pytest.mark.parametrize("host", ["10.77.0.1", "10.77.0.7"])
    @pytest.mark.parametrize("port", [7003, 7004])
    def test_of_ipv4(self, daemon: RunningDaemon, host: str, port: int) -> None:
        """An answer leaves from where it was asked for, also by a socket of both families."""
        mapped = "::ffff:" if port == 7004 else ""
        assert ask("DGRAM", host, port)[0] == f"{mapped}10.77.0.2"
        assert ask("DGRAM", host, port)[1] == host

    @pytest.mark.parametrize("host", ["fd77::1", "fd77::7"])
    @pytest.mark.parametrize("port", [7004, 7005])
    def test_of_ipv6(self, daemon: RunningDaemon, host: str, port: int) -> None:
        assert ask("DGRAM", host, port)[1] == host

    @pytest.mark.parametrize("host", ["10.77.0.1", "10.77.0.7"])
    def test_by_the_reactor(self, daemon: RunningDaemon, host: str) -> None:
        assert ask("DGRAM", host, 7005) == ["who", host]

    def test_both_families_by_one_listener(self, daemon: RunningDaemon) -> None:
        assert ask("STREAM", "10.77.0.7", 7004)[0] == "::ffff:10.77.0.2"
        assert ask("STREAM", "fd77::7", 7004)[0] == "fd77::2"

    def test_a_broadcast(self, daemon: RunningDaemon) -> None:
        """Is answered from the address of the interface."""
        assert ask("DGRAM", "10.77.0.255", 7003) == ["10.77.0.2", "10.77.0.1"]
