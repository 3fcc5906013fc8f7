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


class _WorkerChannel(Int32StringReceiver):
    """The daemon's end of the channel to one process."""

    MAX_LENGTH = LONGEST_REPORT

    def __init__(
        self,
        heard: Callable[[_WorkerChannel, Report], None],
        misunderstood: Callable[[_WorkerChannel, str], None],
        lost: Callable[[_WorkerChannel], None],
    ) -> None:
        self._lost = lost
        self._heard = heard
        self._misunderstood = misunderstood

    def order(self, order: Order) -> None:
        """Tell the worker."""
        self.sendString(encode_order(order))

    def close(self) -> None:
        """Read no more of what the process sent."""
        transport: ITransport | None = self.transport
        if transport is not None:
            transport.loseConnection()

    def misunderstand(self, why: str) -> None:
        """Hear nothing more of who says such things."""
        self.pauseProducing()
        self._misunderstood(self, why)

    def stringReceived(self, string: bytes) -> None:
        try:
            report = decode_report(string)
        except InvalidMessage as error:
            self.misunderstand(f"something that is no report ({error})")
            return
        self._heard(self, report)

    def lengthLimitExceeded(self, length: int) -> None:
        self.misunderstand(f"something too long ({length} bytes)")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost(self)
