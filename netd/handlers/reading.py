"""``rfile`` of an asynchronous handler: what a client sends, awaited.

A client that sends faster than its handler reads is no longer read from above HIGH_WATER, so it
costs no more memory than that, and what one call of its handler asks for.
"""

from __future__ import annotations

from asyncio import IncompleteReadError, LimitOverrunError
from collections.abc import Awaitable
from typing import Any, Final

from twisted.python.failure import Failure

from netd.core.reactor import Reactor
from netd.handlers.waiting import Waits

HIGH_WATER: Final = 64 << 10
"""Bytes that are kept unread before the client has to wait; as much as Twisted keeps unsent."""

LOW_WATER: Final = 16 << 10
"""Bytes unread below which the client may send again."""

LONGEST_LINE: Final = 64 << 10
"""Bytes of a line, or before a separator, that are waited for where nothing else is said."""


class Reader(Waits):
    """The bytes that a client sends, or those of one packet. In the reactor's thread.

    Every method raises ConnectionError once the connection is lost, and TimeoutError when
    nothing has come for ``timeout`` seconds. One task may read at a time.
    """

    def __init__(self, transport: Any = None, reactor: Reactor | None = None) -> None:
        """*transport* is an IPushProducer; None for a packet, where all is there already."""
        super().__init__(reactor)
        self._transport = transport
        self._buffer = bytearray()
        self._paused = False
        self._eof = False

    async def read(self, n: int = -1) -> bytes:
        """Return at most *n* bytes, as soon as there are some; b"" at the end of what comes.

        Without *n*, everything until the client has finished sending. This is asyncio's
        meaning; ``readexactly`` waits for all.
        """
        if n < 0:
            while not self._ends():
                await self._more()
            return self._take(len(self._buffer))
        while n and not self._buffer and not self._ends():
            await self._more()
        return self._take(n)

    async def readline(self, limit: int = LONGEST_LINE) -> bytes:
        """Return a line with its newline; without one where it is longer than *limit*, or ends.

        As of a file, b"" says that nothing more comes; a negative *limit* is none.
        """
        start = 0
        while True:
            end = self._buffer.find(b"\n", start) + 1
            if end or self._ends() or 0 <= limit <= len(self._buffer):
                end = end or len(self._buffer)
                return self._take(end if limit < 0 else min(end, limit))
            start = len(self._buffer)
            await self._more()

    async def readexactly(self, n: int) -> bytes:
        """Return *n* bytes. Raises ``asyncio.IncompleteReadError`` where fewer come."""
        if n < 0:
            raise ValueError("readexactly() wants a number from 0")
        while len(self._buffer) < n:
            if self._ends():
                raise IncompleteReadError(self._take(n), n)
            await self._more()
        return self._take(n)

    async def readuntil(self, separator: bytes = b"\n", limit: int = LONGEST_LINE) -> bytes:
        """Return what comes until *separator*, with it.

        Raises ``asyncio.IncompleteReadError`` where it does not come, and
        ``asyncio.LimitOverrunError``, which leaves everything unread, where it does not come
        within *limit* bytes.
        """
        if not separator:
            raise ValueError("readuntil() wants a separator of at least one byte")
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
            start = max(0, len(self._buffer) - len(separator) + 1)
            await self._more()

    def at_eof(self) -> bool:
        """Whether the client has finished sending, and all of it has been read."""
        return self._eof and not self._buffer

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    # For whoever has the bytes.

    def feed(self, data: bytes) -> None:
        """Add what came; above the high-water mark the client has to wait."""
        self._buffer += data
        if self._waiting:
            self._wake()
        if len(self._buffer) > HIGH_WATER and not (self._waiting or self._paused):
            self._pause()

    def discard(self) -> None:
        """Drop what has come and was not read."""
        self._take(len(self._buffer))

    def switch(self, transport: Any) -> None:
        """What comes next comes by *transport*."""
        self._transport = transport

    def feed_eof(self) -> None:
        """Nothing more will come."""
        self._eof = True
        self._wake()

    def end(self, reason: Failure) -> None:
        """The client has gone; as in the kernel, what it sent and nobody read goes with it."""
        self._buffer.clear()
        super().end(reason)

    def _ends(self) -> bool:
        """Whether nothing will be added. Raises ConnectionResetError when the client has gone."""
        if self._lost is not None:
            raise self._gone()
        return self._eof

    def _take(self, count: int) -> bytes:
        request = bytes(self._buffer if count >= len(self._buffer) else self._buffer[:count])
        del self._buffer[:count]
        if self._paused and len(self._buffer) < LOW_WATER:
            self._resume()
        return request

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
        self._transport.resumeProducing()
