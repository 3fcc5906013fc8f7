"""``wfile`` of an asynchronous handler: bytes to a client, at the pace at which it reads."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from netd.core.reactor import Reactor
from netd.handlers.transports import WriteTransport
from netd.handlers.waiting import Waits

REGISTER_ABOVE: Final = 32 << 10
"""Bytes written before the writer registers with the transport, to be told when that holds 64 KiB.
Most handlers write less, and save the call."""

Data = bytes | bytearray | memoryview


_NO_WAIT: Final[Any] = iter(())
"""An exhausted iterator: awaiting it ends immediately, any number of times."""


class _Drained(Protocol):
    def has_room(self) -> bool:
        """Whether ``drain`` would return immediately."""
        ...

    async def drain(self) -> None:
        """Wait until there is room for more."""


class Room:
    """The result of ``write``: awaiting it waits until there is room for more.

    Not a coroutine, which Python would warn about if a handler does not await it.
    """

    __slots__ = ("_file",)

    def __init__(self, file: _Drained) -> None:
        self._file = file

    def __await__(self) -> Generator[Any, Any, None]:
        waiting: Generator[Any, Any, None]
        waiting = _NO_WAIT if self._file.has_room() else self._file.drain().__await__()
        return waiting


@implementer(IPushProducer)
class Writer(Waits):
    """The bytes that a handler sends to its client. In the reactor's thread.

    ``write`` passes them to the transport immediately. Awaiting its result waits while the
    transport holds more than 64 KiB, so a client that does not read costs no more memory than that
    and one write. Once the connection is lost, every method raises ConnectionError; a wait raises
    TimeoutError if there is no room for ``timeout`` seconds.
    """

    def __init__(self, transport: WriteTransport, reactor: Reactor) -> None:
        super().__init__(reactor)
        self._transport = transport
        self._registered = False
        self._full = False
        self._finished = False
        self._written = 0
        """Bytes written before the writer has registered with the transport."""

    def write(self, data: Data) -> Room:
        """Send *data*. ``await`` the result, or ``drain``, to wait for a client that is slow.

        Raises BrokenPipeError after ``write_eof``.
        """
        # memoryview() refuses a number, for which bytes(data) would be that many zeros.
        piece = data if type(data) is bytes else bytes(memoryview(data))
        self._prepare(len(piece))
        self._transport.write(piece)
        return Room(self)

    def writelines(self, lines: Iterable[Data]) -> Room:
        """Send all of *lines*; no newlines are added. Otherwise like ``write``."""
        pieces = [bytes(memoryview(line)) for line in lines]
        self._prepare(sum(map(len, pieces)))
        self._transport.writeSequence(pieces)
        return Room(self)

    async def drain(self) -> None:
        """Wait while the transport holds more than 64 KiB."""
        while not self.has_room():
            if self._lost is not None:
                raise self._gone()
            await self._wait()

    def has_room(self) -> bool:
        """Whether ``drain`` would return immediately, without an error."""
        return not self._full and self._lost is None

    def write_eof(self) -> None:
        """Finish sending; the client can still send (half-close). A second call does nothing."""
        if self._finished:
            return
        self._prepare(0)
        self.release()
        self._transport.loseWriteConnection()

    # Called by netd, not by handlers.

    def switch(self, transport: WriteTransport) -> None:
        """Write to *transport* instead of the previous one (STARTTLS)."""
        is_registered, self._registered = self._registered, False
        if is_registered:
            self._transport.unregisterProducer()
        self._transport = transport
        # The previous transport tells this writer nothing more, and the new one has room.
        self.resumeProducing()
        if is_registered:
            self._registered = True
            transport.registerProducer(self, True)

    def release(self) -> None:
        """Write nothing more: the handler has ended. The transport sends what it holds."""
        self._finished = True
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()
        self.resumeProducing()

    def _prepare(self, size: int) -> None:
        """Check that *size* bytes may be written; register with the transport if there are many."""
        if self._lost is not None:
            raise self._gone()
        if self._finished:
            raise BrokenPipeError("write_eof() has been called, or the handler has ended")
        self._written += size
        if self._written > REGISTER_ABOVE and not self._registered:
            self._registered = True
            self._transport.registerProducer(self, True)

    # IPushProducer: the transport calls these when its buffer is above its mark, and empty again.

    def pauseProducing(self) -> None:
        """The transport is full."""
        self._full = True

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._full = False
        if self._waiting:
            self._wake()

    def stopProducing(self) -> None:
        """The connection is being lost; ``end`` follows."""
        self._registered = False


class PacketWriter:
    """The answer to one datagram, which is sent as one datagram. In the reactor's thread."""

    def __init__(self) -> None:
        self._content = bytearray()

    def write(self, data: Data) -> Room:
        """Add *data* to the answer. Awaiting the result returns immediately."""
        self._content += data
        return Room(self)

    def writelines(self, lines: Iterable[Data]) -> Room:
        """Add all of *lines* to the answer; no newlines are added."""
        for line in lines:
            self._content += line
        return Room(self)

    async def drain(self) -> None:
        """Return immediately."""

    def has_room(self) -> bool:
        """Return True: nothing waits before the answer is sent."""
        return True

    def getvalue(self) -> bytes:
        """Return everything that was written."""
        return bytes(self._content)
