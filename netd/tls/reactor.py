"""TLS for the reactor: a service's table as the object from which Twisted makes TLS connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from netd.model.tls import ClientCertificate, Identity, Tls, Version
from netd.tls import offer, pem
from netd.tls.names import ServerNames
from netd.tls.openssl_private import set_groups

_VERSIONS: Final[dict[Version, int]] = {
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}

_REQUESTS: Final[dict[ClientCertificate, int]] = {
    "none": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@implementer(IOpenSSLServerConnectionCreator)
class ReactorContext:
    """The contexts of a service, for Twisted's ``TLSMemoryBIOFactory`` and ``startTLS``.

    Immutable.
    """

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N803
        """A connection without a socket: Twisted passes the bytes."""
        return SSL.Connection(self._context, None)


def reactor_context(tls: Tls) -> ReactorContext:
    """The contexts that serve *tls*, with the identity for the server name that a client sends.

    They offer the same as ``blocking_context``. Raises SSL.Error, or ValueError for content that is
    not PEM; ``netd.config`` has tried both before.
    """
    # OpenSSL selects an identity by changing the context of a connection, so each has its own.
    made = {tls.identity: _context(tls, tls.identity)}
    for _, identity in tls.sni:
        if identity not in made:
            made[identity] = _context(tls, identity)
    default = made[tls.identity]
    if tls.sni:
        names = ServerNames((name, made[identity]) for name, identity in tls.sni)
        default.set_tlsext_servername_callback(_server_name_callback(names))
    return ReactorContext(default)


def _server_name_callback(names: ServerNames[SSL.Context]) -> Callable[[SSL.Connection], None]:
    def choose(connection: SSL.Connection) -> None:
        found = names.find(connection.get_servername())
        if found is not None:
            connection.set_context(found)

    return choose


def _context(tls: Tls, identity: Identity) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_options(
        SSL.OP_ALL
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_NO_COMPRESSION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    # Idle connections give up 34 KiB of buffers each (SSL_CTX_set_mode(3)).
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_min_proto_version(_VERSIONS[tls.minimum_version])
    if tls.maximum_version is not None:
        context.set_max_proto_version(_VERSIONS[tls.maximum_version])
    context.set_cipher_list(offer.CIPHERS.encode())  # also sets the security level
    if tls.ciphers is not None:
        context.set_cipher_list(tls.ciphers.encode())
    groups = offer.groups()
    if groups is not None:
        set_groups(context, groups)
    if tls.alpn:
        context.set_alpn_select_callback(_alpn_callback([name.encode() for name in tls.alpn]))
    _load(context, identity)
    _ask_for_certificates(context, tls)
    return context


def _alpn_callback(offered: list[bytes]) -> Callable[[SSL.Connection, list[bytes]], Any]:
    """The choice among the protocols of a client, in the service's order of preference."""

    # Any: pyOpenSSL has no public name for the type of NO_OVERLAPPING_PROTOCOLS.
    def select(_connection: SSL.Connection, wanted: list[bytes]) -> Any:
        return next((name for name in offered if name in wanted), SSL.NO_OVERLAPPING_PROTOCOLS)

    return select


def _ask_for_certificates(context: SSL.Context, tls: Tls) -> None:
    """Request and verify clients' certificates. OpenSSL also checks their purpose."""
    context.set_verify(_REQUESTS[tls.client_certificate])
    context.set_session_id(offer.SESSION_ID_CONTEXT)
    # Clients keep sessions in tickets, so no cache in memory is needed.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if tls.client_certificate == "none":
        return
    store = context.get_cert_store()
    if tls.client_ca is not None and store is not None:
        # An intermediate authority in the file is trusted without the root above it.
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
        for authority in pem.certificates(tls.client_ca.content):
            store.add_cert(X509.from_cryptography(authority))
    # A resumed session is not verified again, so there are none.
    context.set_options(SSL.OP_NO_TICKET)


def _load(context: SSL.Context, identity: Identity) -> None:
    own, *chain = pem.certificates(identity.certificate.content)
    context.use_certificate(own)
    for each in chain:
        context.add_extra_chain_cert(each)
    context.use_privatekey(pem.private_key(identity.private_key.content))
    context.check_privatekey()
