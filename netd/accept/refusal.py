"""Why a connection is not served: the words of the log and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GONE: Final = "gone"
"""The client closed the connection before it could be served."""

PROXY_HEADER: Final = "proxy-header"
"""A proxy did not send the header that it must send."""

TIMED_OUT: Final = "handshake_timeout"
"""The first bytes or the handshake took too long."""

CROWDED: Final = "handshakes"
"""Too many other connections are pending."""

HANDSHAKE: Final = "handshake"
"""The TLS handshake failed; OpenSSL's reason follows."""

UNWATCHED: Final = "unwatched"
"""The system cannot watch another descriptor (epoll_ctl(2))."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """*reason* is a word that is counted and searched for, *detail* is for people."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}, {self.detail}" if self.detail else self.reason
