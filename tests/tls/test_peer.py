"""``netd.tls.peer`` and ``netd.tls.environment``: who has shown a certificate."""

from __future__ import annotations

import datetime
import ipaddress
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from netd.tls.environment import environment
from netd.tls.peer import ClientCertificate, ShownCertificate
from tests.properties import many

KEY = ec.generate_private_key(ec.SECP256R1())
BEGIN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
END = datetime.datetime(2036, 11, 12, 13, 14, 15, tzinfo=datetime.UTC)


def name(**parts: str) -> x509.Name:
    """A distinguished name."""
    return x509.Name(
        [x509.NameAttribute(getattr(NameOID, key), value) for key, value in parts.items()]
    )


def made(*names: x509.GeneralName, common_name: str = "client") -> x509.Certificate:
    """A certificate with so many alternative names."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(ORGANIZATION_NAME="Example, Inc.", COMMON_NAME=common_name))
        .issuer_name(name(COMMON_NAME="CA"))
        .public_key(KEY.public_key())
        .serial_number(0xABCDEF)
        .not_valid_before(BEGIN)
        .not_valid_after(END)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256())


def certificate(*names: x509.GeneralName, common_name: str = "client") -> ClientCertificate:
    """The same, read."""
    return ClientCertificate(made(*names, common_name=common_name).public_bytes(Encoding.DER))


def host(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def address(text: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(text))


GOOD = made(host("client.example"), uri("sip:a.b")).public_bytes(Encoding.DER)


class TestIsFor:
    """Whom it is for."""

    @pytest.mark.parametrize(
        ("names", "asked"),
        [
            ([host("client.example")], "client.example"),
            ([host("CLIENT.example")], "client.example"),
            ([host("other.example"), host("client.example")], "client.example"),
            ([host("*.example.org")], "a.example.org"),
            ([host("xn--bcher-kva.example")], "xn--bcher-kva.example"),
            ([address("192.0.2.1")], "192.0.2.1"),
            ([address("2001:db8::1")], "2001:db8::1"),
            ([uri("sip:voice.example")], "sip:voice.example"),
            ([uri("spiffe://a.example/web")], "spiffe://a.example/web"),
            ([uri("https://a.example:443/x")], "https://a.example:443/x"),
            (
                [host("192.0.2.1"), host("*"), uri("a:b:c"), host("client.example")],
                "client.example",
            ),
        ],
    )
    def test_matches(self, names: list[x509.GeneralName], asked: str) -> None:
        """Hosts, addresses and URIs; a name that is nonsense does not spoil the others."""
        assert certificate(*names).is_for(asked)

    @pytest.mark.parametrize(
        ("names", "asked"),
        [
            ([], "client"),
            ([host("client.example")], "client"),
            ([host("client.example")], "example"),
            ([host("client.example")], "a.client.example"),
            ([host("*.example.org")], "a.b.example.org"),
            ([host("*.example.org")], "example.org"),
            ([host("*.org")], "example.org"),
            ([host("*")], "client"),
            ([host("192.0.2.1")], "192.0.2.1"),
            ([address("192.0.2.1")], "192.0.2.2"),
            ([host("sip:voice.example")], "sip:voice.example"),
            ([uri("sip:voice.example")], "voice.example"),
            ([uri("spiffe://a.example/web")], "spiffe://a.example/db"),
            ([uri("spiffe://a.example/web")], "a.example"),
            ([host("client.example")], ""),
        ],
    )
    def test_does_not_match(self, names: list[x509.GeneralName], asked: str) -> None:
        """The subject's own name counts for nothing, and a kind never for another."""
        assert not certificate(*names).is_for(asked)


class TestFacts:
    """What it says."""

    def test_facts(self) -> None:
        """Subject and issuer as RFC 4514 has them, the serial number in hexadecimal digits."""
        read = certificate(host("client.example"), address("::1"), uri("sip:a.example"))
        assert read.subject == r"CN=client,O=Example\, Inc."
        assert read.issuer == "CN=CA"
        assert read.serial == "ABCDEF"
        assert read.names == ("client.example", "::1", "sip:a.example")
        assert (read.not_before, read.not_after) == (BEGIN, END)

    @given(st.data())
    @settings(max_examples=many(300))
    def test_broken(self, data: st.DataObject) -> None:
        """With any byte of it exchanged, it can be read, or is no certificate; nothing else."""
        der = bytearray(GOOD)
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of serial numbers that may not be
                read = ShownCertificate(bytes(der))
        except ValueError:
            return
        assert read.is_for("client.example") in (True, False)

    @pytest.mark.parametrize("der", [b"", b"text", b"\x30\x03\x02\x01\x01"])
    def test_unreadable(self, der: bytes) -> None:
        """What is no certificate is no client."""
        with pytest.raises(ValueError, match=r"."):
            ClientCertificate(der)


class TestTime:
    """A session that is resumed brings its certificate along, however old."""

    def test_over(self) -> None:
        """To the second."""
        der = made(host("client.example")).public_bytes(Encoding.DER)
        assert ClientCertificate(der, lambda: END)
        with pytest.raises(ValueError, match="expired"):
            ClientCertificate(der, lambda: END + datetime.timedelta(seconds=1))


class TestEnvironment:
    """What a program is told."""

    def test_without_a_certificate(self) -> None:
        """What is not known is not there."""
        assert environment("TLSv1.3", "TLS_AES_256_GCM_SHA384", None, None) == {
            "HTTPS": "on",
            "SSL_PROTOCOL": "TLSv1.3",
            "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
            "SSL_CLIENT_VERIFY": "NONE",
        }

    def test_with_a_certificate(self) -> None:
        """By the names of mod_ssl, whose kinds of names are joined by two more."""
        shown = certificate(host("a.example"), host("b.example"), address("::1"), uri("sip:a.b"))
        assert environment("TLSv1.2", "X", "www.example", shown) == {
            "HTTPS": "on",
            "SSL_PROTOCOL": "TLSv1.2",
            "SSL_CIPHER": "X",
            "SSL_TLS_SNI": "www.example",
            "SSL_CLIENT_VERIFY": "SUCCESS",
            "SSL_CLIENT_S_DN": r"CN=client,O=Example\, Inc.",
            "SSL_CLIENT_I_DN": "CN=CA",
            "SSL_CLIENT_M_SERIAL": "ABCDEF",
            "SSL_CLIENT_V_START": "Jan  2 03:04:05 2026 GMT",
            "SSL_CLIENT_V_END": "Nov 12 13:14:15 2036 GMT",
            "SSL_CLIENT_SAN_DNS_0": "a.example",
            "SSL_CLIENT_SAN_DNS_1": "b.example",
            "SSL_CLIENT_SAN_IP_0": "::1",
            "SSL_CLIENT_SAN_URI_0": "sip:a.b",
        }

    def test_what_no_environment_can_have(self) -> None:
        """A name with a NUL does not keep a program from being started."""
        shown = certificate(host("a\0b.example"), common_name="a\0b")
        assert not any("\0" in value for value in environment(None, None, None, shown).values())
