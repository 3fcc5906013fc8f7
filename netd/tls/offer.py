"""What a service offers to TLS clients, whichever of its two OpenSSLs it is run by.

Blocking handlers have the OpenSSL of Python's ``ssl``, the reactor that of ``cryptography``. A
client must not see a difference, so whatever one of them would decide by itself is decided here.
"""

from __future__ import annotations

import ssl
from typing import Final

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""Of TLS 1.2: forward secrecy and authenticated encryption, nothing else; so no CBC and no static
RSA (RFC 9325, 4.1 and 4.2). Level 2 asks for keys of 112 bits, as RSA has with 2048
(SSL_CTX_set_security_level(3)). What TLS 1.3 has is all like that."""

_GROUPS: Final = "X25519:P-256:X448:P-521:P-384:ffdhe2048:ffdhe3072:ffdhe4096:ffdhe6144:ffdhe8192"
"""The default of OpenSSL 3.0 to 3.4 (SSL_CTX_set1_groups_list(3))."""

_KEMS_SINCE: Final = (3, 5)
"""The OpenSSL from which on post-quantum groups are offered by default."""

SESSION_ID_CONTEXT: Final = b"netd"
"""Without one, OpenSSL resumes no session of a client that has shown a certificate
(SSL_CTX_set_session_id_context(3))."""


def groups() -> str | None:
    """The groups for the key exchange that the reactor offers; None for its OpenSSL's default.

    Python's ``ssl`` cannot be told them before 3.15, so the other side does as that does.
    """
    return _GROUPS if ssl.OPENSSL_VERSION_INFO[:2] < _KEMS_SINCE else None
