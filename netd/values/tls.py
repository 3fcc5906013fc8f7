"""TLS of a service, as the daemon has read it: what workers make their contexts of.

The daemon reads the files, since a worker may run as a user who cannot; so a worker never opens
one, and all workers of a generation serve what was there when it was checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
