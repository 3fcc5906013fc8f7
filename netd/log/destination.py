"""Where the log is, and in which form: what twistd was told, or else what ``[log]`` says."""

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
"""Formats that have a place of their own, and what is sent there."""


class LogLocation:
    """Opens the log, at the start and whenever ``[log]`` says something else.

    *twistd* has the options that twistd was given, and paths among them are relative to
    *directory*. *terminal* is the descriptor to log to when it is in the foreground and nobody says
    where, None where there is none.
    """

    def __init__(
        self,
        twistd: Mapping[str, Any],
        directory: str,
        terminal: int | None,
        sockets: Mapping[str, tuple[str, Encode]] = SOCKETS,
    ) -> None:
        self.is_twistds = bool(twistd.get("syslog") or twistd.get("logger"))
        """Whether the log is one of twistd's own, and is not opened here."""
        self._named: str | None = twistd.get("logfile") or None
        self._in_foreground = bool(twistd.get("nodaemon") or twistd.get("debug"))
        self._directory = directory
        self._terminal = terminal
        self._sockets = sockets

    @property
    def is_impossible(self) -> bool:
        """Whether twistd was told to log to a terminal that it leaves."""
        return self._named == "-" and not self._in_foreground and not self.is_twistds

    def overruled(self, configured: Log) -> str | None:
        """What ``[log]`` names as the place although twistd was told another one."""
        if not (self.is_twistds or self._named):
            return None
        return configured.file or (
            configured.format if configured.format in self._sockets else None
        )

    def form(self, configured: Log) -> Form:
        """In which form lines are to be written."""
        if self.is_twistds or self._socket(configured) is not None:
            return "json"
        return "json" if configured.format == "json" else "text"

    def open(self, configured: Log) -> Destination:
        """Open the log. Raises OSError with the place as its file name."""
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
        """Open the log of *new* if that of *old* is another one. Raises OSError."""
        if self.is_twistds or (old.format, old.file) == (new.format, new.file):
            return None
        return self.open(new)

    def _socket(self, configured: Log) -> tuple[str, Encode] | None:
        return None if self._named else self._sockets.get(configured.format)
