"""A connection that has been taken and not begun: its first bytes are waited for.

Nothing is read that belongs to whom it is handed on to, so it costs a descriptor and this small
object until then, whoever waits: an epoll of threads, or a reactor.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from netd.proxy.datagrams import text_of
from netd.proxy.header import LONGEST, Header, HeaderReader, InvalidHeader

GONE: Final = "gone"
"""Why a client is not served that went before it had begun."""

PROXY_HEADER: Final = "proxy-header"
"""Why a client is not served whose proxy did not send the header that it must send."""

_PEEK: Final = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
_CONSUME: Final = int(socket.MSG_DONTWAIT)
"""As plain numbers, because joining flags takes as long as receiving."""


class NotAdmitted(Exception):
    """The connection is to be closed; *reason* is a word for the log, *detail* is for people."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class FirstBytes:
    """One connection, from being taken until it can be handed on. One thread at a time.

    It does not own *request*: whoever has taken it closes it. *client* is the client's address
    for people, *since* when it was taken (monotonic). Where its peer is one of the service's
    proxies, *awaits_header*; where TLS follows, *awaits_byte*, of which nothing is received.
    """

    __slots__ = (
        "_awaits_byte",
        "_reader",
        "client",
        "client_address",
        "header",
        "request",
        "since",
    )

    def __init__(
        self,
        request: socket.socket,
        client_address: Any,
        client: str,
        since: float,
        *,
        awaits_header: bool,
        awaits_byte: bool,
    ) -> None:
        self.request = request
        self.client_address = client_address
        """The real client's, as ``socketserver`` passes it, once ``advance`` has said True."""
        self.client = client
        """The same for people."""
        self.since = since
        self.header: Header | None = None
        """What a proxy has said."""
        self._reader = HeaderReader() if awaits_header else None
        self._awaits_byte = awaits_byte

    @property
    def is_proxied(self) -> bool:
        """Whether the client is another one than the peer."""
        return self.header is not None and self.header.source is not None

    @property
    def local_address(self) -> Any:
        """Where the client has connected to, by its proxy's word; None where that is here."""
        return None if self.header is None else self.header.destination

    def advance(self) -> bool:
        """Look at what has come, without waiting; to be called when the connection is readable.

        True when it can be handed on, False when it has to be waited for. What belongs to an
        incomplete header has been received then, so that a level-triggered wait waits for more.
        Raises NotAdmitted when the client has gone, or what came is no header.
        """
        if self._reader is not None and not self._read_header(self._reader):
            return False
        return not self._awaits_byte or bool(self._peek(1))

    def _read_header(self, reader: HeaderReader) -> bool:
        data = self._peek(LONGEST)
        if not data:
            return False
        try:
            length = reader.feed(data)
        except InvalidHeader as error:
            raise NotAdmitted(PROXY_HEADER, str(error)) from None
        self._receive(len(data) if length is None else length)
        if reader.header is None:
            return False
        self._reader = None
        self.header = header = reader.header
        if header.source is not None:
            self.client_address = header.source
            self.client = text_of(header.source)
        return True

    def _peek(self, size: int) -> bytes:
        """Return what is there, nothing if that has to be waited for. Raises NotAdmitted."""
        try:
            data = self.request.recv(size, _PEEK)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:
            raise NotAdmitted(GONE) from None
        if not data:
            raise NotAdmitted(GONE)
        return data

    def _receive(self, size: int) -> None:
        """Take away what has been looked at. Raises NotAdmitted."""
        while size:
            try:
                # A Unix socket may give less, where descriptors have been passed in between.
                received = len(self.request.recv(size, _CONSUME))
            except OSError:
                received = 0
            if not received:
                raise NotAdmitted(GONE)
            size -= received
