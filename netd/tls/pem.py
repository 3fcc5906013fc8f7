"""Certificates and keys from PEM files (RFC 7468), which may contain other text beside them."""

from __future__ import annotations

import re
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
"""The keys that a TLS server can sign with (RFC 8446, 4.2.3), in both OpenSSLs."""

_KEY: Final = re.compile(
    rb"-----BEGIN (?P<label>(?:[A-Z0-9]+ )*PRIVATE KEY)-----.*?-----END (?P=label)-----", re.DOTALL
)
"""PKCS #8 (``PRIVATE KEY``, ``ENCRYPTED PRIVATE KEY``), and the older labels with an algorithm."""

_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN (?P<label>(?:X509 )?CERTIFICATE)-----.*?-----END (?P=label)-----", re.DOTALL
)


class NotPem(ValueError):
    """A file lacks something that it needs; the message says what."""


def certificates(content: bytes) -> list[x509.Certificate]:
    """All certificates, in order; at least one. Raises NotPem."""
    # One by one, so that an error is about a certificate and not about the rest of the file.
    found = [match[0] for match in _CERTIFICATE.finditer(content)]
    if not found:
        raise NotPem("has no certificate in PEM, -----BEGIN CERTIFICATE-----")
    try:
        read = [x509.load_pem_x509_certificate(each) for each in found]
        for certificate in read:
            certificate.public_key()  # cryptography reads it only now, and may refuse it
    # Exception, since cryptography has classes of its own for versions and keys it does not know.
    except Exception as error:
        raise NotPem(f"has a certificate that cannot be read: {_first_line(error)}") from error
    return read


def private_key(content: bytes) -> PrivateKey:
    """The first private key. Raises NotPem if there is none, or if it has a password."""
    match = _KEY.search(content)
    if match is None:
        raise NotPem("has no private key in PEM, -----BEGIN PRIVATE KEY-----")
    try:
        key = load_pem_private_key(match[0], None)
    except TypeError as error:
        raise NotPem(
            "has a key with a password, which a start cannot ask for:"
            " write it without one (openssl pkey)"
        ) from error
    except Exception as error:  # as above
        raise NotPem(f"has a private key that cannot be read: {_first_line(error)}") from error
    if not isinstance(key, PrivateKey):
        raise NotPem("has a private key of a kind that TLS servers cannot use: use RSA or EC")
    return key


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
