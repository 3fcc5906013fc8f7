"""What children that serve one request tell their worker: log records, and requests to suspend."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.core.reactor import Reading
from netd.log.buffer import LogBuffer

LONGEST_PACKET: Final = 256 << 10
"""Bytes of a packet that a child sends: a record of the log, whatever its form and alphabet, is
shorter (``LONGEST_TEXT`` characters, of six bytes each where all of them are escaped)."""


PACKETS_PER_READ: Final = 64
"""Packets read at a time, so that a child that logs much does not delay accepting."""


PATIENCE: Final = 1.0
"""Seconds that a child waits for its worker to receive its log, before it goes on without."""


@implementer(IReadDescriptor)
class ChildOutput:
    """What children send: lines of log, through one socket that they share.

    A packet has whole lines, so that those of several children do not mix. An empty packet asks
    for a suspension.
    """

    def __init__(
        self, reactor: Reading, relay: Callable[[str], None], suspend: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._relay = relay
        self._suspend = suspend
        # Re-entrant: the garbage collector may run while something is sent, and log a line itself.
        self._sending = threading.RLock()
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._theirs.settimeout(PATIENCE)
        # The kernel doubles this for what it keeps beside the bytes (socket(7)).
        self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST_PACKET)
        self._buffer = bytearray(LONGEST_PACKET)

    def start(self) -> None:
        self._reactor.addReader(self)

    def begin_to_send(self, log_buffer: LogBuffer) -> None:
        """Send what is added to *log_buffer*, immediately. In a child."""
        self._ours.close()
        log_buffer.after_fork(lambda: self._send(log_buffer))

    def _send(self, log_buffer: LogBuffer) -> None:
        with self._sending:
            while record := log_buffer.take(1):
                for packet in packets(record):
                    # The worker has gone, or does not read: the handler must go on.
                    with suppress(OSError):
                        self._theirs.send(packet)

    def ask_to_suspend(self) -> None:
        """Ask the worker to have the service suspended. In a child."""
        with suppress(OSError):
            self._theirs.send(b"")

    def read(self) -> bool:
        """Read a bounded part of what was sent; whether there may be more."""
        for _ in range(PACKETS_PER_READ):
            try:
                length = self._ours.recv_into(self._buffer)
            except BlockingIOError:
                return False
            if length:
                self._relay(self._buffer[:length].decode(errors="replace"))
            else:
                self._suspend()
        return True

    def fileno(self) -> int:
        return self._ours.fileno()

    def doRead(self) -> None:
        self.read()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "netd"


def packets(lines: str) -> list[bytes]:
    """Complete lines as packets of complete lines; one that is too long for that is cut."""
    data = lines.encode(errors="replace")
    if len(data) <= LONGEST_PACKET:
        return [data]
    size = LONGEST_PACKET // 4 - 1  # of characters of four bytes, and an end
    text = lines.rstrip("\n")
    return [
        (text[start : start + size] + "\n").encode(errors="replace")
        for start in range(0, len(text), size)
    ]
