"""The first bytes of a connection: its PROXY header, and the first byte of TLS.

Only the header is received. All that follows stays in the socket for the handler or for TLS, so a
pending connection costs a descriptor and this small object, and can be handed to another process.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from netd.accept.refusal import GONE, PROXY_HEADER, Refusal
from netd.proxy.datagrams import text_of
from netd.proxy.header import LONGEST, Header, HeaderReader, InvalidHeader

_PEEK: Final = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
_CONSUME: Final = int(socket.MSG_DONTWAIT)
"""As plain numbers, because joining flags takes as long as receiving."""


class NotAdmitted(Exception):
    """The connection is to be closed, because of *refusal*."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.refusal = Refusal(reason, detail)


class FirstBytes:
    """The first bytes of one connection. One thread at a time.

    It does not own *request*: its caller closes that. *client* is the client's address for people,
    *since* when the connection was accepted (CLOCK_MONOTONIC). *awaits_header*: its peer is one of
    the service's proxies. *awaits_byte*: TLS follows, of which nothing is received here.
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
        """The real client's, as ``socketserver`` passes it, once the header has been read."""
        self.client = client
        """The same for people."""
        self.since = since
        self.header: Header | None = None
        """The proxy's header."""
        self._reader = HeaderReader() if awaits_header else None
        self._awaits_byte = awaits_byte

    @property
    def awaits_header(self) -> bool:
        """Whether a header is due that has not been read to its end."""
        return self._reader is not None

    @property
    def is_proxied(self) -> bool:
        """Whether the client differs from the peer. A proxy's own connection says ``LOCAL``."""
        return self.header is not None and self.header.source is not None

    @property
    def local_address(self) -> Any:
        """Where the client connected to, by its proxy's word; None if that is the listener."""
        return None if self.header is None else self.header.destination

    def advance(self) -> bool:
        """Look at what has come, without waiting; call it when the connection is readable.

        True when nothing more is awaited. An incomplete header has been received as far as it came,
        so that a level-triggered wait reports only what follows. Raises NotAdmitted when the client
        has gone, or what came is no header.
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
        """Return what is there, or nothing if nothing has come yet. Raises NotAdmitted."""
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
        """Receive what has been looked at. Raises NotAdmitted."""
        while size:
            try:
                # A Unix socket may give less, where descriptors have been passed in between.
                received = len(self.request.recv(size, _CONSUME))
            except OSError:
                received = 0
            if not received:
                raise NotAdmitted(GONE)
            size -= received
