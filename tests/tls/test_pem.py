"""``netd.tls.pem``: certificates and keys out of files."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from netd.tls.pem import NotPem, certificates, private_key
from tests.tls.authorities import authority, identity

CERTIFICATE = identity("host.example").certificate.content
KEY = identity("host.example").private_key.content
BROKEN = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def encrypted(form: serialization.PrivateFormat) -> bytes:
    """A key with a password."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret")
    )


class TestCertificates:
    """All certificates of a file."""

    def test_in_order(self) -> None:
        """The first is the service's own."""
        bundle = CERTIFICATE + authority().cert_pem.bytes()
        assert len(certificates(bundle)) == 2
        assert certificates(bundle)[0] == certificates(CERTIFICATE)[0]

    def test_among_other_things(self) -> None:
        """A key in the same file, and text in any encoding, do not matter."""
        assert certificates(KEY + b"# M\xfcller\n" + CERTIFICATE) == certificates(CERTIFICATE)

    @pytest.mark.parametrize(
        "content", [b"", b"text", KEY, CERTIFICATE[:100]], ids=["empty", "text", "key", "cut"]
    )
    def test_none(self, content: bytes) -> None:
        """A file without one."""
        with pytest.raises(NotPem, match="no certificate"):
            certificates(content)

    def test_broken(self) -> None:
        """One that is none."""
        with pytest.raises(NotPem, match="cannot be read"):
            certificates(BROKEN)


class TestPrivateKey:
    """The private key of a file."""

    @pytest.mark.parametrize("before", [b"", CERTIFICATE, b"# M\xfcller\n"])
    @pytest.mark.parametrize(
        "form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
    )
    def test_wherever_it_stands(self, before: bytes, form: serialization.PrivateFormat) -> None:
        """Beside a certificate, too, and in the older form."""
        key = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.NoEncryption()
        text = key.private_bytes(serialization.Encoding.PEM, form, plain)
        found = private_key(before + text)
        assert isinstance(found, ec.EllipticCurvePrivateKey)
        assert found.private_numbers() == key.private_numbers()

    def test_after_its_parameters(self) -> None:
        """As "openssl ecparam -genkey" writes it."""
        parameters = (
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        )
        assert private_key(parameters + KEY)

    @pytest.mark.parametrize(
        "content", [b"", CERTIFICATE, b"text"], ids=["empty", "certificate", "text"]
    )
    def test_none(self, content: bytes) -> None:
        """A file without one."""
        with pytest.raises(NotPem, match="no private key"):
            private_key(content)

    @pytest.mark.parametrize(
        "form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
    )
    def test_with_a_password(self, form: serialization.PrivateFormat) -> None:
        """Both ways of encrypting one are told."""
        with pytest.raises(NotPem, match="password"):
            private_key(encrypted(form))

    def test_broken(self) -> None:
        """One that is none."""
        broken = BROKEN.replace(b"CERTIFICATE", b"PRIVATE KEY")
        with pytest.raises(NotPem, match="cannot be read"):
            private_key(broken)
