"""The daemon that this one replaces. ``upgrade.py`` is the other side of the conversation."""

from __future__ import annotations

import socket
from collections.abc import Callable

from netd.core.reactor import Reading
from netd.daemon.generations.line_reader import LineReader
from netd.listening.handover import LEAVE, Handover, ready
from netd.listening.listener import Listeners


class Predecessor:
    """Learns from this daemon that it serves, and may order it to end before that.

    Until then the listeners of the handover are the predecessor's. In the reactor's thread.
    """

    def __init__(self, handover: Handover, reactor: Reading) -> None:
        self.listeners = handover.listeners
        self.suspended = handover.suspended
        self._channel = socket.socket(fileno=handover.channel)
        self._reactor = reactor
        self._reader: LineReader | None = None

    def watch(self, unwanted: Callable[[], None], gone: Callable[[], None]) -> None:
        """Call *unwanted* if it orders this daemon to end, or *gone* if it ends without an order.

        Neither is called twice, nor both.
        """

        def received(line: bytes) -> None:
            if line == LEAVE:
                self._forget()
                unwanted()

        def ended() -> None:
            self._forget()
            gone()

        self._reader = LineReader(self._channel, self._reactor, received, ended)
        self._reader.start()

    def tell(self, used: Listeners) -> None:
        """Report that this daemon serves, on those of its listeners that are among *used*.

        The others stay the predecessor's. If it has gone, they are unlinked and closed here.
        """
        unused = self.listeners.without(used)
        # A few bytes in an empty socket buffer: if they do not fit, the predecessor has gone.
        try:
            self._channel.send(ready(unused) + b"\n", socket.MSG_DONTWAIT)
        except OSError:
            unused.close()
        # The sockets only. Their paths are the predecessor's, which serves on until it has drained.
        for listener in unused:
            listener.socket.close()

    def _forget(self) -> None:
        if self._reader is not None:
            self._reader.stop()
        self._channel.close()
