"""netdctl disconnect, whatever serves the connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.administered import Administered
from tests.integration.conftest import administered_in
from tests.integration.daemons import netdctl, until

HANDLERS = """
    from socketserver import ForkingTCPServer, StreamRequestHandler
    from twisted.internet.protocol import Protocol

    class Echo(StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line)

    class Hooked(ForkingTCPServer):
        def process_request(self, request, client_address):
            super().process_request(request, client_address)

    class ReactorEcho(Protocol):
        def dataReceived(self, data):
            self.transport.write(data)
"""

TCP = 'listen = ["tcp:0:interface=127.0.0.1"]\n'

SERVICES = {
    "threads": 'handler = "handlers:Echo"\n',
    "processes": 'handler = "handlers:Echo"\nconcurrency = "process"\n',
    "forks": 'server = "handlers:Hooked"\nhandler = "handlers:Echo"\nmax_requests = 1\n',
    "reactor": 'protocol = "handlers:ReactorEcho"\n',
    "asynchronous": 'handler = "echo"\n',
    "program": 'program = ["cat"]\n',
}


@pytest.fixture(scope="module")
def site() -> Iterator[Administered]:
    """A daemon with a service of each kind."""
    with administered_in() as site:
        site.project.handlers(HANDLERS)
        tables = [f"[services.{name}]\n{TCP}{keys}" for name, keys in SERVICES.items()]
        site.start("".join(tables))
        yield site


def ids(site: Administered, name: str) -> dict[str, str]:
    """The connections of a service, by client."""
    found = site.client.see("connections", service=name).values
    return {one["client"]: one["id"] for one in found}


@pytest.mark.parametrize("name", SERVICES)
def test_only_that_one(site: Administered, name: str) -> None:
    """The client has the end of it, and another one does not notice."""
    with site.talk(name) as ended, site.talk(name) as other:
        for client in (ended, other):
            assert client.ask(b"hello") == b"hello"
        host, port = ended.socket.getsockname()
        until(lambda: len(ids(site, name)) == 2, "both are listed")
        connection = ids(site, name)[f"{host}:{port}"]
        reply = site.client.do("disconnect", id=connection)
        assert reply.ok, reply.values
        assert ended.has_ended()
        assert other.ask(b"hello") == b"hello"
        assert connection not in ids(site, name).values()
        site.daemon.log.wait(f"{host}:{port}.*: disconnected by an administrator")
    # Whoever has its place since is not meant.
    with site.talk(name) as later:
        assert later.ask(b"hello") == b"hello"
        reply = site.client.do("disconnect", id=connection)
        assert reply.problems == [f"there is no connection {connection}"]
        assert later.ask(b"hello") == b"hello"


def test_netdctl(site: Administered) -> None:
    """By the first word of a line of ``connections``."""
    with site.talk("threads") as client:
        assert client.ask(b"hello") == b"hello"
        until(lambda: len(ids(site, "threads")) == 1, "the others have left")
        command = ["--socket", str(site.admin_socket)]
        connection = netdctl(*command, "connections", "threads").stdout.split()[0]
        done = netdctl(*command, "disconnect", connection)
        assert (done.returncode, done.stdout) == (0, f"{connection}: disconnected\n")
        assert client.has_ended()
        done = netdctl(*command, "disconnect", connection)
        assert (done.returncode, done.stderr) == (1, f"there is no connection {connection}\n")


def test_of_a_generation_on_its_way_out(site: Administered) -> None:
    """It may be the one that the reload waits for."""
    with site.talk("threads") as client:
        assert client.ask(b"hello") == b"hello"
        text = Path(site.project.file).read_text()
        site.project.file.write_text(
            text.replace("[services.threads]\n", "[services.threads]\nthreads = 7\n")
        )
        site.reload_well()
        (connection,) = ids(site, "threads").values()
        assert site.client.do("disconnect", id=connection).ok
        assert client.has_ended()
        until(lambda: not site.status()["draining"], "it has left")
