"""A certificate that netd makes itself: to try TLS, or for clients that pin it."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netd.tls.pem import NotPem, certificates, private_key

LIFETIME: Final = timedelta(days=30)

_EARLIER: Final = timedelta(hours=1)
"""It is valid from this long before it was made, since clients' clocks may be slow."""

_HOST: Final = "localhost"

_ADDRESSES: Final = ("127.0.0.1", "::1")


class NotOurs(ValueError):
    """A file contains something else, which must not be overwritten."""


def needs_making(content: bytes, now: datetime) -> bool:
    """Whether a file with *content* needs a new self-signed certificate at *now*.

    Raises NotOurs if it contains something else.
    """
    if not content.strip():
        return True
    try:
        first = certificates(content)[0]
        first.verify_directly_issued_by(first)
    except (NotPem, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise NotOurs("is not a self-signed certificate, and is not overwritten") from error
    if first.not_valid_after_utc <= now:
        return True
    try:
        return private_key(content).public_key() != first.public_key()
    except NotPem:
        return True


def made(now: datetime) -> bytes:
    """A new certificate for the loopback names of this machine, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "netd, self-signed"),
            x509.NameAttribute(NameOID.COMMON_NAME, _HOST),
        ]
    )
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    names = x509.SubjectAlternativeName([x509.DNSName(_HOST), *addresses])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + LIFETIME)
        .add_extension(names, critical=False)
        .add_extension(usage, critical=False)
        # Not an authority: a client that trusts this certificate trusts nothing that its key signs.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def write(path: str, content: bytes, uid: int | None = None, gid: int | None = None) -> None:
    """Write *content* to *path* with mode 600, whole or not at all. Raises OSError.

    The directory is made if it is missing. *uid* and *gid* become the owner; None changes nothing.
    """
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    # mkstemp makes it with mode 600, so the key is never readable by others.
    descriptor, beside = tempfile.mkstemp(dir=directory, prefix=f".{os.path.basename(path)}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if uid is not None or gid is not None:
                os.fchown(descriptor, -1 if uid is None else uid, -1 if gid is None else gid)
            # Before the rename, or a crash could leave an empty file under the name.
            os.fsync(descriptor)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
