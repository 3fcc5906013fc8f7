"""What the files of an asynchronous handler ask of a Twisted transport, plain or TLS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.interfaces import IPushProducer


class ReadTransport(Protocol):
    """The parts of IPushProducer by which a reader slows its client down."""

    def pauseProducing(self) -> None:
        """Read nothing more from the client."""

    def resumeProducing(self) -> None:
        """Read again."""


class WriteTransport(Protocol):
    """The parts of ITransport, IConsumer and IHalfCloseable that a writer uses."""

    def write(self, data: bytes) -> object:
        """Queue *data*."""

    def writeSequence(self, data: Iterable[bytes]) -> object:
        """Queue all of *data*."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> object:
        """Tell *producer* when the queue is above its mark, and when it has room again."""

    def unregisterProducer(self) -> object:
        """Tell it no more."""

    def loseWriteConnection(self) -> object:
        """Close the direction to the client once the queue is sent."""


class StreamTransport(ReadTransport, WriteTransport, Protocol):
    """Both directions of a connection."""
