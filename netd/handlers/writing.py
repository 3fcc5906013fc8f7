"""``wfile`` of an asynchronous handler: what a client is sent, at the client's own pace."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from netd.core.reactor import Reactor
from netd.handlers.waiting import Waits

LISTEN_ABOVE: Final = 32 << 10
"""Bytes written before the transport is asked to say when it holds 64 KiB."""

Data = bytes | bytearray | memoryview


_AT_ONCE: Final[Any] = iter(())
"""Awaiting it comes to an end at once, whoever has awaited it before."""


class _Drained(Protocol):
    def has_room(self) -> bool:
        """Whether ``drain`` would return at once."""
        ...

    async def drain(self) -> None:
        """Wait until there is room for more."""


class Room:
    """What ``write`` returns: awaiting it waits until there is room for more."""

    __slots__ = ("_file",)

    def __init__(self, file: _Drained) -> None:
        self._file = file

    def __await__(self) -> Generator[Any, Any, None]:
        waiting: Generator[Any, Any, None]
        waiting = _AT_ONCE if self._file.has_room() else self._file.drain().__await__()
        return waiting


@implementer(IPushProducer)
class Writer(Waits):
    """The bytes that a client is sent. In the reactor's thread.

    ``write`` hands them over at once, and who awaits it waits while the transport holds more than
    its mark (64 KiB), so a client that does not read costs no more memory than that. Once the
    connection is lost every method raises ConnectionError; whoever waits for room gets a
    TimeoutError when there is none for ``timeout`` seconds.
    """

    def __init__(self, transport: Any, reactor: Reactor) -> None:
        super().__init__(reactor)
        self._transport = transport
        self._registered = False
        self._full = False
        self._finished = False
        self._unheard = 0

    def write(self, data: Data) -> Room:
        """Send *data*; ``await`` it, or ``drain``, so that the client sets the pace."""
        # Not bytes(data), which takes a number for that many zeros.
        piece = data if type(data) is bytes else bytes(memoryview(data))
        self._prepare(len(piece))
        self._transport.write(piece)
        return Room(self)

    def writelines(self, lines: Iterable[Data]) -> Room:
        """Send all of *lines*, which bring their own newlines."""
        pieces = [bytes(memoryview(line)) for line in lines]
        self._prepare(sum(map(len, pieces)))
        self._transport.writeSequence(pieces)
        return Room(self)

    async def drain(self) -> None:
        """Wait while the transport holds more than its mark."""
        while not self.has_room():
            if self._lost is not None:
                raise self._gone()
            await self._wait()

    def has_room(self) -> bool:
        """Whether ``drain`` would return at once, without an error."""
        return not self._full and self._lost is None

    def write_eof(self) -> None:
        """Say that nothing more will be sent; the client can still send (half-close)."""
        if self._finished:
            return
        self._prepare(0)
        self.release()
        self._transport.loseWriteConnection()

    def switch(self, transport: Any) -> None:
        """What is written from now on goes by *transport*."""
        is_registered, self._registered = self._registered, False
        if is_registered:
            self._transport.unregisterProducer()
        self._transport = transport
        self.resumeProducing()  # the other one would not tell
        if is_registered:
            self._registered = True
            transport.registerProducer(self, True)

    def release(self) -> None:
        """Leave the transport alone, from now on; it sends what it has."""
        self._finished = True
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()
        self.resumeProducing()

    def _prepare(self, size: int) -> None:
        """Listen to the transport before more is written than it can hold."""
        if self._lost is not None:
            raise self._gone()
        if self._finished:
            raise BrokenPipeError("write_eof() has been called, or the handler has ended")
        self._unheard += size
        if self._unheard > LISTEN_ABOVE and not self._registered:
            self._registered = True
            self._transport.registerProducer(self, True)

    # IPushProducer: called by the transport when its buffer is above its mark, and empty again.

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        self._full = True

    def resumeProducing(self) -> None:
        """There is room again."""
        self._full = False
        if self._waiting:
            self._wake()

    def stopProducing(self) -> None:
        """The connection is being lost; ``end`` follows."""
        self._registered = False


class PacketWriter:
    """The answer to one datagram, which goes back as one packet."""

    def __init__(self) -> None:
        self._content = bytearray()

    def write(self, data: Data) -> Room:
        """Add *data* to the packet; may be awaited, and never waits."""
        self._content += data
        return Room(self)

    def writelines(self, lines: Iterable[Data]) -> Room:
        """Add all of *lines* to the packet."""
        for line in lines:
            self._content += line
        return Room(self)

    async def drain(self) -> None:
        """Return at once."""

    def has_room(self) -> bool:
        """True."""
        return True

    def getvalue(self) -> bytes:
        """What has been written."""
        return bytes(self._content)
