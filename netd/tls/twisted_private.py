"""The one module of netd that names what Twisted's TLS keeps private.

``TLSMemoryBIOProtocol`` connects the user's protocol before the handshake, waits without a bound
for the client's ``close_notify``, and treats a client that finished sending as one that has gone.
Twisted has no option for any of these. So ``netd.execution.reactor.tls.TlsTransport`` derives from
that class, overrides some of its private methods and reads some of its private attributes. They
are as in Twisted 26.10; they may change with any release.

The tables list these names. ``tests/tls/test_twisted_private.py`` fails for a name that the
installed Twisted does not have, and shows that Twisted itself calls what is overridden: an
override that is never called would fail silently.
"""

from __future__ import annotations

from typing import Final

from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

__all__ = [
    "FACTORY_ATTRIBUTES",
    "OVERRIDDEN_METHODS",
    "PROTOCOL_ATTRIBUTES",
    "USED_METHODS",
    "TLSMemoryBIOFactory",
    "TLSMemoryBIOProtocol",
]

OVERRIDDEN_METHODS: Final = (
    "_checkHandshakeStatus",
    "_flushReceiveBIO",
    "_flushSendBIO",
    "_shutdownTLS",
)
"""Methods of ``TLSMemoryBIOProtocol`` that Twisted calls and netd replaces."""

USED_METHODS: Final = ("_flushSendBIO", "_tlsShutdownFinished", "_write")
"""Methods of ``TLSMemoryBIOProtocol`` that netd calls."""

PROTOCOL_ATTRIBUTES: Final = (
    "_aborted",
    "_appSendBuffer",
    "_handshakeDone",
    "_lostTLSConnection",
    "_producer",
    "_reason",
    "_tlsConnection",
)
"""What a connected ``TLSMemoryBIOProtocol`` has, and netd reads or sets."""

FACTORY_ATTRIBUTES: Final = ("_creatorCallable",)
"""What ``TLSMemoryBIOFactory`` has: the function that makes OpenSSL's connections."""
