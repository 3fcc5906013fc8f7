"""TLS connections that netd ends while a filter, a handler or a program still uses them."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator

import pytest

from tests.integration.administered import Administered, Conversation
from tests.integration.conftest import administered_in
from tests.integration.daemons import until
from tests.tls.authorities import authority, issued

SECRET = b"secret"

HANDLERS = """
    import os, ssl, threading
    from socketserver import StreamRequestHandler, ThreadingTCPServer
    from netd.handlers import start_tls

    def overruns(request, address):
        request.recv(1)
        threading.Event().wait(0.6)
        try:
            request.sendall(b"answer")
            print("filter sent")
        except OSError:
            print("filter could not send")
        data = b""
        try:
            while part := request.recv(4096):
                data += part
        except (OSError, ValueError):
            pass
        print("filter read", ascii(data))
        return True

    class Waiting(StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"go\\n")
            self.rfile.read()

    class Starting(StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"begin\\n")
            start_tls(self)
            self.wfile.write(b"go\\n")
            self.rfile.read()

    class OwnTls(ThreadingTCPServer):
        def process_request(self, request, client_address):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(os.path.dirname(__file__) + "/../server.pem")
            super().process_request(context.wrap_socket(request, server_side=True), client_address)
"""

CONFIGURATION = """
[defaults]
tls = {certificate = "server.pem"}
access = {verify_timeout = "200ms"}

[services.filter-thread]
handler = "handlers:Waiting"
listen = ["tls:0:interface=127.0.0.1"]
access = {verify_request = "handlers:overruns"}

[services.filter-process]
handler = "handlers:Waiting"
listen = ["tls:0:interface=127.0.0.1"]
concurrency = "process"
access = {verify_request = "handlers:overruns"}

[services.tls]
handler = "handlers:Waiting"
listen = ["tls:0:interface=127.0.0.1"]

[services.tls-deadline]
handler = "handlers:Waiting"
listen = ["tls:0:interface=127.0.0.1"]
handler_timeout = "300ms"

[services.starttls]
handler = "handlers:Starting"
listen = ["tcp:0:interface=127.0.0.1"]

[services.starttls-deadline]
handler = "handlers:Starting"
listen = ["tcp:0:interface=127.0.0.1"]
handler_timeout = "300ms"

[services.own]
server = "handlers:OwnTls"
handler = "handlers:Waiting"
listen = ["tcp:0:interface=127.0.0.1"]

[services.own-deadline]
server = "handlers:OwnTls"
handler = "handlers:Waiting"
listen = ["tcp:0:interface=127.0.0.1"]
handler_timeout = "300ms"

[services.program]
program = ["PYTHON", "full.py"]
socket = {SO_SNDBUF = 8192}
listen = ["tls:0:interface=127.0.0.1"]

[services.program-deadline]
program = ["PYTHON", "full.py"]
socket = {SO_SNDBUF = 8192}
listen = ["tls:0:interface=127.0.0.1"]
handler_timeout = "3s"
"""

FULL = """
import os, select, sys, time
os.set_blocking(1, False)
while select.select([], [1], [], 0.3)[1]:
    os.write(1, bytes(65536))
os.write(2, b"full\\n")
time.sleep(3600)
"""
"""A program that writes until nothing more is taken of it, says so, and stays."""


@pytest.fixture(scope="module")
def site() -> Iterator[Administered]:
    with administered_in() as site:
        site.project.handlers(HANDLERS)
        pem = issued("host.example").private_key_and_cert_chain_pem
        pem.write_to_path(site.directory / "server.pem")
        full = site.directory / "full.py"
        full.write_text(FULL)
        program = CONFIGURATION.replace("PYTHON", sys.executable).replace("full.py", str(full))
        site.start(program)
        yield site


def begun(site: Administered, service: str) -> Conversation:
    """A conversation whose TLS handshake is done, and whose handler waits; the caller closes it."""
    client = Conversation(site.address(service))
    client.socket.settimeout(10)
    if service.startswith("starttls"):
        assert client.hear() == b"begin"
    context = ssl.create_default_context()
    authority().configure_trust(context)
    client.socket = context.wrap_socket(client.socket, server_hostname="host.example")
    return client


def ids(site: Administered, service: str) -> list[str]:
    found = site.client.see("connections", service=service).values
    return [one["id"] for one in found]


@pytest.mark.parametrize("service", ["filter-thread", "filter-process"])
def test_filter_that_overruns_its_deadline(site: Administered, service: str) -> None:
    """What the filter reads after that is what the client said, or nothing; never ciphertext."""
    with begun(site, service) as client:
        client.socket.sendall(b"x")
        client.socket.sendall(SECRET)
        assert client.has_ended()
        log = site.daemon.log
        said = log.wait(rf"\[{service}#info\] filter read (.*)").group(1)
        assert said in (ascii(SECRET), ascii(b""))
        assert log.matching(rf"\[{service}#info\] filter could not send")
        log.wait(rf"\[{service}#info\] \S+ tls refused: verify_timeout")


@pytest.mark.parametrize("service", ["tls", "starttls", "own"])
def test_disconnect(site: Administered, service: str) -> None:
    with begun(site, service) as client:
        assert client.hear() == b"go"
        (connection,) = ids(site, service)
        assert site.client.do("disconnect", id=connection).ok
        assert client.has_ended()
        until(lambda: not ids(site, service), "the handler has come back")


@pytest.mark.parametrize("service", ["tls-deadline", "starttls-deadline", "own-deadline"])
def test_handler_timeout(site: Administered, service: str) -> None:
    with begun(site, service) as client:
        assert client.hear() == b"go"
        assert client.has_ended()
        site.daemon.log.wait(rf"\[{service}#error\] .* run for more than 0.3 s")


def test_disconnect_during_starttls(site: Administered) -> None:
    """The handler, which waits for the client's handshake, does not go on with that client."""
    with Conversation(site.address("starttls")) as client:
        client.socket.settimeout(5)  # less than the handshake may take
        assert client.hear() == b"begin"
        (connection,) = ids(site, "starttls")
        assert site.client.do("disconnect", id=connection).ok
        assert client.has_ended()


@pytest.mark.long
@pytest.mark.parametrize("service", ["program", "program-deadline"])
def test_program_whose_client_takes_nothing(site: Administered, service: str) -> None:
    """The program's end is the connection's end, although there is something left to be sent."""
    with begun(site, service):
        site.daemon.log.wait(rf"\[{service}#warn\] \S+ full")
        if service == "program":
            (connection,) = ids(site, service)
            assert site.client.do("disconnect", id=connection).ok
        site.daemon.log.wait(rf"\[{service}#info\] \S+ tls ended with ", patience=10)
        until(lambda: not ids(site, service), "the thread is free again", patience=10)
