"""``netd.tls.openssl_private``: the installed pyOpenSSL has what netd uses of its private part."""

from __future__ import annotations

from contextlib import suppress

import pytest
from OpenSSL import SSL, _util

from netd.tls.openssl_private import set_groups, verification_error
from netd.tls.pem import certificates, private_key
from tests.tls.authorities import identity


@pytest.mark.parametrize("name", ["SSL_CTX_set1_curves_list", "X509_verify_cert_error_string"])
def test_the_binding_has_the_function(name: str) -> None:
    """Without it, look for a public method in pyOpenSSL's changelog, or bind another function."""
    assert hasattr(_util.lib, name), f"OpenSSL._util.lib has no {name} in this pyOpenSSL"


def test_the_context_has_its_pointer() -> None:
    assert hasattr(SSL.Context(SSL.TLS_SERVER_METHOD), "_context")


def negotiated_group(offered: str) -> str | None:
    """The group of a handshake in memory with a server that offers *offered*."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    own = identity("host.example")
    context.use_certificate(certificates(own.certificate.content)[0])
    context.use_privatekey(private_key(own.private_key.content))
    set_groups(context, offered)
    server = SSL.Connection(context, None)
    server.set_accept_state()
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    for one, other in ((client, server), (server, client)) * 4:
        with suppress(SSL.WantReadError):
            one.do_handshake()
        with suppress(SSL.WantReadError):
            other.bio_write(one.bio_read(1 << 16))
    return client.get_group_name()


class TestGroups:
    """The first group that both sides have is the one of the handshake."""

    @pytest.mark.parametrize(("offered", "expected"), [("P-384", "secp384r1"), ("X448", "x448")])
    def test_the_offer_decides(self, offered: str, expected: str) -> None:
        assert negotiated_group(offered) == expected

    def test_unknown(self) -> None:
        with pytest.raises(ValueError, match="OpenSSL does not know the groups P-255"):
            set_groups(SSL.Context(SSL.TLS_SERVER_METHOD), "P-255")


def test_verification_error() -> None:
    """X509_V_ERR_CERT_HAS_EXPIRED is 10 (<openssl/x509_vfy.h>)."""
    assert verification_error(10) == "certificate has expired"
