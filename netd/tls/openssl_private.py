"""The one module of netd that calls OpenSSL below pyOpenSSL's public interface.

pyOpenSSL (26.4) has no method for two things that netd needs, although the bindings that it is made
of (``OpenSSL._util.lib``, a part of ``cryptography``) have the C functions. The names with an
underscore may change with any release. So each is used here only, behind a function with a type,
and ``tests/tls/test_openssl_private.py`` calls each against the installed version.
"""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL._util import ffi, lib


def set_groups(context: SSL.Context, groups: str) -> None:
    """Offer the key exchange *groups*, such as ``X25519:P-256`` (SSL_CTX_set1_groups_list(3)).

    The public ``Context.set_tmp_ecdh`` takes one group and not a list. Raises ValueError for a
    group that this OpenSSL does not have.
    """
    # The binding has the older name of the same function (OpenSSL 1.1.1, <openssl/ssl.h>).
    if not lib.SSL_CTX_set1_curves_list(context._context, groups.encode()):
        raise ValueError(f"OpenSSL does not know the groups {groups}")


def verification_error(code: int) -> str:
    """OpenSSL's text for the *code* that a verify callback gets (X509_verify_cert_error_string(3)).

    The public ``X509StoreContextError`` has such a text, but not for a handshake's verification.
    """
    return str(ffi.string(lib.X509_verify_cert_error_string(code)).decode())
