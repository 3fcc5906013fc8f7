"""Where the log goes, and in which form: twistd's options decide, then ``[log]``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from netd.log import journald, syslog
from netd.log.datagram import DatagramDestination, Encode
from netd.log.file import Destination, FileDestination
from netd.model.log import Form, Log

SOCKETS: Final[Mapping[str, tuple[str, Encode]]] = {
    "journald": (journald.SOCKET, journald.datagrams),
    "syslog": (syslog.SOCKET, syslog.SyslogMessages()),
}
"""The formats with a socket of their own: its path, and the datagrams that are sent there."""


class LogLocation:
    """Opens the log, at the start and whenever a reload changes ``[log]``.

    *twistd* has the options that twistd was given; paths among them are relative to *directory*.
    *terminal* is the descriptor to log to in the foreground, unless an option or ``[log]`` names a
    place; None if there is no such descriptor.
    """

    def __init__(
        self,
        twistd: Mapping[str, Any],
        directory: str,
        terminal: int | None,
        sockets: Mapping[str, tuple[str, Encode]] = SOCKETS,
    ) -> None:
        self.is_twistds = bool(twistd.get("syslog") or twistd.get("logger"))
        """Whether twistd opens the log itself (``--syslog``, ``--logger``)."""
        self._named: str | None = twistd.get("logfile") or None
        self._in_foreground = bool(twistd.get("nodaemon") or twistd.get("debug"))
        self._directory = directory
        self._terminal = terminal
        self._sockets = sockets

    @property
    def is_impossible(self) -> bool:
        """Whether twistd was told to log to a terminal, and to detach from it."""
        return self._named == "-" and not self._in_foreground and not self.is_twistds

    def overruled(self, configured: Log) -> str | None:
        """Return the place in ``[log]`` that is ignored, because twistd was told another one."""
        if not (self.is_twistds or self._named):
            return None
        return configured.file or (
            configured.format if configured.format in self._sockets else None
        )

    def form(self, configured: Log) -> Form:
        """Return the form of lines for this log, which workers are told."""
        # Logs that take fields get them from JSON; netd.log says why.
        if self.is_twistds or self._socket(configured) is not None:
            return "json"
        return "json" if configured.format == "json" else "text"

    def open(self, configured: Log) -> Destination:
        """Open the log; the caller closes it. Raises OSError with the place as its file name."""
        socket = self._socket(configured)
        if socket is not None:
            return DatagramDestination(*socket)
        file = self._named or configured.file
        if not self._in_foreground or file not in (None, "-"):
            return FileDestination(os.path.join(self._directory, file or "twistd.log"))
        if self._terminal is None:
            return FileDestination(os.devnull)
        return FileDestination(descriptor=self._terminal)

    def other(self, old: Log, new: Log) -> Destination | None:
        """Open the log of *new* if it differs from that of *old*. Raises OSError."""
        if self.is_twistds or (old.format, old.file) == (new.format, new.file):
            return None
        return self.open(new)

    def _socket(self, configured: Log) -> tuple[str, Encode] | None:
        return None if self._named else self._sockets.get(configured.format)
