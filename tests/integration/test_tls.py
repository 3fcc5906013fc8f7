"""TLS before handlers that may wait, and before programs, by every execution."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.integration.daemons import PATIENCE, Project, RunningDaemon, netdctl, read_all
from tests.tls.authorities import authority, issued

HANDLERS = """
    import json, os, socket, socketserver, ssl, threading
    from netd.handlers import start_tls

    class Facts(socketserver.StreamRequestHandler):
        def handle(self):
            word = self.rfile.readline().strip()
            if word == b"hold":
                self.wfile.write(b"holding\\n")
                self.rfile.read()
                return
            if word == b"rest":
                self.wfile.write(b"%d\\n" % len(self.rfile.read()))
                return
            if word == b"unwrap":
                plain = self.request.unwrap()
                plain.sendall(b"plain\\n")
                plain.recv(1)
                return
            if word == b"read":
                self.wfile.write(b"go on\\n")
                try:
                    data = self.request.recv(100)
                except ssl.SSLError as error:
                    print("read raised", error.reason)
                    raise
                print("read", data)
                return
            facts = {
                "is a socket": isinstance(self.request, socket.socket),
                "is of ssl": isinstance(self.request, ssl.SSLSocket),
                "cipher": self.request.cipher(),
                "version": self.request.version(),
                "certificate": self.request.getpeercert(),
                "der": len(self.request.getpeercert(True) or b""),
                "alpn": self.request.selected_alpn_protocol(),
                "timeout": self.request.gettimeout(),
                "client": self.client_address,
                "server": self.server.server_address,
                "pid": os.getpid(),
            }
            self.wfile.write(json.dumps(facts).encode() + b"\\n")

    class Starting(socketserver.StreamRequestHandler):
        def handle(self):
            self.rfile.readline()
            self.wfile.write(b"begin\\n")
            start_tls(self)
            self.wfile.write(b"%s %s" % (self.request.version().encode(), self.rfile.readline()))

    class Accepting(socketserver.TCPServer):
        def get_request(self):
            request, address = super().get_request()
            print("accepted", request.version())
            return request, address

    class OwnTls(socketserver.ForkingMixIn, socketserver.TCPServer):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(os.path.dirname(__file__) + "/../server.pem")
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def verify(request, address):
        return request.version() == "TLSv1.3"
"""

CONFIGURATION = """
[defaults.tls]
certificate = "server.pem"

[services.threads]
handler = "handlers:Facts"
listen = ["tls:0:interface=127.0.0.1", "unix:stream:tls=yes"]

[services.threads.tls]
alpn = ["one", "two"]
handshake_timeout = "20s"

[services.threads.tls.sni."other.example"]
certificate = "other.pem"

[services.processes]
handler = "handlers:Facts"
listen = ["tls:0:interface=127.0.0.1"]
concurrency = "process"
processes = 3

[services.forks]
handler = "handlers:Facts"
listen = ["tls:0:interface=127.0.0.1"]
concurrency = "process"
max_requests = 1

[services.server]
server = "handlers:Accepting"
handler = "handlers:Facts"
listen = ["tls:0:interface=127.0.0.1"]

[services.verified]
handler = "handlers:Facts"
listen = ["tls:0:interface=127.0.0.1"]
access = {verify_request = "handlers:verify"}

[services.program]
program = ["/bin/sh", "-c", "read line; env; cat; echo end of $line"]
listen = ["tls:0:interface=127.0.0.1"]

[services.required]
handler = "handlers:Facts"
listen = ["tls:0:interface=127.0.0.1"]
tls = {client_certificate = "required", client_ca = "ca.pem"}
access = {allow = ["certificate:good.example"]}

[services.optional]
program = ["/usr/bin/env"]
listen = ["tls:0:interface=127.0.0.1"]
tls = {client_certificate = "optional", client_ca = "ca.pem"}

[services.ragged]
handler = "handlers:Facts"
listen = ["tls:0:interface=127.0.0.1"]
tls = {suppress_ragged_eofs = false}

[services.short]
handler = "handlers:Facts"
listen = ["tls:0:interface=127.0.0.1"]
tls = {handshake_timeout = "300ms"}

[services.short-processes]
handler = "handlers:Facts"
listen = ["tls:0:interface=127.0.0.1"]
concurrency = "process"
tls = {handshake_timeout = "300ms"}

[services.own]
server = "handlers:OwnTls"
handler = "handlers:Facts"
listen = ["tcp:0:interface=127.0.0.1"]
max_requests = 1
tls = {certificate = "server.pem"}

[services.starttls]
handler = "handlers:Starting"
listen = ["tcp:0:interface=127.0.0.1"]
"""

EVERY: Final = ("threads", "processes", "forks", "server", "verified")


class Served:
    """The daemon that the tests of this module share."""

    def __init__(self, daemon: RunningDaemon, directory: Path) -> None:
        self.daemon = daemon
        self.directory = directory
        self._addresses = {
            match[1]: (match[2], int(match[3]))
            for match in (
                re.search(r"(\S+) listens on (?:tls|tcp) (\S+):(\d+)", line)
                for line in daemon.log.lines
            )
            if match
        }

    def connect(self, service: str) -> socket.socket:
        return socket.create_connection(self._addresses[service], PATIENCE)

    def tls(self, service: str, context: ssl.SSLContext | None = None, **keywords: Any) -> Any:
        """A connection after its handshake, or what became of it."""
        return wrapped(self.connect(service), context, **keywords)

    def ask(self, service: str, text: bytes = b"facts\n", **keywords: Any) -> bytes:
        with self.tls(service, **keywords) as connection:
            connection.sendall(text)
            return read_all(connection)

    def facts(self, service: str, **keywords: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask(service, **keywords))
        return found


def wrapped(
    connection: socket.socket, context: ssl.SSLContext | None = None, name: str = "host.example"
) -> ssl.SSLSocket:
    context = context or client_context()
    return context.wrap_socket(connection, server_hostname=name, suppress_ragged_eofs=False)


def rest_after_end(connection: ssl.SSLSocket) -> bytes:
    """End the client's stream, as TLS has it, and return all that comes back after that."""
    connection.settimeout(0.0)
    with suppress(ssl.SSLWantReadError):
        connection.unwrap()
    connection.settimeout(PATIENCE)
    parts = []
    # Which Python calls an error where both sides have said that they have ended.
    with suppress(ssl.SSLZeroReturnError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def client_context(certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


@contextmanager
def daemon(text: str = CONFIGURATION) -> Iterator[tuple[Project, RunningDaemon]]:
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    project = Project(directory)
    project.handlers(HANDLERS)
    issued("host.example").private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    issued("other.example").private_key_and_cert_chain_pem.write_to_path(directory / "other.pem")
    authority().cert_pem.write_to_path(directory / "ca.pem")
    project.configure(text)
    try:
        yield project, project.start()
    finally:
        project.clean_up()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with daemon() as (project, running):
        yield Served(running, project.directory)


@pytest.mark.parametrize("service", EVERY)
class TestEveryExecution:
    def test_handler_gets_a_socket_of_ssls(self, served: Served, service: str) -> None:
        """With all that ssl says of a connection, as if the handler had made it."""
        facts = served.facts(service)
        assert facts["is a socket"]
        assert facts["is of ssl"]
        assert facts["version"] == "TLSv1.3"
        assert facts["cipher"][0].startswith("TLS_")
        assert facts["timeout"] is None
        assert facts["server"] == list(served._addresses[service])

    def test_end_is_said(self, served: Served, service: str) -> None:
        """The client can tell the end from a cut: its TLS raises for that."""
        assert served.ask(service).endswith(b"\n")

    def test_client_ends_first(self, served: Served, service: str) -> None:
        """All that comes before the client's end is there, and is answered."""
        with served.tls(service) as connection:
            connection.sendall(b"rest\n" + b"x" * 100_000)
            assert rest_after_end(connection) == b"100000\n"

    def test_unwrap(self, served: Served, service: str) -> None:
        """A handler that ends TLS goes on in the clear."""
        with served.tls(service) as connection:
            connection.sendall(b"unwrap\n")
            with closing(connection.unwrap()) as plain:
                assert plain.recv(100) == b"plain\n"

    def test_silent_clients_are_no_trouble(self, served: Served, service: str) -> None:
        """However many say nothing, or half a word, the next one is served."""
        with ExitStack() as silent:
            for number in range(60):
                connection = silent.enter_context(served.connect(service))
                if number % 2:
                    connection.sendall(b"\x16\x03\x01")
            with ThreadPoolExecutor(4) as clients:
                assert all(clients.map(served.facts, [service] * 8))

    def test_what_is_no_handshake(self, served: Served, service: str) -> None:
        """Never reaches the handler; the log says why."""
        with served.connect(service) as connection, suppress(ConnectionError):
            port = connection.getsockname()[1]
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            read_all(connection)
        line = served.daemon.log.wait(
            rf"{service}#info.*:{port} tls refused: handshake, \w+"
        ).string
        assert "http request" in line


class TestTransports:
    def test_unix(self, served: Served) -> None:
        """A Unix stream with tls=yes."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(served.directory / "stream"))
        with wrapped(connection) as tls:
            tls.sendall(b"facts\n")
            assert json.loads(read_all(tls))["version"] == "TLSv1.3"

    def test_alpn(self, served: Served) -> None:
        context = client_context()
        context.set_alpn_protocols(["two", "three"])
        assert served.facts("threads", context=context)["alpn"] == "two"

    def test_server_name(self, served: Served) -> None:
        """Each name has its certificate, and an unknown one the service's own."""
        assert served.facts("threads", name="other.example")
        with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.example"):
            served.tls("processes", name="other.example")

    def test_openssl(self, served: Served) -> None:
        """``openssl s_client``, for both versions; nothing older."""
        host, port = served._addresses["threads"]
        for version, agreed in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3"), ("-tls1_1", None)):
            answer = subprocess.run(
                ["openssl", "s_client", "-connect", f"{host}:{port}", "-quiet", "-brief", version],
                input="facts\n",
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            if agreed is None:
                assert answer.stdout == ""
            else:
                assert json.loads(answer.stdout)["version"] == agreed

    def test_get_request(self, served: Served) -> None:
        """An override accepts a connection whose handshake is over."""
        served.facts("server")
        served.daemon.log.wait(r"\[server#info\] accepted TLSv1.3")

    def test_a_fork_that_does_its_own_handshake(self, served: Served) -> None:
        """A silent client keeps one fork waiting, and nobody else."""
        with served.connect("own"):
            assert served.facts("own")["is of ssl"]

    def test_verify_request(self, served: Served) -> None:
        """It is asked after the handshake, with what ssl makes of the connection."""
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with served.tls("verified", context) as connection, suppress(OSError):
            assert read_all(connection) == b""
        served.daemon.log.wait(r"\[verified#info\] .* refused: verify_request")


class TestPrograms:
    def test_sees_nothing_of_tls(self, served: Served) -> None:
        """Its input is what the client says, and its environment names the connection."""
        with served.tls("program") as connection:
            connection.sendall(b"word\n" + b"x" * 300_000)
            answer = rest_after_end(connection).decode()
        assert answer.endswith("x" * 300_000 + "end of word\n")
        for line in ("SSL_PROTOCOL=TLSv1.3", "SSL_TLS_SNI=host.example", "PROTO=TCP"):
            assert f"{line}\n" in answer
        served.daemon.log.wait(
            r"\[program#info\] .* tls served \(pid \d+\) .* in=3\d{5} out=3\d{5}"
        )

    def test_client_goes(self, served: Served) -> None:
        """The program gets an end."""
        served.tls("program").close()
        served.daemon.log.wait(r"\[program#info\] .* tls (served|ended).* in=\d{3} ")

    def test_certificate(self, served: Served) -> None:
        """What it says is in the environment, if there is one."""
        context = client_context(issued("good.example"))
        with served.tls("optional", context) as connection:
            answer = read_all(connection).decode()
        assert "SSL_CLIENT_SAN_DNS_0=good.example\n" in answer
        assert "SSL_CLIENT_VERIFY=SUCCESS\n" in answer
        with served.tls("optional") as connection:
            assert "SSL_CLIENT_VERIFY=NONE\n" in read_all(connection).decode()


class TestClientCertificates:
    def test_good_one(self, served: Served) -> None:
        """The handler sees it as ssl shows it."""
        facts = served.facts("required", context=client_context(issued("good.example")))
        assert ["DNS", "good.example"] in facts["certificate"]["subjectAltName"]
        assert facts["der"] > 100

    def test_not_allowed(self, served: Served) -> None:
        """One that is verified, and that no entry is about."""
        self._is_refused(served, issued("bad.example"), "not-allowed")

    def test_none(self, served: Served) -> None:
        self._is_refused(served, None, "handshake, peer did not return a certificate")

    def test_of_another_authority(self, served: Served) -> None:
        certificate = issued("good.example", by="somebody else")
        self._is_refused(served, certificate, "handshake, (unable to get|self.signed)")

    def test_expired(self, served: Served) -> None:
        certificate = issued("good.example", days=-1)
        self._is_refused(served, certificate, "handshake, certificate has expired")

    def _is_refused(
        self, served: Served, certificate: trustme.LeafCert | None, reason: str
    ) -> None:
        """The handler never runs."""
        port = 0
        with suppress(OSError), served.connect("required") as plain:
            port = plain.getsockname()[1]
            with wrapped(plain, client_context(certificate)) as connection:
                connection.sendall(b"facts\n")
                assert read_all(connection) == b""
        served.daemon.log.wait(rf"\[required#info\] \S+:{port} tls refused: {reason}")


class TestEnds:
    @pytest.mark.parametrize(
        ("service", "said"),
        [("threads", r"read b''"), ("ragged", r"read raised UNEXPECTED_EOF_WHILE_READING")],
    )
    def test_cut(self, served: Served, service: str, said: str) -> None:
        """A stream that is cut off is an end, or an error; it is counted as what it is."""
        with served.connect(service) as plain:
            port = plain.getsockname()[1]
            with wrapped(plain) as connection:
                connection.sendall(b"read\n")
                assert connection.recv(100) == b"go on\n"
                socket.socket.shutdown(connection, socket.SHUT_WR)
                with suppress(OSError):
                    read_all(connection)
        served.daemon.log.wait(rf"\[{service}#info\] {said}")
        served.daemon.log.wait(rf"\[{service}#info\] \S+:{port} tls (served|failed): truncated")

    @pytest.mark.parametrize("service", ["short", "short-processes"])
    @pytest.mark.parametrize("words", [b"", b"\x16\x03\x01\x02"])
    def test_deadline(self, served: Served, service: str, words: bytes) -> None:
        """Who has not come to the end of his handshake in time is turned away."""
        with served.connect(service) as connection:
            connection.sendall(words)
            assert connection.recv(1) == b""
            port = connection.getsockname()[1]
        served.daemon.log.wait(rf"\[{service}#info\] \S+:{port} tls refused: handshake_timeout")

    def test_a_handler_has_longer(self, served: Served) -> None:
        """The deadline is lifted when the handshake is over."""
        with served.tls("short") as connection:
            threading.Event().wait(0.4)
            connection.sendall(b"facts\n")
            assert read_all(connection)


class TestStartTls:
    def test_on_a_running_connection(self, served: Served) -> None:
        with served.connect("starttls") as plain:
            plain.sendall(b"STARTTLS\n")
            assert plain.recv(100) == b"begin\n"
            with wrapped(plain) as connection:
                connection.sendall(b"secret\n")
                assert read_all(connection) == b"TLSv1.3 secret\n"

    def test_nothing_is_carried_over(self, served: Served) -> None:
        """What a man in the middle has put behind the word is not taken for what came by TLS."""
        with served.connect("starttls") as plain:
            plain.sendall(b"STARTTLS\nforged\n")
            assert plain.recv(100) == b"begin\n"
            with wrapped(plain) as connection:
                connection.sendall(b"secret\n")
                assert read_all(connection) == b"TLSv1.3 secret\n"


class TestCrowd:
    """``limits.handshakes`` is a bound of the service, however many processes it has."""

    TEXT = """
        [defaults]
        processes = 2
        listen = ["tls:0:interface=127.0.0.1"]
        limits = {handshakes = 4}
        tls = {certificate = "server.pem"}

        [services.thread]
        handler = "handlers:Facts"

        [services.reactor]
        handler = "echo"

        [services.process]
        handler = "handlers:Facts"
        concurrency = "process"
    """

    @pytest.mark.parametrize("service", ["thread", "reactor", "process"])
    def test_bound_is_of_the_service(self, service: str) -> None:
        with daemon(self.TEXT) as (project, running), ExitStack() as undo:
            served = Served(running, project.directory)
            silent = [undo.enter_context(served.connect(service)) for _ in range(40)]
            running.log.wait(rf"\[{service}#info\] .* refused: handshakes", len(silent) - 4)


class TestReload:
    TEXT = """
        [services.s]
        handler = "handlers:Facts"
        listen = ["tls:0:interface=127.0.0.1"]
        tls = {certificate = "server.pem"}
        [services.p]
        handler = "handlers:Facts"
        listen = ["tls:0:interface=127.0.0.1"]
        tls = {certificate = "server.pem"}
        concurrency = "process"
        processes = 2

        [admin]
        socket = "admin.sock"
    """

    @pytest.mark.long
    def test_new_certificates(self) -> None:
        """Once ``reload`` has returned it is all that is served; nobody is lost meanwhile."""
        with daemon(self.TEXT) as (project, running):
            served = Served(running, project.directory)
            with _asking(served, "s", "p") as failures:
                for number in range(6):
                    leaf = issued("host.example", f"new{number}.example")
                    pem = project.directory / "server.pem"
                    leaf.private_key_and_cert_chain_pem.write_to_path(pem)
                    netdctl("--socket", str(project.directory / "admin.sock"), "reload")
                    for service in ("s", "p") * 3:
                        assert _shows(served, service, number)
            assert failures == []

    def test_a_bad_one_changes_nothing(self) -> None:
        """It is named, and the old one is served."""
        with daemon(self.TEXT) as (project, running):
            served = Served(running, project.directory)
            (project.directory / "server.pem").write_text("nonsense")
            running.signal(1)
            running.log.wait(r"services\.s\.tls\.certificate: .*server\.pem")
            assert served.facts("s")


def _shows(served: Served, service: str, number: int) -> bool:
    with served.tls(service) as connection:
        names = connection.getpeercert()["subjectAltName"]
        connection.sendall(b"facts\n")
        read_all(connection)
    return ("DNS", f"new{number}.example") in names


@contextmanager
def _asking(served: Served, *services: str) -> Iterator[list[str]]:
    """Have clients ask *services* without a pause; what has failed."""
    failures: list[str] = []
    over = threading.Event()

    def go_on_asking(service: str) -> None:
        while not over.is_set():
            try:
                served.facts(service)
            except (OSError, ValueError) as error:
                failures.append(f"{service}: {error!r}")

    with ThreadPoolExecutor(2 * len(services)) as clients:
        for service in services * 2:
            clients.submit(go_on_asking, service)
        try:
            yield failures
        finally:
            over.set()


def test_worker_of_another_user_reads_no_key(project: Project) -> None:
    """The daemon reads the files, so the worker's user need not be able to."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    project.handlers(HANDLERS)
    pem = project.directory / "server.pem"
    issued("host.example").private_key_and_cert_chain_pem.write_to_path(pem)
    pem.chmod(0o600)
    project.configure("""
        [services.s]
        handler = "handlers:Facts"
        listen = ["tls:0:interface=127.0.0.1"]
        tls = {certificate = "server.pem"}
        user = "nobody"
    """)
    served = Served(project.start(), project.directory)
    assert served.facts("s")["version"] == "TLSv1.3"
