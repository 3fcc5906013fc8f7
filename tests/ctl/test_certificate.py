"""What a service presents, and what it is worth."""

from __future__ import annotations

import datetime
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from netd.ctl.certificate import CannotAsk, Endpoint, ask
from netd.ctl.presented import Presented
from netd.model.tls import Identity, Pem, Tls
from netd.tls.blocking import blocking_context
from tests.tls.authorities import authority, client_ca, identity, issued, table
from tests.tls.sides import BOTH, listening, of_blocking, serve_one

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def ca(tmp_path: Path) -> str:
    """A file with the tests' authority."""
    (tmp_path / "ca.pem").write_bytes(authority().cert_pem.bytes())
    return str(tmp_path / "ca.pem")


def local(port: int) -> Endpoint:
    return Endpoint("127.0.0.1", port)


def expired() -> Tls:
    """A service whose certificate has ended."""
    leaf = issued("host.example", days=-2.5)
    chain, key = leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()
    return Tls(Identity(Pem("/c", chain), Pem("/k", key)))


class TestEndpoint:
    """Where a service listens."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("host.example:443", Endpoint("host.example", 443)),
            ("192.0.2.1:1", Endpoint("192.0.2.1", 1)),
            ("[2001:db8::1]:65535", Endpoint("2001:db8::1", 65535)),
            ("[fe80::1%eth0]:443", Endpoint("fe80::1%eth0", 443)),
            ("unix:/run/a:b", Endpoint(None, path="/run/a:b")),
            ("unix:@name", Endpoint(None, path="@name")),
        ],
    )
    def test_written(self, text: str, expected: Endpoint) -> None:
        """A host, an address (IPv6 in brackets), a path."""
        assert Endpoint.of(text) == expected

    @pytest.mark.parametrize(
        "text", ["", "host", "host:", ":443", "host:0", "host:65536", "::1:443", "a:b:1", "unix:"]
    )
    def test_wrong(self, text: str) -> None:
        """Anything else is said."""
        with pytest.raises(ValueError, match="HOST:PORT"):
            Endpoint.of(text)


@pytest.mark.parametrize("served", BOTH)
class TestAsk:
    """What a client finds."""

    def test_trusted(self, served: Any, ca: str) -> None:
        """Issued by who is trusted, for the name: nothing is wrong."""
        with listening(served(table())) as port:
            found = ask(local(port), "host.example", ca).presented
        assert list(found.problems()) == []
        assert (found.is_for_name, found.distrust, found.refusal) == (True, None, None)
        assert (found.protocol, found.cipher) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")

    def test_by_name(self, served: Any, ca: str) -> None:
        """The name is what is asked for, too."""
        serve = served(table(sni=(("www.example", identity("www.example")),)))
        with listening(serve) as port:
            found = ask(local(port), "www.example", ca).presented
        assert found.certificate.names == ("www.example",)

    def test_not_trusted(self, served: Any) -> None:
        """An authority that this machine does not know, and a host that it is not for."""
        with listening(served(table())) as port:
            found = ask(local(port)).presented
        assert list(found.problems()) == [
            "it is not trusted: unable to get local issuer certificate",
            "it is not for 127.0.0.1",
        ]

    def test_expired(self, served: Any, ca: str) -> None:
        """Time is a matter of trust."""
        with listening(served(expired())) as port:
            found = ask(local(port), "host.example", ca).presented
        assert list(found.problems()) == ["it is not trusted: certificate has expired"]
        assert found.facts(NOW)["days_left"] == -3

    @pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
    def test_wants_a_certificate(self, served: Any, ca: str, version: Any) -> None:
        """A service that wants to see one presents its own all the same."""
        serve = served(
            table(client_certificate="required", client_ca=client_ca(), maximum_version=version)
        )
        with listening(serve) as port:
            found = ask(local(port), "host.example", ca).presented
        assert list(found.problems()) == []
        assert (found.refusal is None) == (version == "TLSv1.3")


@contextmanager
def answering(what: bytes) -> Iterator[int]:
    """The port of a server that answers whatever comes by something that is no TLS."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(what)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


class TestCannotAsk:
    """Services that present nothing."""

    @pytest.mark.parametrize(
        ("answer", "why"),
        [(b"", "the service closed the connection"), (b"HTTP/1.0 400 Bad Request\r\n", "version")],
    )
    def test_no_tls(self, answer: bytes, why: str) -> None:
        """Something else listens there."""
        with answering(answer) as port, pytest.raises(CannotAsk, match=why):
            ask(local(port))

    def test_nobody_listens(self) -> None:
        """The system's reason is said."""
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            with pytest.raises(CannotAsk, match="Connection refused"):
                ask(local(bound.getsockname()[1]))

    def test_silence(self) -> None:
        """Who says nothing is waited for as long as was said."""
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            pytest.raises(CannotAsk, match=r"within 0\.1 s"),
        ):
            ask(local(silent.getsockname()[1]), seconds=0.1)

    def test_no_authorities(self, tmp_path: Path) -> None:
        """A file that has none is said."""
        (tmp_path / "text").write_text("text")
        with pytest.raises(CannotAsk, match="has no readable certificates"):
            ask(local(1), ca=str(tmp_path / "text"))

    def test_no_name(self) -> None:
        """A name that no host can have."""
        with pytest.raises(CannotAsk, match="no host name"):
            ask(local(1), "a b.ü")


class TestUnix:
    """A service at a path."""

    def test_path(self, tmp_path: Path, ca: str) -> None:
        """Nobody knows whom it should be for, unless it is said."""
        path = str(tmp_path / "socket")
        serve = of_blocking(table())
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            thread = threading.Thread(target=_serve_two, args=(listener, serve), daemon=True)
            thread.start()
            endpoint = Endpoint.of(f"unix:{path}")
            found = [ask(endpoint, name, ca).presented for name in (None, "host.example")]
            thread.join()
        assert [each.is_for_name for each in found] == [None, True]
        assert [list(each.problems()) for each in found] == [[], []]


def _serve_two(listener: socket.socket, serve: Any) -> None:
    for _ in range(2):
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the client may have gone at the end
            serve_one(connection, serve())


class TestShown:
    """How it is shown."""

    @pytest.fixture
    def presented(self, ca: str) -> Presented:
        with listening(of_blocking(table())) as port:
            return ask(local(port), "host.example", ca).presented

    def test_lines(self, presented: Presented) -> None:
        """A fact a line, one below the other."""
        lines = list(presented.lines(presented.certificate.not_after - datetime.timedelta(6.5)))
        found = dict(line.split(":", 1) for line in lines)
        assert found["names"].strip() == "host.example"
        assert found["valid"].endswith(", 6 days left")
        assert found["trusted"].strip() == "yes"
        assert found["for host.example"].strip() == "yes"
        assert "refused" not in found
        assert len({line.index(found[line.split(":")[0]].strip()) for line in lines}) == 1

    def test_facts(self, presented: Presented) -> None:
        """The same for programs."""
        facts = presented.facts(presented.certificate.not_after - datetime.timedelta(6.5))
        assert facts["days_left"] == 6
        assert facts["names"] == ["host.example"]
        assert len(str(facts["sha256"])) == 64
        assert (facts["trusted"], facts["is_for_name"], facts["problems"]) == (True, True, [])


class TestLeave:
    """What a service sees of somebody who only asks."""

    def test_an_ordinary_end(self, ca: str) -> None:
        """A client that says goodbye, and takes what it is told meanwhile."""
        context = blocking_context(table())
        seen: list[object] = []

        def serve(listener: socket.socket) -> None:
            connection, _ = listener.accept()
            connection.settimeout(5)
            with context.wrap_socket(
                connection, server_side=True, suppress_ragged_eofs=False
            ) as wrapped:
                seen.append(wrapped.recv(1))
                wrapped.sendall(b"hello\n")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener,), daemon=True)
            thread.start()
            ask(local(listener.getsockname()[1]), "host.example", ca)
            thread.join()
        assert seen == [b""]
