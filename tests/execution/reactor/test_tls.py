"""TLS by the reactor: a real one in a process of its own, and clients of the standard library's."""

from __future__ import annotations

import json
import select
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from netd.execution.reactor.tls import LINGER
from tests.execution.reactor.hosts import PATIENCE, Host, hosting, read_all, reset
from tests.tls.authorities import authority, client_ca, issued, table


def context(certificate: str | None = None, by: str | None = None) -> ssl.SSLContext:
    """A client's, with a certificate of its own for that name, where it is asked for one."""
    made = ssl.create_default_context()
    authority().configure_trust(made)
    if certificate is not None:
        leaf = issued(certificate) if by is None else issued(certificate, by=by)
        leaf.configure_cert(made)
    return made


def tls(host: Host, transport: str = "tls", trusting: ssl.SSLContext | None = None) -> Any:
    """A client whose handshake is done."""
    client = host.connect(transport)
    return (trusting or context()).wrap_socket(client, server_hostname="host.example")


def ask(host: Host, said: bytes, transport: str = "tls", certificate: str | None = None) -> bytes:
    """Say something, and that it was all, the way of TLS; return what comes back.

    By pyOpenSSL: the standard library's clients drop what comes after their good-bye.
    """
    ours = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if certificate is not None:
        leaf = issued(certificate)
        ours.use_certificate(x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()))
        key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        ours.use_privatekey(key)
    with host.connect(transport) as client:
        client.setblocking(False)
        connection = SSL.Connection(ours, client)
        connection.set_connect_state()
        _until_done(client, connection.do_handshake)
        _until_done(client, lambda: connection.sendall(said))
        connection.shutdown()
        received = b""
        while data := _until_done(client, lambda: connection.recv(65536)):
            received += data
        return received


def _until_done(client: socket.socket, step: Callable[[], Any]) -> Any:
    while True:
        try:
            return step()
        except SSL.ZeroReturnError:
            return b""
        except SSL.WantReadError:
            assert select.select([client], [], [], PATIENCE)[0]


def hello() -> bytes:
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context().wrap_bio(incoming, outgoing, server_hostname="host.example")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.fixture(scope="module")
def echo() -> Iterator[Host]:
    with hosting("Echo", "tls", "tls6", "unix", tls=table(), options={"before": "> "}) as host:
        yield host


class TestServing:
    @pytest.mark.parametrize("transport", ["tls", "tls6", "unix"])
    def test_every_transport(self, echo: Host, transport: str) -> None:
        with tls(echo, transport) as client:
            assert client.recv(100) == b"> "
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
            client.unwrap().close()
        kind = "unix" if transport == "unix" else transport
        echo.heard(f" {kind} served ")

    def test_much_in_both_directions(self, echo: Host) -> None:
        data = bytes(range(256)) * 8192
        with tls(echo) as client:
            assert client.recv(100) == b"> "
            client.settimeout(0)
            sent, received = 0, b""
            while len(received) < len(data):
                with suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    sent += client.send(data[sent : sent + 65536]) if sent < len(data) else 0
                with suppress(ssl.SSLWantReadError):
                    received += client.recv(1 << 20)
        assert received == data

    def test_bytes_are_those_of_the_connection(self, echo: Host) -> None:
        with tls(echo) as client:
            client.sendall(bytes(10_000))
            while client.recv(65536)[-1:] != b"\0":
                pass
            address = client.getsockname()
        line = echo.heard(f"{address[0]}:{address[1]} tls served")
        carried = dict(part.split("=") for part in line.split() if "=" in part)
        received, sent = int(carried["in"]), int(carried["out"])
        assert 10_000 < received < 12_000
        assert 10_000 < sent < 14_000

    def test_facts(self) -> None:
        asking = table(client_certificate="optional", client_ca=client_ca(), alpn=("b", "a"))
        with hosting("TlsFacts", "tls", tls=asking) as host:
            with tls(host) as client:
                found = json.loads(read_all(client))
                here = client.getsockname()
            assert found["secure"] is True
            assert (found["alpn"], found["client"], found["version"]) == (None, None, "TLSv1.3")
            assert str(here[1]) in found["peer"]
            trusting = context("client.example")
            trusting.set_alpn_protocols(["x", "a", "b"])
            with tls(host, trusting=trusting) as client:
                found = json.loads(read_all(client))
            assert found["alpn"] == "b"
            assert found["client"].startswith("trustme")

    def test_order(self) -> None:
        """A protocol is connected after the handshake, and what came with that comes then."""
        with hosting("Listening", "tls", tls=table()) as host:
            with tls(host) as client:
                client.sendall(b"hello")
                host.heard("dataReceived")
                client.unwrap()
            host.heard("connectionLost ConnectionDone")
            said = [line for line in host.lines if "READY" not in line and "#info" not in line]
            assert said[:3] == ["connectionMade", "handshakeCompleted", "dataReceived b'hello'"]


class TestRefused:
    def test_what_is_no_handshake(self, echo: Host) -> None:
        with echo.connect("tls") as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b">" not in read_all(client)
        echo.heard("refused: handshake, http request")

    def test_no_cipher_in_common(self, echo: Host) -> None:
        old = context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("AES128-SHA")
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            tls(echo, trusting=old)
        echo.heard("refused: handshake, no shared cipher")

    def test_a_client_that_goes_in_between(self, echo: Host) -> None:
        client = echo.connect("tls")
        host, port = client.getsockname()
        client.sendall(hello())
        assert client.recv(1) == b"\x16"
        reset(client)
        echo.heard(f"{host}:{port} tls refused: gone")

    def test_certificates(self) -> None:
        """Wrong ones, and none: nothing is served, and the log says why."""
        asking = table(client_certificate="required", client_ca=client_ca())
        with hosting("Listening", "tls", tls=asking) as host:
            for trusting in (context(), context("client.example", by="somebody else")):
                with suppress(OSError), tls(host, trusting=trusting) as client:
                    read_all(client)
            host.heard("refused: handshake, peer did not return a certificate")
            host.heard("refused: handshake, certificate verify failed")
            with tls(host, trusting=context("client.example")):
                host.heard("connectionMade")
            assert sum("connectionMade" in line for line in host.everything()) == 1

    def test_rules_about_certificates(self) -> None:
        """The handshake is done with whom only a certificate could let in."""
        asking = table(client_certificate="optional", client_ca=client_ca())
        with hosting("Line", "tls", tls=asking, allow=["certificate:in.example"]) as host:
            assert ask(host, b"x", certificate="in.example") == b"x"
            for certificate in (None, "out.example"):
                with suppress(SSL.SysCallError):
                    assert ask(host, b"x", certificate=certificate) == b""
            host.heard("served")
            assert sum("refused: not-allowed" in line for line in host.everything()) == 2

    def test_an_address_is_refused_before_the_handshake(self) -> None:
        with hosting("Line", "tls", tls=table(), deny=["127.0.0.1"]) as host:
            with suppress(ConnectionError):  # what it has sent was not read
                assert host.ask(hello(), "tls") == b""
            host.heard("refused: deny", "out=0")

    def test_dry_run(self) -> None:
        with hosting("Line", "tls", tls=table(), deny=["127.0.0.1"], dry_run=True) as host:
            assert ask(host, b"x") == b"x"
            assert sum("would be refused: deny" in line for line in host.everything()) == 1

    def test_a_filter_sees_the_transport_with_tls(self) -> None:
        with hosting("Line", "tls", tls=table(), verify="secure") as host:
            assert ask(host, b"x") == b"x"

    @pytest.mark.parametrize("verify", ["polite", "slow_refusal"])
    def test_a_filter_refuses(self, verify: str) -> None:
        with hosting("Line", "tls", tls=table(), verify=verify) as host:
            with suppress(SSL.SysCallError):
                assert b"x" not in ask(host, b"x")
            host.heard("refused: verify_request")


class TestTime:
    def test_silent_clients_and_half_a_handshake(self) -> None:
        with hosting("Echo", "tls", tls=table(), patience=1.5) as host:
            silent, half = host.connect("tls"), host.connect("tls")
            half.sendall(hello()[:100])
            with tls(host) as served:
                assert read_all(silent) == b""
                assert read_all(half) == b""
                served.sendall(b"x")
                assert served.recv(1) == b"x"
            found = [line for line in host.everything() if "refused" in line]
            assert len(found) == 2
            assert all("refused: handshake_timeout" in line for line in found)

    def test_too_many(self) -> None:
        """Those who come when the bound is reached are dropped, and those inside go on."""
        with hosting("Line", "tls", tls=table(), handshakes=4) as host:
            waiting: list[socket.socket] = []
            while len(waiting) < 20:
                waiting.append(host.connect("tls"))
            for _ in range(16):
                host.heard("refused: handshakes")
                break
            host.say("stop")  # who has not begun gets a while, and no longer
            end = time.monotonic()
            host.heard("STOPPED")
            assert time.monotonic() - end > 1
            lines = host.lines
            timed_out = sum("handshake_timeout" in line for line in lines)
            assert sum("refused: handshakes" in line for line in lines) == 20 - timed_out
            assert 2 <= timed_out <= 4

    def test_a_stop_waits_for_a_handshake(self) -> None:
        with hosting("Line", "tls", tls=table()) as host:
            client = host.connect("tls")
            client.sendall(hello()[:1])
            host.say("stop")
            host.heard("STOPPING")
            with context().wrap_socket(client, server_hostname="x", do_handshake_on_connect=False):
                pass
            host.heard("STOPPED")


class TestEnds:
    def test_half_closed_by_the_client(self) -> None:
        """A client that has said that it is done is answered."""
        with hosting("AsyncUpper", "tls", tls=table()) as host:
            assert ask(host, b"hello") == b"HELLO"
            host.heard(" served ")

    def test_a_protocol_that_knows_of_it(self) -> None:
        with hosting("HalfClosing", "tls", tls=table()) as host:
            assert ask(host, b"x") == b"you have finished"
            host.heard("connectionLost")
            assert host.lines[1:4] == [
                "readConnectionLost",
                "writeConnectionLost",
                "connectionLost",
            ]

    def test_half_closed_by_the_handler(self) -> None:
        with hosting("AsyncTalk", "tls", tls=table()) as host:
            with tls(host) as client:
                client.sendall(b"eof\n")
                assert read_all(client) == b""
                client.sendall(b"more")
                client.unwrap()
            host.heard("still comes b'more'")

    @pytest.mark.parametrize("suppresses", [True, False])
    def test_truncated(self, suppresses: bool) -> None:
        """A stream without TLS's own end is an ordinary end, or the end of the connection."""
        with hosting("AsyncUpper", "tls", tls=table(suppress_ragged_eofs=suppresses)) as host:
            with tls(host) as client:
                client.sendall(b"hello")
                socket.socket.shutdown(client, socket.SHUT_WR)
                with suppress(OSError):
                    assert read_all(client) == (b"HELLO" if suppresses else b"")
            host.heard("served: truncated" if suppresses else "lost: truncated")

    @pytest.mark.parametrize("suppresses", [True, False])
    def test_truncated_for_a_protocol(self, suppresses: bool) -> None:
        with hosting("Listening", "tls", tls=table(suppress_ragged_eofs=suppresses)) as host:
            with tls(host) as client:
                host.heard("connectionMade")
                socket.socket.shutdown(client, socket.SHUT_WR)
                host.heard(f"connectionLost Connection{'Done' if suppresses else 'Lost'}")
            host.heard("served: truncated")

    def test_a_client_that_does_not_say_goodbye(self) -> None:
        """It gets ours, and is waited for, but not for ever."""
        with hosting("Stubborn", "tls", tls=table()) as host, tls(host) as client:
            assert read_all(client) == b"go away"
            began = time.monotonic()
            host.heard(" served ")
            assert time.monotonic() - began > LINGER - 1

    def test_a_client_that_has_all_of_it_is_served(self) -> None:
        """However long it takes to say good-bye, beside how long it may take nothing."""
        with hosting("AsyncGenerous", "tls", tls=table(), options={"timeout": 0.1}) as host:
            with tls(host) as client:
                client.sendall(b"go\n")
                left = 32 << 20
                while left:
                    left -= len(client.recv(1 << 20))
                time.sleep(0.3)
                client.unwrap()
            assert " served " in host.heard(" tls ")

    def test_a_client_that_takes_nothing_is_lost(self) -> None:
        generous = hosting("AsyncGenerous", "tls", tls=table(), options={"timeout": 0.1})
        with generous as host, tls(host) as client:
            client.sendall(b"go\n")
            assert " lost " in host.heard(" tls ")

    def test_a_client_that_says_goodbye_to_nobody_who_reads(self) -> None:
        with hosting("Stubborn", "tls", tls=table()) as host:
            with tls(host) as client:
                began = time.monotonic()
                client.sendall(bytes(100_000))
                assert read_all(client) == b"go away"
                client.unwrap()
                host.heard(" served ")
            assert time.monotonic() - began < LINGER


class TestUserCode:
    @pytest.mark.parametrize("said", [b"raise", b"exit"])
    def test_what_it_raises_ends_its_connection(self, said: bytes) -> None:
        with hosting("Faulty", "tls", tls=table()) as host:
            with tls(host) as client:
                client.sendall(said)
                with suppress(OSError):
                    read_all(client)
            host.heard("the protocol raised")
            host.heard(" failed ")
            with tls(host) as client:
                client.sendall(b"producer")
                with suppress(OSError):
                    read_all(client)
            host.heard("the producer raised")

    @pytest.mark.parametrize("at", ["connectionMade", "connectionLost"])
    def test_at_the_ends(self, at: str) -> None:
        with hosting("Faulty", "tls", tls=table(), options={"at": at}) as host:
            with suppress(OSError), tls(host) as client:
                client.unwrap()
            host.heard("the protocol raised")
            host.heard(" failed ")

    def test_a_slow_reader_holds_up_nobody(self) -> None:
        with hosting("AsyncTalk", "tls", tls=table()) as host, tls(host) as client:
            client.sendall(b"flood 400\n")
            grown = int(host.heard("grown by").split()[2])
            assert grown < 16
            received = 0
            while received < 400 << 16:
                received += len(client.recv(1 << 20))

    def test_abort(self) -> None:
        with hosting("AsyncTalk", "tls", tls=table()) as host, tls(host) as client:
            client.sendall(b"abort\n")
            with suppress(OSError):
                assert client.recv(1) == b""
            host.heard("lost")


class TestStartTls:
    @pytest.fixture
    def host(self) -> Iterator[Host]:
        with hosting("AsyncUpgrade", "tcp", "tls", tls=table()) as host:
            yield host

    def test_goes_on_by_tls(self, host: Host) -> None:
        with host.connect() as client:
            client.sendall(b"STARTTLS\n")
            assert client.recv(100) == b"go ahead\n"
            with context().wrap_socket(client, server_hostname="host.example") as secure:
                secure.sendall(b"hello\n")
                assert secure.recv(100) == b"hello\n"
                secure.unwrap()
        host.heard("secure True True")
        assert sum(" served " in line for line in host.everything()) == 1
        assert host.alive == 0

    def test_nothing_in_the_clear_is_carried_over(self, host: Host) -> None:
        """CVE-2011-0411: commands that somebody has put in between."""
        with host.connect() as client:
            client.sendall(b"STARTTLS\nEVIL\n")
            assert client.recv(100) == b"go ahead\n"
            with context().wrap_socket(client, server_hostname="host.example") as secure:
                secure.sendall(b"hello\n")
                assert secure.recv(100) == b"hello\n"

    def test_what_is_no_handshake(self, host: Host) -> None:
        with host.connect() as client:
            client.sendall(b"STARTTLS\n")
            assert client.recv(100) == b"go ahead\n"
            client.sendall(b"EVIL\n" * 10)
            read_all(client)
        host.heard("raised ConnectionResetError no TLS: wrong version number")
        host.heard("no TLS: wrong version number")
        host.heard(" lost ")

    def test_silence(self) -> None:
        with hosting("AsyncUpgrade", tls=table(handshake_timeout=0.2)) as host:
            with host.connect() as client:
                client.sendall(b"STARTTLS\n")
                with suppress(ConnectionResetError):
                    assert read_all(client) == b"go ahead\n"
            host.heard("raised ConnectionResetError no TLS: the client has gone")

    def test_twice(self, host: Host) -> None:
        with suppress(OSError), tls(host) as client:
            client.sendall(b"STARTTLS\n")
            assert client.recv(100) == b""
        host.heard("TLS has been started already")

    def test_without_a_table(self) -> None:
        with hosting("AsyncUpgrade") as host:
            host.ask(b"STARTTLS\n")
            host.heard("raised LookupError")


def test_a_handshake_cut_anywhere() -> None:
    """At every byte of a client's words, by its end or by a reset: refused, and nothing is left."""
    words = hello()
    with hosting("Listening", "tls", tls=table(), handshakes=10_000, slots=5) as host:
        before = host.open_files()
        for end in (socket.socket.close, reset):
            with ExitStack() as stack:
                clients = [stack.enter_context(host.connect("tls")) for _ in range(len(words))]
                for length, client in enumerate(clients):
                    client.sendall(words[:length])
                ports = [client.getsockname()[1] for client in clients]
                for client in clients:
                    end(client)
                for port in ports:
                    host.heard(f":{port} tls refused: ")
        with tls(host) as client:
            host.heard("connectionMade")
            client.unwrap()
        host.heard("served")
        assert host.open_files() <= before + 1  # it may still be closing the last one
        lines = host.everything()
        assert sum("refused: " in line for line in lines) == 2 * len(words)
        assert not [line for line in lines if "Traceback" in line or "LOGGED" in line]
        assert host.alive == 0


def test_openssl() -> None:
    """The command line tool, as a client that sends all it has and is done."""
    with hosting("AsyncUpper", "tls", tls=table()) as host:
        _, port = host.address("tls")
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-no_ign_eof"],
            input=b"hello\n",
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        host.heard(" served ")
        assert done.returncode == 0
