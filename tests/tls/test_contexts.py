"""``netd.tls.blocking`` and ``netd.tls.reactor``: the same table is the same to a client."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import ssl
import subprocess
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface.verify import verifyObject

from netd.model.tls import Identity, Pem, Tls
from netd.tls.blocking import blocking_context
from netd.tls.reactor import reactor_context
from tests.descriptors import count_descriptors
from tests.tls.authorities import authority, client_ca, identity, issued, table
from tests.tls.sides import BOTH, Blocking, Serving, listening, of_reactor, shaken
from tests.tls.test_pem import encrypted

REFUSED = (ssl.SSLError, SSL.Error)

both = pytest.mark.parametrize("served", BOTH)

with_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")


def client(name: str | None = "host.example", shown: Any = None, **attributes: Any) -> Blocking:
    """A client that trusts the tests' authority, and asks for *name*."""
    context = ssl.create_default_context(cadata=authority().cert_pem.bytes().decode())
    context.check_hostname = False
    if shown is not None:
        shown.configure_cert(context)
    for attribute, value in attributes.items():
        setattr(context, attribute, value)
    return Blocking(context, server_hostname=name)


def names(connection: Blocking) -> list[str]:
    """Whom a server has shown that it is."""
    shown = connection.client
    assert shown is not None
    extension = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


@both
class TestIdentity:
    """Who the service says that it is."""

    def test_chain_and_key(self, served: Any) -> None:
        """They are taken from memory; the files need not be there."""
        asking = client()
        shaken(served(table())(), asking)
        assert names(asking) == ["host.example"]

    def test_one_file(self, served: Any) -> None:
        """The key may stand beside the certificate."""
        parts = identity("host.example")
        file = Pem("/both.pem", parts.private_key.content + parts.certificate.content)
        asking = client()
        shaken(served(table(identity=Identity(file, file)))(), asking)
        assert names(asking) == ["host.example"]

    @pytest.mark.parametrize(
        ("asked", "shown"),
        [
            ("host.example", "host.example"),
            ("www.example", "www.example"),
            ("WWW.Example", "www.example"),
            ("a.wild.example", "*.wild.example"),
            ("a.b.wild.example", "host.example"),
            ("exact.wild.example", "exact.wild.example"),
            ("unknown.example", "host.example"),
            (None, "host.example"),
        ],
    )
    def test_by_name(self, served: Any, asked: str | None, shown: str) -> None:
        """The one that a client asks for, else the service's own."""
        others = ("www.example", "*.wild.example", "exact.wild.example")
        serve = served(table(sni=tuple((name, identity(name)) for name in others)))
        asking = client(asked)
        shaken(serve(), asking)
        assert names(asking) == [shown]


@both
class TestOffer:
    """What is spoken."""

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_versions(self, served: Any, version: ssl.TLSVersion) -> None:
        """TLS 1.2 and 1.3, where nothing is said."""
        server = shaken(served(table())(), client(maximum_version=version))
        assert server.version == version.name.replace("_", ".")

    @pytest.mark.parametrize(
        ("table_keys", "spoken"),
        [
            ({"minimum_version": "TLSv1.3"}, ssl.TLSVersion.TLSv1_2),
            ({"maximum_version": "TLSv1.2"}, ssl.TLSVersion.TLSv1_3),
        ],
    )
    def test_bounds(self, served: Any, table_keys: Any, spoken: ssl.TLSVersion) -> None:
        """A version beyond a bound is refused."""
        asking = client(minimum_version=spoken, maximum_version=spoken)
        with pytest.raises(REFUSED):
            shaken(served(table(**table_keys))(), asking)

    @pytest.mark.parametrize(
        ("offered", "wanted", "chosen"),
        [
            (("h2", "http/1.1"), ["http/1.1", "h2"], "h2"),
            (("h2", "http/1.1"), ["http/1.1"], "http/1.1"),
            (("h2",), ["imap"], None),
            (("h2",), [], None),
            ((), ["h2"], None),
        ],
    )
    def test_alpn(
        self, served: Any, offered: tuple[str, ...], wanted: list[str], chosen: str | None
    ) -> None:
        """The service's preference; nothing in common is no reason to hang up."""
        asking = client()
        asking.connection.context.set_alpn_protocols(wanted)
        asking = Blocking(asking.connection.context, server_hostname="host.example")
        server = shaken(served(table(alpn=offered))(), asking)
        assert server.alpn == chosen == asking.alpn

    def test_alpn_of_another_identity(self, served: Any) -> None:
        """What is offered does not depend on the name."""
        asking = client()
        asking.connection.context.set_alpn_protocols(["h2"])
        asking = Blocking(asking.connection.context, server_hostname="www.example")
        serve = served(table(alpn=("h2",), sni=(("www.example", identity("www.example")),)))
        assert shaken(serve(), asking).alpn == "h2"

    def test_ciphers(self, served: Any) -> None:
        """Those of TLS 1.2 can be chosen."""
        serve = served(table(ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"))
        asking = client(maximum_version=ssl.TLSVersion.TLSv1_2)
        shaken(serve(), asking)
        assert asking.connection.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"  # type: ignore[index]

    def test_no_renegotiation(self, served: Any) -> None:
        """The flag is what keeps a client from making the server work."""
        context = (blocking_context if served is BOTH[0] else reactor_context)(table())
        if isinstance(context, ssl.SSLContext):
            assert context.options & ssl.OP_NO_RENEGOTIATION
        else:
            assert context._context.set_options(0) & SSL.OP_NO_RENEGOTIATION


@both
class TestClients:
    """Certificates of clients."""

    @pytest.mark.parametrize("asked_for", ["optional", "required"])
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_verified(self, served: Any, asked_for: str, version: ssl.TLSVersion) -> None:
        """A certificate of the authority's is known after the handshake."""
        serve = served(table(client_certificate=asked_for, client_ca=client_ca()))
        shown = issued("client.example")
        server = shaken(serve(), client(shown=shown, maximum_version=version))
        assert server.client == x509.load_pem_x509_certificate(shown.cert_chain_pems[0].bytes())

    def test_none(self, served: Any) -> None:
        """Without a question no client shows one."""
        server = shaken(served(table())(), client(shown=issued("client.example")))
        assert server.client is None

    def test_optional(self, served: Any) -> None:
        """Whoever has none comes in all the same."""
        serve = served(table(client_certificate="optional", client_ca=client_ca()))
        assert shaken(serve(), client()).client is None

    def test_required(self, served: Any) -> None:
        """Whoever has none does not."""
        serve = served(table(client_certificate="required", client_ca=client_ca()))
        with pytest.raises(REFUSED):
            shaken(serve(), client())

    @pytest.mark.parametrize("asked_for", ["optional", "required"])
    @pytest.mark.parametrize("wrong", ["authority", "expired", "purpose"])
    def test_wrong(self, served: Any, asked_for: str, wrong: str) -> None:
        """Of another authority, past its time, or for servers only: refused, optional or not."""
        serve = served(table(client_certificate=asked_for, client_ca=client_ca()))
        shown = {
            "authority": lambda: issued("client.example", by="another"),
            "expired": lambda: issued("client.example", days=-1),
            "purpose": for_servers_only,
        }[wrong]()
        with pytest.raises(REFUSED):
            shaken(serve(), client(shown=shown))

    def test_issued_by_an_intermediate(self, served: Any) -> None:
        """An authority that is not at the top can be named alone."""
        below = authority().create_child_ca()
        serve = served(
            table(client_certificate="required", client_ca=Pem("/ca", below.cert_pem.bytes()))
        )
        shown = below.issue_cert("client.example")
        assert shaken(serve(), client(shown=shown)).client is not None

    def test_text_in_the_authorities_file(self, served: Any) -> None:
        """Bundles have names in any script beside the certificates."""
        file = Pem("/ca.pem", "# Főtanúsítvány\n".encode() + client_ca().content)
        serve = served(table(client_certificate="required", client_ca=file))
        assert shaken(serve(), client(shown=issued("client.example"))).client is not None


def for_servers_only() -> Any:
    """A certificate that is not for clients."""
    leaf = issued("client.example")
    was = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    signing = load_pem_private_key(authority().private_key_pem.bytes(), None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    made = (
        x509.CertificateBuilder()
        .subject_name(was.subject)
        .issuer_name(was.issuer)
        .public_key(was.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(was.not_valid_before_utc)
        .not_valid_after(was.not_valid_after_utc)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
        .sign(signing, hashes.SHA256())
    )
    return _Shown(made.public_bytes(Encoding.PEM) + leaf.private_key_pem.bytes())


class _Shown:
    """What a client shows, from one PEM."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def configure_cert(self, context: ssl.SSLContext) -> None:
        descriptor = os.memfd_create("shown")
        with open(descriptor, "wb") as file:
            file.write(self._content)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")


CIPHERS_12 = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
SUITES_13 = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
]
GROUPS = [
    *("X25519", "P-256", "X448", "P-521", "P-384"),
    *("ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192"),
    *("secp224r1", "secp256k1", "secp192r1", "brainpoolP256r1"),
]


def s_client(port: int, *arguments: str) -> str | None:
    """The cipher that ``openssl s_client`` agrees on; None if there is none."""
    ended = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    found = re.search(r"^New, TLSv[\d.]+, Cipher is (\S+)$", ended.stdout, re.MULTILINE)
    return found[1] if found else None


def offer(serve: Serving) -> dict[str, list[str]]:
    """All that a server speaks, the best first where it prefers one."""
    found: dict[str, list[str]] = {}
    with listening(serve) as port:
        versions = ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"]
        found["versions"] = [
            version for version in versions if s_client(port, version, "-cipher", CIPHERS_12)
        ]
        ciphers: list[str] = []
        without = ""
        while cipher := s_client(port, "-tls1_2", "-cipher", f"{without}{CIPHERS_12}"):
            ciphers.append(cipher)
            without = "".join(f"!{each}:" for each in ciphers)
        found["ciphers"] = ciphers
        suites: list[str] = []
        left = SUITES_13
        while left and (suite := s_client(port, "-tls1_3", "-ciphersuites", ":".join(left))):
            suites.append(suite)
            left = [each for each in left if each != suite]
        found["suites"] = suites
        found["groups"] = [group for group in GROUPS if s_client(port, "-tls1_3", "-groups", group)]
    return found


@pytest.fixture(scope="module")
def offers() -> list[dict[str, list[str]]]:
    """What both sides offer for one table, to ``openssl s_client``."""
    return [offer(served(table())) for served in BOTH]


@with_openssl
class TestSameOffer:
    """What a client finds does not tell which OpenSSL it talks to."""

    def test_same(self, offers: list[dict[str, list[str]]]) -> None:
        """Protocols, ciphers in their order, groups."""
        blocking, reactor = offers
        assert blocking == reactor

    def test_modern(self, offers: list[dict[str, list[str]]]) -> None:
        """And it is what it should be: TLS 1.2 and 1.3, forward secrecy, AEAD only."""
        found = offers[0]
        assert found["versions"] == ["-tls1_2", "-tls1_3"]
        assert found["ciphers"] == [
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ]
        assert found["suites"] == SUITES_13[:3]
        assert found["groups"][:5] == GROUPS[:5]


@both
class TestStrangeNames:
    """What a client can send in the place of a name."""

    @pytest.mark.parametrize("asked", [b"\xff\xfe.example", b"a" * 255, b"-", b"..", b"*.example"])
    def test_nothing_is_said(
        self, served: Any, asked: bytes, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """It gets the service's own certificate, or is refused, and the log has no traceback."""
        asking = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        asking.set_tlsext_host_name(asked)
        asking.set_connect_state()
        server = served(table(sni=(("www.example", identity("www.example")),)))()
        with contextlib.suppress(SSL.WantReadError):
            asking.do_handshake()
        server.put(asking.bio_read(1 << 16))
        with contextlib.suppress(*REFUSED):
            server.step()
        assert capfd.readouterr() == ("", "")


class TestGroups:
    """Groups that Debian's ``openssl`` does not know."""

    def test_of_a_newer_client(self) -> None:
        """A client with another OpenSSL finds the same group on both sides."""
        groups = set()
        for served in BOTH:
            asking = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
            asking.set_connect_state()
            server = served(table())()
            for _ in range(4):
                try:
                    asking.do_handshake()
                except SSL.WantReadError:
                    server.put(asking.bio_read(1 << 16))
                    server.step()
                    asking.bio_write(server.get())
            groups.add(asking.get_group_name())
        assert len(groups) == 1


@both
class TestSessions:
    """Who is known again."""

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize("of_another", [False, True])
    def test_resumed(self, served: Any, version: ssl.TLSVersion, of_another: bool) -> None:
        """A client that comes again saves itself the work, but only where it was before."""
        serve = served(table())
        first = client(maximum_version=version)
        shaken(serve(), first)
        with contextlib.suppress(ssl.SSLWantReadError):
            first.connection.read(1)  # by which tickets are taken in
        again = Blocking(
            first.connection.context,
            server_hostname="host.example",
            session=first.connection.session,
        )
        shaken((served(table()) if of_another else serve)(), again)
        assert again.connection.session_reused != of_another

    def test_not_with_a_certificate(self, served: Any) -> None:
        """Whoever was verified is verified again."""
        serve = served(table(client_certificate="required", client_ca=client_ca()))
        first = client(shown=issued("client.example"))
        shaken(serve(), first)
        with contextlib.suppress(ssl.SSLWantReadError):
            first.connection.read(1)
        again = Blocking(
            first.connection.context,
            server_hostname="host.example",
            session=first.connection.session,
        )
        shaken(serve(), again)
        assert not again.connection.session_reused


class TestWhatIsPromised:
    """What those who take the contexts rely on."""

    def test_for_twisted(self) -> None:
        """Twisted's TLS takes it as it is."""
        assert verifyObject(IOpenSSLServerConnectionCreator, reactor_context(table()))

    @pytest.mark.parametrize("asked_for", ["none", "required"])
    def test_truncation_is_seen(self, asked_for: Any) -> None:
        """A stream that was cut off does not look like one that has ended."""
        context = blocking_context(table(client_certificate=asked_for, client_ca=client_ca()))
        assert not context.options & ssl.OP_IGNORE_UNEXPECTED_EOF

    @pytest.mark.parametrize("make", [blocking_context, reactor_context])
    def test_no_descriptor_is_left(self, make: Any) -> None:
        """The memory that stood for the files is given back."""
        make(table())
        before = count_descriptors()
        make(table())
        assert count_descriptors() == before

    @pytest.mark.parametrize("sni", [(), (("www.example", identity("www.example")),)])
    def test_the_name_is_told(self, sni: Any) -> None:
        """Whoever serves a connection can know what its client asked for."""
        found = []
        context = blocking_context(table(sni=sni), lambda _, asked: found.append(asked))
        for name in ("www.example", "unknown.example", None):
            shaken(Blocking(context, server_side=True), client(name))
        assert found == ["www.example", "unknown.example", None]

    def test_no_file_may_be_written(self) -> None:
        """A service that may write nothing (RLIMIT_FSIZE) has TLS all the same."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            context = blocking_context(table())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        shaken(Blocking(context, server_side=True), client())

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_another_user(self) -> None:
        """A worker that has given up its rights makes contexts of what the daemon has read."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                blocking_context(table())
                reactor_context(table())
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def test_long_files(self) -> None:
        """A bundle may be longer than a pipe is."""
        one = identity("host.example")
        text = b"# a line\n" * 10_000
        file = Pem("/long.pem", text + one.certificate.content + one.private_key.content)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            blocking_context(table(identity=Identity(file, file)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def test_identities_are_shared(self) -> None:
        """A wildcard and a name of the same certificate are one context."""
        other = identity("*.example")
        tls = table(sni=(("a.example", other), ("*.example", other)))
        serve = of_reactor(tls)
        contexts = set()
        for name in ("a.example", "b.example"):
            contexts.add(shaken(serve(), client(name)).connection.get_context())
        assert len(contexts) == 1

    def test_an_encrypted_key_asks_nobody(self) -> None:
        """There may be a terminal, and nobody sits there."""

        key = Pem("/key.pem", encrypted(PrivateFormat.PKCS8))
        bad = Identity(identity("host.example").certificate, key)
        with pytest.raises(ssl.SSLError):
            blocking_context(Tls(bad))
