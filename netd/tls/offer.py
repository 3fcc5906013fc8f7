"""What a service offers to TLS clients, with either OpenSSL.

Blocking handlers use the OpenSSL of Python's ``ssl``, the reactor that of ``cryptography``. A
client must not see a difference, so what the versions would decide differently is decided here.
"""

from __future__ import annotations

import ssl
from typing import Final

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""The ciphers of TLS 1.2: only forward secrecy with authenticated encryption, so no CBC and no
static RSA (RFC 9325, 4.1 and 4.2). Level 2 requires keys of 112 bits, RSA of 2048
(SSL_CTX_set_security_level(3)). All ciphers of TLS 1.3 satisfy this."""

_GROUPS: Final = "X25519:P-256:X448:P-521:P-384:ffdhe2048:ffdhe3072:ffdhe4096:ffdhe6144:ffdhe8192"
"""The default of OpenSSL 3.0 to 3.4 (SSL_CTX_set1_groups_list(3))."""

_KEMS_SINCE: Final = (3, 5)
"""The first OpenSSL that offers post-quantum groups by default."""

SESSION_ID_CONTEXT: Final = b"netd"
"""OpenSSL requires one to resume sessions of clients with a certificate
(SSL_CTX_set_session_id_context(3))."""


def groups() -> str | None:
    """The groups for the key exchange that the reactor offers; None for its OpenSSL's default.

    Python's ``ssl`` cannot set groups before Python 3.15. So the reactor offers the same as its
    default.
    """
    return _GROUPS if ssl.OPENSSL_VERSION_INFO[:2] < _KEMS_SINCE else None
