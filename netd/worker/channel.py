"""A worker's end of the channel to its daemon."""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from netd.ipc.worker import (
    LENGTH,
    LONGEST_ORDER,
    InvalidMessage,
    Order,
    Report,
    StartWorker,
    decode_order,
    encode_report,
)


def receive_start(channel: socket.socket) -> StartWorker:
    """Wait for the first order, before there is a reactor. Reads no byte of the next one.

    Raises EOFError if the daemon has gone, and InvalidMessage.
    """
    length = int.from_bytes(_receive_exactly(channel, LENGTH))
    order = decode_order(_receive_exactly(channel, length))
    if not isinstance(order, StartWorker):
        raise InvalidMessage(type(order).__name__)
    return order


def _receive_exactly(channel: socket.socket, count: int) -> bytes:
    # Without MSG_WAITALL, which returns less at a signal.
    data = bytearray()
    while len(data) < count:
        more = channel.recv(count - len(data))
        if not more:
            raise EOFError("the daemon has gone")
        data += more
    return bytes(data)


class DaemonChannel(Int32StringReceiver):
    """Passes orders to *obey*, and sends reports. In the reactor's thread.

    An order that cannot be read raises in the reactor, which closes the channel: a worker that
    does not understand its daemon must not go on.
    """

    MAX_LENGTH = LONGEST_ORDER

    def __init__(self, obey: Callable[[Order], None], lost: Callable[[], None]) -> None:
        self._obey = obey
        self.lost = lost
        """Called once, when the channel has ended. By default the daemon has gone; a worker that
        closes the channel itself sets another call before."""

    def report(self, report: Report) -> None:
        """Send *report*. Never blocks; what the socket does not take is queued without a bound, so
        ``LogStream`` alone sends much, and only while there is room."""
        self.sendString(encode_report(report))

    def stringReceived(self, string: bytes) -> None:
        self._obey(decode_order(string))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost()
