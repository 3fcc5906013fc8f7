"""The daemon in whose place this one is started (``upgrade.py`` is what it does there)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from netd.daemon.generations.line_reader import LineReader
from netd.listening.binding import Listeners
from netd.listening.handover import LEAVE, Handover, ready


class Predecessor:
    """Is told that this daemon serves, and may say before that that it is not wanted.

    What it has handed over is its own until then. In the reactor's thread.
    """

    def __init__(self, handover: Handover, reactor: Any) -> None:
        self.listeners = handover.listeners
        self.suspended = handover.suspended
        self._channel = socket.socket(fileno=handover.channel)
        self._reactor = reactor
        self._reader: LineReader | None = None

    def watch(self, unwanted: Callable[[], None], alone: Callable[[], None]) -> None:
        """Call *unwanted* if it says so, or *alone* if it has gone without having said anything."""

        def said(line: bytes) -> None:
            if line == LEAVE:
                self._forget()
                unwanted()

        def ended() -> None:
            self._forget()
            alone()

        self._reader = LineReader(self._channel, self._reactor, said, ended)
        self._reader.start()

    def tell(self, used: Listeners) -> None:
        """This daemon serves now, by those of its listeners that are among *used*.

        The others are the predecessor's alone. If it has gone, nobody has them any more.
        """
        unused = self.listeners.without(used)
        try:
            self._channel.send(ready(unused) + b"\n", socket.MSG_DONTWAIT)
        except OSError:
            unused.close()
        for listener in unused:
            listener.socket.close()

    def _forget(self) -> None:
        if self._reader is not None:
            self._reader.stop()
        self._channel.close()
