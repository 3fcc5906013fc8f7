"""Sending a worker's log up its channel, in batches and no faster than the daemon reads."""

from __future__ import annotations

from collections import deque
from typing import Final, cast

from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from netd.core.reactor import Reactor
from netd.ipc.worker import LogLines
from netd.log.buffer import MOST_TEXT, LogBuffer
from netd.model.log import AS_USUAL, WorkerLog
from netd.worker.channel import DaemonChannel

LOG_DELAY: Final = 0.1
"""Seconds that a log record waits for others, so that one message carries many."""

BATCH: Final = 256 << 10
"""Characters of log in one message, about. LONGEST_REPORT must have room for them."""


@implementer(IPushProducer)
class LogStream:
    """Sends lines of the log buffer, and relayed ones, up the channel. In the reactor's thread.

    While the channel is full, nothing is taken from the log buffer, which is bounded and drops.
    """

    def __init__(self, reactor: Reactor, log: WorkerLog = AS_USUAL) -> None:
        self._reactor = reactor
        self._channel: DaemonChannel | None = None
        self._is_full = False
        self._is_scheduled = False
        self._relayed: deque[str] = deque()
        """Lines of other processes that wait for room in the channel."""
        self._relayed_length = 0
        """Characters in these, MOST_TEXT at most."""
        self.log_buffer = LogBuffer(wake=self._wake, log=log)

    def connect(self, channel: DaemonChannel) -> None:
        """Start sending. Earlier records, such as those of imports, wait in the log buffer."""
        self._channel = channel
        _consumer(channel).registerProducer(self, True)
        self._schedule()

    def flush(self) -> None:
        """Send everything, as far as the channel has room."""
        while self._channel is not None and not self._is_full and self._send_batch(self._channel):
            pass

    def relay(self, lines: str) -> None:
        """Send complete lines of another process; drop and count them if too many wait."""
        if self._relayed_length + len(lines) > MOST_TEXT:
            self.log_buffer.lose(lines.count("\n"))
            return
        self._relayed.append(lines)
        self._relayed_length += len(lines)
        # Not after LOG_DELAY: a forked process has collected its lines already.
        self.flush()

    def disconnect(self) -> None:
        """Send the rest, even if the channel is full, and nothing afterwards. Idempotent."""
        channel, self._channel = self._channel, None
        if channel is not None:
            _consumer(channel).unregisterProducer()
            while self._send_batch(channel):
                pass

    def _send_batch(self, channel: DaemonChannel) -> bool:
        """Send one message, if there are lines. Returns whether there were."""
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
        """The log buffer has something to send. Any thread."""
        self._reactor.callFromThread(self._schedule)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._reactor.callLater(LOG_DELAY, self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._is_scheduled = False
        self.flush()

    # IPushProducer: the transport calls these when its buffer is full, and has room again.

    def pauseProducing(self) -> None:
        self._is_full = True

    def resumeProducing(self) -> None:
        self._is_full = False
        self._schedule()

    def stopProducing(self) -> None:
        self._channel = None


def _consumer(channel: DaemonChannel) -> IConsumer:
    """The channel's transport by its other interface: ITransport cannot register a producer."""
    return cast(IConsumer, channel.transport)
