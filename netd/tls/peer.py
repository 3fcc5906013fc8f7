"""A certificate that the other side has presented, and the names it is for."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.x509 import DNSName, IPAddress, UniformResourceIdentifier
from service_identity import CertificateError
from service_identity.hazmat import (
    DNS_ID,
    URI_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    ServiceID,
    URIPattern,
)


def _now() -> datetime:
    return datetime.now(UTC)


class ShownCertificate:
    """A certificate, from its DER (X.690). Raises ValueError for one that cannot be read.

    It is only read here. Whether to trust it is decided by OpenSSL, in the handshake.
    """

    def __init__(self, der: bytes) -> None:
        try:
            read = x509.load_der_x509_certificate(der)
            names = _alternative_names(read)
            subject, issuer = read.subject.rfc4514_string(), read.issuer.rfc4514_string()
        # Exception, since cryptography has classes of its own for versions that do not exist.
        except Exception as error:
            raise ValueError(f"certificate cannot be read: {error}") from error
        self.subject: Final = subject
        """In the form of RFC 4514: ``CN=client,O=example``."""
        self.issuer: Final = issuer
        self.serial: Final = f"{read.serial_number:X}"
        """In hexadecimal digits."""
        self.not_before: Final = read.not_valid_before_utc
        self.not_after: Final = read.not_valid_after_utc
        self.hosts: Final = tuple(names.get_values_for_type(DNSName))
        self.uris: Final = tuple(names.get_values_for_type(UniformResourceIdentifier))
        self.addresses: Final = tuple(map(str, names.get_values_for_type(IPAddress)))
        self._patterns: Final = tuple(self._read_patterns())

    @property
    def names(self) -> tuple[str, ...]:
        """All names it is for: hosts, addresses, URIs. The subject is not one (RFC 9525, 2)."""
        return (*self.hosts, *self.addresses, *self.uris)

    def is_for(self, name: str) -> bool:
        """Whether it is for *name*: a host, an address or a URI, in the form of access entries.

        service-identity compares by the rules of RFC 9525.
        """
        # It compares only scheme and host of a URI. One with a path (spiffe://…) must be equal.
        if name in self.uris:
            return True
        wanted = _identifier(name)
        return wanted is not None and any(map(wanted.verify, self._patterns))

    def _read_patterns(self) -> Iterator[CertificatePattern]:
        """The names as service-identity compares them. One that it cannot read matches nothing."""
        for host in self.hosts:
            yield from _pattern(DNSPattern.from_bytes, host)
        for uri in self.uris:
            yield from _pattern(URIPattern.from_bytes, uri)
        for address in self.addresses:
            yield IPAddressPattern(ipaddress.ip_address(address))


class ClientCertificate(ShownCertificate):
    """A client's certificate, which its handshake has verified.

    Raises ValueError for one that cannot be read, or that has expired by the clock *now*. Its
    client must be refused: whether a ``deny`` entry matches is unknown, and OpenSSL does not check
    the time again when a session is resumed.
    """

    def __init__(self, der: bytes, now: Callable[[], datetime] = _now) -> None:
        super().__init__(der)
        if self.not_after < now():
            raise ValueError("certificate has expired")


def _alternative_names(read: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        found = read.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])
    return found.value


def _pattern(
    read: Callable[[bytes], CertificatePattern], name: str
) -> Iterator[CertificatePattern]:
    try:
        yield read(name.encode())
    except (CertificateError, ValueError):
        return


def _identifier(name: str) -> ServiceID | None:
    """A name as service-identity searches for it; None if it has no rule for it."""
    try:
        return IPAddress_ID(name)
    except ValueError:
        pass
    try:
        return URI_ID(name) if ":" in name else DNS_ID(name)
    except ValueError:
        return None
