"""The TLS of a service, as the daemon has read it. Workers create their contexts from it.

Only the daemon reads the files: the user of a worker may have no access to them, and all workers of
a generation must have the same certificate, even if a file changes meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

HANDSHAKE_TIMEOUT: Final = 10.0
"""Default: seconds from the accepted connection to the end of the handshake."""

Version = Literal["TLSv1.2", "TLSv1.3"]

ClientCertificate = Literal["none", "optional", "required"]


@dataclass(frozen=True)
class Pem:
    """A file with certificates or a key, in PEM (RFC 7468)."""

    path: str
    """Absolute; for messages."""
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Identity:
    """A certificate with its intermediate certificates, and its key."""

    certificate: Pem
    private_key: Pem
    """The same file as ``certificate``, if that has the key."""
    self_signed: bool = False
    """Whether netd creates the file if it is missing or expired."""

    @property
    def is_missing(self) -> bool:
        """Whether netd must still create the file."""
        return not self.certificate.content


@dataclass(frozen=True)
class Tls:
    """The ``[tls]`` of a service."""

    identity: Identity
    sni: tuple[tuple[str, Identity], ...] = ()
    """More identities, by the server name that a client asks for (RFC 6066): in lower case and
    A-labels, or with a wildcard for one label, ``*.host.example``."""
    client_certificate: ClientCertificate = "none"
    client_ca: Pem | None = None
    """The certificates of the authorities that may issue client certificates."""
    minimum_version: Version = "TLSv1.2"
    maximum_version: Version | None = None
    ciphers: str | None = None
    """Ciphers of TLS 1.2, in OpenSSL's syntax; None for netd's choice."""
    alpn: tuple[str, ...] = ()
    """Protocols to offer, the preferred one first (RFC 7301)."""
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    """Seconds."""
    suppress_ragged_eofs: bool = True
    """Whether a handler sees an ordinary end of file without ``close_notify``."""

    @property
    def identities(self) -> tuple[Identity, ...]:
        """All identities, the default one first."""
        return (self.identity, *(identity for _, identity in self.sni))

    @property
    def files(self) -> tuple[Pem, ...]:
        """All files that were read."""
        own = (pem for each in self.identities for pem in (each.certificate, each.private_key))
        return (*own, *([] if self.client_ca is None else [self.client_ca]))

    def without_contents(self) -> Tls:
        """Return the table without the contents of its files, to compare what two tables say."""
        return replace(
            self,
            identity=_empty(self.identity),
            sni=tuple((name, _empty(identity)) for name, identity in self.sni),
            client_ca=None if self.client_ca is None else replace(self.client_ca, content=b""),
        )


def _empty(identity: Identity) -> Identity:
    certificate, key = identity.certificate, identity.private_key
    return replace(
        identity,
        certificate=replace(certificate, content=b""),
        private_key=replace(key, content=b""),
    )
