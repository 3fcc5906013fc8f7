"""TLS of a service, as the daemon has read it: what workers make their contexts of.

The daemon reads the files, since a worker may run as a user who cannot; so a worker never opens
one, and all workers of a generation serve what was there when it was checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds that a client has for its handshake, from being taken, where nobody says a number."""

Version = Literal["TLSv1.2", "TLSv1.3"]

ClientCertificate = Literal["none", "optional", "required"]


@dataclass(frozen=True)
class Pem:
    """A file with certificates or a key, in PEM (RFC 7468)."""

    path: str
    """Absolute, for people."""
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Identity:
    """Who a service is: a certificate, with those that lead to its issuer, and its key."""

    certificate: Pem
    private_key: Pem
    """The same file, where the key stands in it."""
    self_signed: bool = False
    """Whether it is netd that makes the file, where it is missing or expired."""

    @property
    def is_missing(self) -> bool:
        """Whether the file is still to be made."""
        return not self.certificate.content


@dataclass(frozen=True)
class Tls:
    """The ``[tls]`` of a service."""

    identity: Identity
    sni: tuple[tuple[str, Identity], ...] = ()
    """Others, by the name that a client asks for (RFC 6066): in lower case and A-labels, or a
    wildcard for one label, ``*.host.example``."""
    client_certificate: ClientCertificate = "none"
    client_ca: Pem | None = None
    """Who may have issued the certificates of clients."""
    minimum_version: Version = "TLSv1.2"
    maximum_version: Version | None = None
    ciphers: str | None = None
    """Of TLS 1.2, in OpenSSL's words; None for netd's choice."""
    alpn: tuple[str, ...] = ()
    """Protocols that are offered, the preferred one first (RFC 7301)."""
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    """Seconds."""
    suppress_ragged_eofs: bool = True
    """Whether a stream that ends without TLS's own end is an ordinary end to a handler."""

    @property
    def identities(self) -> tuple[Identity, ...]:
        """All that it can be."""
        return (self.identity, *(identity for _, identity in self.sni))

    @property
    def files(self) -> tuple[Pem, ...]:
        """All that was read."""
        own = (pem for each in self.identities for pem in (each.certificate, each.private_key))
        return (*own, *([] if self.client_ca is None else [self.client_ca]))

    def without_contents(self) -> Tls:
        """What the table says, whatever the files have in them."""
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
