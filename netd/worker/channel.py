"""A worker's end of the channel to its daemon."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.core.reactor import Reactor
from netd.ipc.worker import (
    LENGTH,
    LONGEST_ORDER,
    InvalidMessage,
    LogLines,
    Order,
    Report,
    StartWorker,
    decode_order,
    encode_report,
)
from netd.log.buffer import MOST_TEXT, LogBuffer
from netd.model.log import AS_USUAL, WorkerLog

LOG_DELAY: Final = 0.1
"""Seconds that log records wait for others, so that many are written at once."""

BATCH: Final = 256 << 10
"""Characters of log in one message, about."""


def receive_start(channel: socket.socket) -> StartWorker:
    """Wait for the first order, before there is a reactor. Raises EOFError, NotUnderstood."""
    length = int.from_bytes(_exactly(channel, LENGTH))
    order = decode_order(_exactly(channel, length))
    if not isinstance(order, StartWorker):
        raise InvalidMessage(type(order).__name__)
    return order


def _exactly(channel: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = channel.recv(count - len(data))
        if not more:
            raise EOFError("the daemon has gone")
        data += more
    return bytes(data)


class DaemonChannel(Int32StringReceiver):
    """Passes orders on, and reports back.

    *lost* is called when the daemon has gone. In the reactor's thread.
    """

    MAX_LENGTH = LONGEST_ORDER

    def __init__(self, obey: Callable[[Order], None], lost: Callable[[], None]) -> None:
        self._obey = obey
        self.lost = lost

    def report(self, report: Report) -> None:
        """Tell the daemon."""
        self.sendString(encode_report(report))

    def stringReceived(self, string: bytes) -> None:
        self._obey(decode_order(string))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost()


def _consumer(channel: DaemonChannel) -> IConsumer:
    """The channel's transport, as one that says when it is full (which ITransport lacks)."""
    return cast(IConsumer, channel.transport)


@implementer(IPushProducer)
class LogStream:
    """Sends the journal's lines up the channel, as fast as the daemon takes them.

    While the channel is full nothing is taken from the journal, which is bounded and drops.
    """

    def __init__(self, reactor: Reactor, log: WorkerLog = AS_USUAL) -> None:
        self._reactor = reactor
        self._channel: DaemonChannel | None = None
        self._paused = False
        self._waiting = False
        self._relayed: deque[str] = deque()
        """Lines of others that wait for room in the channel, of bounded length together."""
        self._relayed_length = 0
        self.log_buffer = LogBuffer(wake=self._wake, log=log)

    def connect(self, channel: DaemonChannel) -> None:
        """Begin to send. What has been said before waits in the journal."""
        self._channel = channel
        _consumer(channel).registerProducer(self, True)
        self._flush_soon()

    def flush(self) -> None:
        """Send all there is, as far as the channel has room."""
        while self._channel is not None and not self._paused and self._send_some(self._channel):
            pass

    def relay(self, lines: str) -> None:
        """Send lines that somebody else has written, complete ones, if there is room for them."""
        if self._relayed_length + len(lines) > MOST_TEXT:
            self.log_buffer.lose(lines.count("\n"))
            return
        self._relayed.append(lines)
        self._relayed_length += len(lines)
        self.flush()

    def disconnect(self) -> None:
        """Send the rest, whatever room there is, and no more after it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            _consumer(channel).unregisterProducer()
            while self._send_some(channel):
                pass

    def _send_some(self, channel: DaemonChannel) -> bool:
        lines = self._take_relayed() or self.log_buffer.take(BATCH)
        if lines:
            channel.report(LogLines(lines))
        return bool(lines)

    def _take_relayed(self) -> str:
        lines: list[str] = []
        room = BATCH
        while self._relayed and room > 0:
            lines.append(self._relayed.popleft())
            room -= len(lines[-1])
        self._relayed_length -= BATCH - room
        return "".join(lines)

    def _wake(self) -> None:
        self._reactor.callFromThread(self._flush_soon)

    def _flush_soon(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._reactor.callLater(LOG_DELAY, self._flush_now)

    def _flush_now(self) -> None:
        self._waiting = False
        self.flush()

    # IPushProducer, called by the transport.

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._flush_soon()

    def stopProducing(self) -> None:
        self._channel = None
