"""``rfile`` of an asynchronous handler: the bytes that a client sends, awaited.

netd stops reading from a client that is HIGH_WATER bytes ahead of its handler. So a client costs
that much memory, or what one call of its handler asks for, whichever is more.
"""

from __future__ import annotations

from asyncio import IncompleteReadError, LimitOverrunError
from collections.abc import Awaitable
from typing import Final

from twisted.python.failure import Failure

from netd.core.reactor import Reactor
from netd.handlers.transports import ReadTransport
from netd.handlers.waiting import Waits

HIGH_WATER: Final = 64 << 10
"""Unread bytes above which netd stops reading from the client; Twisted's own mark for unsent ones.
"""

LOW_WATER: Final = 16 << 10
"""Unread bytes below which netd reads from the client again. Lower than HIGH_WATER, so that a slow
handler does not cost two system calls for each of its reads."""

LONGEST_LINE: Final = 64 << 10
"""Bytes of a line, or before a separator, that are waited for by default."""


class Reader(Waits):
    """The bytes that a client sends, or those of one datagram. In the reactor's thread.

    Every awaited method raises ConnectionError once the connection is lost, and TimeoutError if
    nothing has arrived for ``timeout`` seconds. One task may read at a time; a second one gets a
    RuntimeError. ``async for line in rfile`` reads lines until the client has finished sending.
    """

    def __init__(
        self, transport: ReadTransport | None = None, reactor: Reactor | None = None
    ) -> None:
        """Both are None for a datagram: all its bytes are there, so nothing is awaited."""
        super().__init__(reactor)
        self._transport = transport
        self._buffer = bytearray()
        self._paused = False
        self._eof = False

    async def read(self, n: int = -1) -> bytes:
        """Return up to *n* bytes as soon as some are there; b"" once the client has finished.

        Without *n*, return everything that the client sends until it finishes; that has no bound.
        Unlike ``read`` of a blocking file, this returns less than *n* bytes, as asyncio's does;
        ``readexactly`` waits for all of them.
        """
        if n < 0:
            while not self._ends():
                await self._more()
            return self._take(len(self._buffer))
        while n and not self._buffer and not self._ends():
            await self._more()
        return self._take(n)

    async def readline(self, limit: int = LONGEST_LINE) -> bytes:
        """Return a line with its newline, or its first *limit* bytes if it is longer.

        The last line may lack its newline. b"" means that the client has finished, as with a file.
        A negative *limit* is no limit.
        """
        # Where the newline is searched: not again in what has been searched before.
        start = 0
        while True:
            end = self._buffer.find(b"\n", start) + 1
            if end or self._ends() or 0 <= limit <= len(self._buffer):
                end = end or len(self._buffer)
                return self._take(end if limit < 0 else min(end, limit))
            start = len(self._buffer)
            await self._more()

    async def readexactly(self, n: int) -> bytes:
        """Return exactly *n* bytes.

        Raises ``asyncio.IncompleteReadError`` if the client finishes before that, and ValueError
        for a negative *n*.
        """
        if n < 0:
            raise ValueError("readexactly() needs a number that is not negative")
        while len(self._buffer) < n:
            if self._ends():
                raise IncompleteReadError(self._take(n), n)
            await self._more()
        return self._take(n)

    async def readuntil(self, separator: bytes = b"\n", limit: int = LONGEST_LINE) -> bytes:
        """Return the bytes up to and including *separator*.

        Raises:
            asyncio.IncompleteReadError: the client finished without sending *separator*.
            asyncio.LimitOverrunError: there is none within *limit* bytes; they stay unread.
            ValueError: *separator* is empty.
        """
        if not separator:
            raise ValueError("readuntil() needs a separator of at least one byte")
        start = 0
        while True:
            found = self._buffer.find(separator, start)
            end = 0 if found < 0 else found + len(separator)
            if (end or len(self._buffer)) > limit:
                raise LimitOverrunError(f"no separator within {limit} bytes", limit)
            if end:
                return self._take(end)
            if self._ends():
                raise IncompleteReadError(self._take(len(self._buffer)), None)
            # A part of the separator may be there already.
            start = max(0, len(self._buffer) - len(separator) + 1)
            await self._more()

    def at_eof(self) -> bool:
        """Whether the client has finished sending and everything has been read."""
        return self._eof and not self._buffer

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    # Called by netd, not by handlers.

    def feed(self, data: bytes) -> None:
        """Add received bytes. Above HIGH_WATER, stop reading from the client."""
        self._buffer += data
        if self._waiting:
            self._wake()
        # A handler that waits still wants more than there is, however much that is.
        if len(self._buffer) > HIGH_WATER and not (self._waiting or self._paused):
            self._pause()

    def discard(self) -> None:
        """Drop the unread bytes."""
        self._take(len(self._buffer))

    def switch(self, transport: ReadTransport) -> None:
        """Pause and resume *transport* instead of the previous one (STARTTLS)."""
        self._transport = transport

    def feed_eof(self) -> None:
        """The client has finished sending."""
        self._eof = True
        self._wake()

    def end(self, reason: Failure) -> None:
        """The connection is lost. Unread bytes are dropped, as the kernel drops them."""
        self._buffer.clear()
        super().end(reason)

    def _ends(self) -> bool:
        """Whether nothing more will arrive. Raises ConnectionResetError if the client has gone."""
        if self._lost is not None:
            raise self._gone()
        return self._eof

    def _take(self, count: int) -> bytes:
        # The whole buffer is the usual case; slicing it would copy it once more.
        taken = bytes(self._buffer if count >= len(self._buffer) else self._buffer[:count])
        del self._buffer[:count]
        if self._paused and len(self._buffer) < LOW_WATER:
            self._resume()
        return taken

    def _more(self) -> Awaitable[None]:
        if self._waiting:
            raise RuntimeError("another task is reading from this client already")
        if self._paused:
            self._resume()
        return self._wait()

    def _pause(self) -> None:
        if self._transport is not None:
            self._paused = True
            self._transport.pauseProducing()

    def _resume(self) -> None:
        self._paused = False
        if self._transport is not None:
            self._transport.resumeProducing()
