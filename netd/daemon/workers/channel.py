"""The daemon's end of a worker's channel."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from netd.ipc.worker import (
    LONGEST_REPORT,
    InvalidMessage,
    Order,
    Report,
    decode_report,
    encode_order,
)


class WorkerChannel(Int32StringReceiver):
    """The daemon's end of the channel to one process.

    *received* gets each report. *misbehaved* gets what the process sent instead of one; nothing is
    read after that, because a stream with a bad message in it has no known boundaries.
    """

    # A worker runs user code, which can write to its descriptors: the daemon bounds what it reads.
    MAX_LENGTH = LONGEST_REPORT

    def __init__(
        self,
        received: Callable[[WorkerChannel, Report], None],
        misbehaved: Callable[[WorkerChannel, str], None],
        lost: Callable[[WorkerChannel], None],
    ) -> None:
        self._received = received
        self._misbehaved = misbehaved
        self._lost = lost

    def order(self, order: Order) -> None:
        """Send an order."""
        self.sendString(encode_order(order))

    def close(self) -> None:
        """Read no more of what the process sent."""
        # None if the reactor could not adopt the connection.
        transport: ITransport | None = self.transport
        if transport is not None:
            transport.loseConnection()

    def reject(self, what: str) -> None:
        """Stop reading from a process that sent *what*."""
        # Paused, so that junk that follows is neither parsed nor logged.
        self.pauseProducing()
        self._misbehaved(self, what)

    def stringReceived(self, string: bytes) -> None:
        try:
            report = decode_report(string)
        except InvalidMessage as error:
            self.reject(f"an invalid report ({error})")
            return
        self._received(self, report)

    def lengthLimitExceeded(self, length: int) -> None:
        self.reject(f"a report that is too long ({length} bytes)")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost(self)
