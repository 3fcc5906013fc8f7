"""``netd.config.tls``: the files of a ``[tls]``, and all that is wrong with them."""

from __future__ import annotations

import datetime
import os
import pickle
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from netd.config.effective import settings
from netd.config.load import load, loaded
from netd.config.reference.json_schema import json_schema
from netd.ctl.print_config import as_toml
from netd.model.problem import ConfigurationError
from netd.model.service import Configuration
from netd.model.tls import Pem, Tls
from netd.tls import self_signed
from netd.tls.pem import PrivateKey
from tests.tls.authorities import authority, issued
from tests.tls.test_pem import encrypted

HEAD = '[services.a]\nlisten = ["tls:1"]\nhandler = "m:C"\n'
"""A service, up to its fourth line."""

CERTIFICATE = '[services.a.tls]\ncertificate = "host.pem"\n'


class Files:
    """A directory with a configuration, certificates and keys."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.put("host", issued("host.example"))
        self.write("ca.pem", authority().cert_pem.bytes())
        self.write("text.pem", b"no certificate\n")

    def put(self, name: str, leaf: trustme.LeafCert) -> None:
        """Write a certificate, its key, and both in one file."""
        chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
        key = leaf.private_key_pem.bytes()
        self.write(f"{name}.crt", chain)
        self.write(f"{name}.key", key)
        self.write(f"{name}.pem", key + chain)

    def write(self, name: str, content: bytes) -> None:
        (self.directory / name).write_bytes(content)

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def load(self, *texts: str) -> Configuration:
        file = self.directory / "netd.toml"
        file.write_text("".join(texts))
        return load(str(file))

    def tls(self, *texts: str) -> Tls:
        """The table of the one service."""
        (service,) = self.load(*texts).services
        assert service.tls is not None
        return service.tls

    def problems(self, *texts: str) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            self.load(*texts)
        return str(caught.value).replace(f"{self.directory}/", "").splitlines()

    def notes(self, *texts: str) -> list[str]:
        notes = self.load(*texts).notes
        return [str(note).replace(f"{self.directory}/", "") for note in notes]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def signed(key: PrivateKey, days: tuple[float, float] = (-1, 1)) -> bytes:
    """A self-signed certificate and its *key*, valid between two days from now."""
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + datetime.timedelta(days[0]))
        .not_valid_after(now + datetime.timedelta(days[1]))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class TestTable:
    """What arrives of a table that is right."""

    def test_defaults(self, files: Files) -> None:
        """A certificate is enough."""
        both = Pem(files.path("host.pem"), (files.directory / "host.pem").read_bytes())
        found = files.tls(HEAD, CERTIFICATE)
        assert found == Tls(found.identity)
        assert (found.identity.certificate, found.identity.private_key) == (both, both)
        assert found.handshake_timeout == 10.0
        assert not found.identity.self_signed

    def test_all_keys(self, files: Files) -> None:
        """Every key arrives."""
        files.put("www", issued("www.example"))
        found = files.tls(
            HEAD,
            """
            [services.a.tls]
            certificate = "host.crt"
            private_key = "host.key"
            client_certificate = "optional"
            client_ca = "ca.pem"
            minimum_version = "TLSv1.3"
            maximum_version = "TLSv1.3"
            ciphers = "ECDHE+AESGCM"
            alpn = ["h2", "http/1.1"]
            handshake_timeout = "250ms"
            suppress_ragged_eofs = false
            [services.a.tls.sni."WWW.example"]
            certificate = "www.pem"
            [services.a.tls.sni."*.bücher.example"]
            certificate = "www.crt"
            private_key = "www.key"
        """,
        )
        assert found.identity.private_key.path == files.path("host.key")
        assert [name for name, _ in found.sni] == ["www.example", "*.xn--bcher-kva.example"]
        assert found.client_certificate == "optional"
        assert found.client_ca is not None
        assert found.client_ca.path == files.path("ca.pem")
        assert (found.minimum_version, found.maximum_version) == ("TLSv1.3", "TLSv1.3")
        assert found.ciphers == "ECDHE+AESGCM"
        assert found.alpn == ("h2", "http/1.1")
        assert found.handshake_timeout == 0.25
        assert not found.suppress_ragged_eofs

    def test_nothing_is_shown(self, files: Files) -> None:
        """What is in the files is in no text about the service, and arrives at a worker."""
        (service,) = files.load(HEAD, CERTIFICATE).services
        assert "BEGIN" not in repr(service)
        assert pickle.loads(pickle.dumps(service)) == service

    def test_printed(self, files: Files) -> None:
        """What print-config prints means the same elsewhere, and has no contents."""
        (files.directory / "netd.toml").write_text(
            HEAD + CERTIFICATE + '[services.a.tls.sni."*.host.example"]\ncertificate = "host.crt"\n'
            'private_key = "host.key"\n'
        )
        found = loaded(files.path("netd.toml"))
        every = settings(json_schema(), found.tables, found.configuration.locations)
        text = as_toml(every, found.files)
        assert "BEGIN" not in text
        (files.directory / "elsewhere").mkdir()
        (files.directory / "elsewhere" / "netd.toml").write_text(text)
        again = load(files.path("elsewhere/netd.toml"))
        assert again.services[0].tls == found.configuration.services[0].tls is not None

    def test_starttls(self, files: Files) -> None:
        """A table without a listener that needs it is for handlers that begin TLS themselves."""
        assert files.tls(HEAD.replace("tls:", "tcp:"), CERTIFICATE)

    @pytest.mark.parametrize("table", ["", "[services.a.tls]\nminimum_version = 'TLSv1.3'\n"])
    def test_none(self, files: Files, table: str) -> None:
        """Without a certificate there is no TLS, and without a listener for it nothing is wrong."""
        (service,) = files.load(HEAD.replace("tls:", "tcp:"), table).services
        assert service.tls is None

    def test_of_the_defaults(self, files: Files) -> None:
        """Keys of [defaults] are joined by a service's; paths are of the file they stand in."""
        (files.directory / "more").mkdir()
        (files.directory / "more" / "b.toml").write_text(
            HEAD.replace("services.a", "services.b").replace("tls:1", "tls:2")
            + "[services.b.tls]\nself_signed = 'own.pem'\n"
        )
        found = files.load(
            'include = ["more/*.toml"]\n[defaults.tls]\ncertificate = "host.crt"\n'
            'private_key = "host.key"\nminimum_version = "TLSv1.3"\n',
            HEAD,
        )
        a, b = (service.tls for service in found.services)
        assert a is not None
        assert b is not None
        assert a.identity.private_key.path == files.path("host.key")
        assert b.identity.certificate.path == files.path("more/own.pem")
        assert (a.minimum_version, b.minimum_version) == ("TLSv1.3", "TLSv1.3")

    def test_datagrams_beside_a_default(self, files: Files) -> None:
        """What [defaults] say for others does not bother a service for datagrams."""
        head = HEAD.replace("tls:1", "udp:1")
        assert files.load('[defaults.tls]\ncertificate = "host.pem"\n', head)


TLS = "services.a.tls"

PROBLEMS: list[tuple[str, list[str]]] = [
    # The table stands on line 4, its first key on line 5.
    ("", ["1: services.a.tls.certificate: is required for tls:1: the file of a certificate, or"
          " self_signed"]),
    ("alpn = []", [f"4: {TLS}.certificate: is required for tls:1: the file of a certificate, or"
                   " self_signed"]),
    ('certificate = "gone.pem"', [f"5: {TLS}.certificate: cannot read gone.pem: No such file or"
                                  " directory"]),
    ('certificate = "."', [f"5: {TLS}.certificate: cannot read DIR: it is not a file"]),
    ('certificate = "text.pem"', [f"5: {TLS}.certificate: text.pem has no certificate in PEM,"
                                  " -----BEGIN CERTIFICATE-----"]),
    ('certificate = "host.crt"', [f"5: {TLS}.certificate: host.crt has no private key in PEM,"
                                  " -----BEGIN PRIVATE KEY-----: name the file that has it in"
                                  " private_key"]),
    ('certificate = "host.crt"\nprivate_key = "text.pem"', [
        f"6: {TLS}.private_key: text.pem has no private key in PEM, -----BEGIN PRIVATE KEY-----"]),
    ('certificate = "host.crt"\nprivate_key = "encrypted.key"', [
        f"6: {TLS}.private_key: encrypted.key has a key with a password, which a start cannot"
        " ask for: write it without one (openssl pkey)"]),
    ('certificate = "host.crt"\nprivate_key = "other.key"', [
        f"6: {TLS}.private_key: the key in other.key is not that of the certificate in host.crt"]),
    ('private_key = "host.key"', [f"5: {TLS}.private_key: has no effect without certificate"]),
    ('certificate = "future.pem"', [f"5: {TLS}.certificate: future.pem is not valid before WHEN"]),
    ('certificate = "weak.pem"', [f"5: {TLS}.certificate: OpenSSL refuses weak.pem: ee key"
                                  " too small"]),
    ('certificate = "host.pem"\nself_signed = "own.pem"', [
        f"6: {TLS}.self_signed: stands beside certificate: leave out one of the two"]),
    ('self_signed = "text.pem"', [f"5: {TLS}.self_signed: text.pem is not a self-signed"
                                  " certificate, and is not overwritten: remove it, or name it in"
                                  " certificate"]),
    ('self_signed = "host.pem"', [f"5: {TLS}.self_signed: host.pem is not a self-signed"
                                  " certificate, and is not overwritten: remove it, or name it in"
                                  " certificate"]),
    ('certificate = "host.pem"\nclient_certificate = "required"', [
        f'6: {TLS}.client_certificate: "required" needs client_ca: the certificates of the'
        " authorities that issue those of clients"]),
    ('certificate = "host.pem"\nclient_ca = "ca.pem"', [
        f'6: {TLS}.client_ca: has no effect without client_certificate = "optional" or'
        ' "required"']),
    ('certificate = "host.pem"\nclient_certificate = "optional"\nclient_ca = "host.key"', [
        f"7: {TLS}.client_ca: host.key has no certificate in PEM, -----BEGIN CERTIFICATE-----"]),
    ('certificate = "host.pem"\nminimum_version = "TLSv1.3"\nmaximum_version = "TLSv1.2"', [
        f'7: {TLS}.maximum_version: is "TLSv1.2", which is below minimum_version, "TLSv1.3"']),
    ('certificate = "host.pem"\nciphers = "NONSENSE"', [
        f'6: {TLS}.ciphers: "NONSENSE" selects no cipher of TLS 1.2: see openssl-ciphers(1)']),
    ('certificate = "host.pem"\nciphers = "a\\u0000b"', [
        f'6: {TLS}.ciphers: "a\\u0000b" selects no cipher of TLS 1.2: see openssl-ciphers(1)']),
    ('certificate = "host.pem"\nsni."192.0.2.1".certificate = "host.pem"', [
        f'6: {TLS}.sni."192.0.2.1": "192.0.2.1" ends in a number: clients send names, never'
        " addresses"]),
    ('certificate = "host.pem"\nsni."a.b".certificate = "host.pem"\n'
     'sni."A.b.".certificate = "host.pem"', [
        f'7: {TLS}.sni."A.b.": is the same name as "a.b": one of them is enough']),
    ('certificate = "host.pem"\nsni."a.b".private_key = "host.key"', [
        f'6: {TLS}.sni."a.b".certificate: is required: the file with the certificate, in PEM,'
        " followed by the intermediate certificates"]),
    ('certificate = "host.pem"\nsni."a.b".certificate = "weak.pem"', [
        f'6: {TLS}.sni."a.b".certificate: OpenSSL refuses weak.pem: ee key too small']),
    ('certificate = "host.pem"\nsni."a.b" = {certificate = "host.pem", key = "host.key"}', [
        f'6: {TLS}.sni."a.b".key: unknown key; known here are certificate, private_key']),
    ('sni."a.b".certificate = "host.pem"', [
        f"4: {TLS}.certificate: is required beside sni, for all other names"]),
    # Everything at once.
    ('certificate = "gone.pem"\nciphers = "NONSENSE"\nclient_ca = "gone.ca"\n'
     'client_certificate = "optional"', [
        f"5: {TLS}.certificate: cannot read gone.pem: No such file or directory",
        f'6: {TLS}.ciphers: "NONSENSE" selects no cipher of TLS 1.2: see openssl-ciphers(1)',
        f"7: {TLS}.client_ca: cannot read gone.ca: No such file or directory"]),
]  # fmt: skip


class TestProblems:
    """What is wrong, where it stands."""

    @pytest.mark.parametrize(("keys", "expected"), PROBLEMS, ids=[keys for keys, _ in PROBLEMS])
    def test_each(self, files: Files, keys: str, expected: list[str]) -> None:
        files.put("other", issued("other.example"))
        files.write("encrypted.key", encrypted(serialization.PrivateFormat.PKCS8))
        files.write("weak.pem", signed(rsa.generate_private_key(65537, 1024)))
        files.write("future.pem", signed(ec.generate_private_key(ec.SECP256R1()), (1, 2)))
        table = f"[services.a.tls]\n{keys}\n" if keys else ""
        found = [line.split("is not valid before")[0] for line in files.problems(HEAD, table)]
        wanted = [
            f"netd.toml:{line}".replace("DIR", str(files.directory)).split("is not valid before")[0]
            for line in expected
        ]
        assert found == wanted

    def test_key_that_cannot_be_read(self, files: Files) -> None:
        """Nobody but its owner may read a key; netd says when that is not itself."""
        if os.geteuid() == 0:
            pytest.skip("root is denied nothing")
        os.chmod(files.path("host.key"), 0)
        table = '[services.a.tls]\ncertificate = "host.crt"\nprivate_key = "host.key"\n'
        assert files.problems(HEAD, table) == [
            f"netd.toml:6: {TLS}.private_key: cannot read host.key: Permission denied"
        ]

    @pytest.mark.parametrize("address", ["unix:@a:tls=yes", "tls6:1:interface=[::1]"])
    def test_other_listeners(self, files: Files, address: str) -> None:
        """Each address that begins with TLS needs a certificate."""
        (found,) = files.problems(HEAD.replace("tls:1", address))
        assert f"{TLS}.certificate: is required for " in found

    def test_datagrams_only(self, files: Files) -> None:
        """There is no TLS of packets here."""
        assert files.problems(HEAD.replace("tls:1", "udp:1"), CERTIFICATE) == [
            f"netd.toml:4: {TLS}: is for streams, and the service listens for datagrams only: leave"
            " it out"
        ]

    def test_waiting_program(self, files: Files) -> None:
        """Who takes for itself would get no TLS."""
        head = HEAD.replace('handler = "m:C"', 'program = ["sh"]\nwait = true')
        assert files.problems(head, CERTIFICATE) == [
            "netd.toml:4: services.a.wait: lets the program accept the clients of tls:1 itself, so"
            " netd cannot do their TLS handshake: leave it out, or listen without TLS"
        ]

        assert files.problems(head.replace("tls:", "tcp:"), CERTIFICATE) == [
            f"netd.toml:5: {TLS}: a program with wait = true accepts its clients itself: leave it"
            " out"
        ]

    def test_plugin(self, files: Files) -> None:
        """Nor would a plugin."""
        assert files.problems('[services.a]\nplugin = "web"\n', CERTIFICATE) == [
            f"netd.toml:3: {TLS}: a plugin binds by itself: set up TLS in its arguments"
        ]

    def test_entries_that_match_nobody(self, files: Files) -> None:
        """A rule about certificates that nobody is asked for is a mistake, and a dangerous one."""
        access = '[services.a.access]\ndeny = ["::1", "certificate:a.b"]\n'
        assert files.problems(HEAD, CERTIFICATE, access) == [
            'netd.toml:7: services.a.access.deny: "certificate:a.b" matches no client, since none'
            ' is asked for a certificate: set client_certificate = "optional" or "required" in'
            " [tls]"
        ]
        asked = 'client_certificate = "optional"\nclient_ca = "ca.pem"\n'
        assert files.load(HEAD, CERTIFICATE, asked, access)


class TestNotes:
    """What an operator should know, and no reason to refuse a reload."""

    @pytest.mark.parametrize(
        ("days", "said"), [(-3.5, "expired 3 days ago"), (6.5, "expires in 6 days"), (15, None)]
    )
    def test_days_left(self, files: Files, days: float, said: str | None) -> None:
        """A certificate near its end is spoken of, and served all the same."""
        files.put("host", issued("host.example", days=days))
        notes = files.notes(HEAD, CERTIFICATE)
        assert files.tls(HEAD, CERTIFICATE)
        if said is None:
            assert notes == []
        else:
            (note,) = notes
            assert note.startswith(f"netd.toml:5: {TLS}.certificate: host.pem {said}, on 20")

    def test_once(self, files: Files) -> None:
        """What two services have from the defaults is said once."""
        files.put("host", issued("host.example", days=1))
        other = HEAD.replace("services.a", "services.b").replace("tls:1", "tls:2")
        defaults = '[defaults.tls]\ncertificate = "host.pem"\n'
        assert len(files.notes(defaults, HEAD, other)) == 1

    @pytest.mark.parametrize(
        ("name", "fits"),
        [
            ("host.example", True),
            ("www.example", False),
            ("*.wild.example", True),
            ("a.wild.example", True),
            ("*.example", False),
        ],
    )
    def test_names(self, files: Files, name: str, fits: bool) -> None:
        """A certificate that is not for the name it is served for is probably another's."""
        files.put("host", issued("host.example", "*.wild.example"))
        sni = f'[services.a.tls.sni."{name}"]\ncertificate = "host.pem"\n'
        where = f'netd.toml:7: {TLS}.sni."{name}".certificate: '
        expected = [] if fits else [f"{where}host.pem is not for {name}"]
        assert files.notes(HEAD, CERTIFICATE, sni) == expected


class TestSelfSigned:
    """A file that netd makes: not while it is reading."""

    TABLE = '[services.a.tls]\nself_signed = "run/own.pem"\n'

    def test_missing(self, files: Files) -> None:
        """It need not be there, nor its directory."""
        identity = files.tls(HEAD, self.TABLE).identity
        assert identity.self_signed
        assert identity.is_missing
        assert identity.certificate.path == files.path("run/own.pem")
        assert not (files.directory / "run").exists()

    def test_there(self, files: Files) -> None:
        """One that is good is served, also when somebody else has made it."""
        (files.directory / "run").mkdir()
        now = datetime.datetime.now(datetime.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        for content in (self_signed.made(now), signed(key)):
            files.write("run/own.pem", content)
            identity = files.tls(HEAD, self.TABLE).identity
            assert identity.certificate.content == content == identity.private_key.content

    def test_near_its_end(self, files: Files) -> None:
        """What is to be done about it is nothing, yet."""
        (files.directory / "run").mkdir()
        files.write("run/own.pem", signed(ec.generate_private_key(ec.SECP256R1()), (-1, 2.5)))
        (note,) = files.notes(HEAD, self.TABLE)
        assert "run/own.pem expires in 2 days" in note
        assert note.endswith("; a reload after that makes a new one")

    @pytest.mark.parametrize("days", [(-2, -1), None])
    def test_to_be_made_again(self, files: Files, days: tuple[float, float] | None) -> None:
        """One that has expired, or lost its key, is as good as none."""
        (files.directory / "run").mkdir()
        content = signed(ec.generate_private_key(ec.SECP256R1()), days or (-1, 1))
        if days is None:
            content = content[: content.index(b"-----BEGIN PRIVATE")]
        files.write("run/own.pem", content)
        assert files.tls(HEAD, self.TABLE).identity.is_missing
        assert (files.directory / "run" / "own.pem").read_bytes() == content
