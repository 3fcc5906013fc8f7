"""Telling the service manager what the daemon is about (sd_notify(3)), if there is one.

Whatever happens to such a message, the daemon goes on.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from twisted.logger import Logger

log = Logger()

_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"

PATIENCE: Final = 1.0
"""Seconds that a message may wait until the service manager has room for it."""

_A_SECOND: Final = 1_000_000
"""Microseconds."""


class Notifications:
    """What the service manager is told, at *path*; nothing where that is None.

    It wants to hear from the reactor every *watchdog* seconds, if that is not None. In the
    reactor's thread; raises nothing.
    """

    def __init__(
        self,
        path: str | None = None,
        watchdog: float | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._path = path
        self._watchdog = watchdog
        self._monotonic_ns = monotonic_ns
        self._reloads = 0
        """How many have been asked for, and are not done."""
        self._is_silent = False

    @classmethod
    def of(cls, environment: MutableMapping[str, str], pid: int) -> Notifications:
        """Take what the service manager says out of *environment*, for process *pid*.

        So nobody whom netd starts speaks in its name.
        """
        path = environment.pop(_SOCKET, None)
        microseconds = environment.pop(_WATCHDOG, "")
        whose = environment.pop(_WATCHDOG_PID, str(pid))
        watchdog = None
        if microseconds.isdecimal() and int(microseconds) > 0 and whose == str(pid):
            watchdog = int(microseconds) / _A_SECOND
        return cls(path, watchdog)

    def variables(self) -> Mapping[str, str]:
        """What a daemon has to know that takes this one's place."""
        if self._path is None:
            return {}
        if self._watchdog is None:
            return {_SOCKET: self._path}
        return {_SOCKET: self._path, _WATCHDOG: str(round(self._watchdog * _A_SECOND))}

    def ready(self, status: str) -> None:
        """Everything has come up, for the first time."""
        # For whoever has gone to the background, or has taken another's place.
        self._send("READY=1", f"MAINPID={os.getpid()}", f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """A reload was asked for; ``reloaded`` says that it is over."""
        self._reloads += 1
        now = self._monotonic_ns() // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading")

    def reloaded(self, status: str) -> None:
        """A reload is over; the last one says so to the service manager."""
        self._reloads -= 1
        if not self._reloads:
            self._send("READY=1", f"STATUS={_line(status)}")

    def stopping(self, status: str) -> None:
        """The daemon is about to end."""
        self._send("STOPPING=1", f"STATUS={_line(status)}")

    def replaced(self, pid: int) -> None:
        """Another process is the service from now on."""
        self._send(f"MAINPID={pid}", "STATUS=upgraded")

    def start_watchdog(self, reactor: Any) -> None:
        """Give a sign of life, and another one twice in the time that one is waited for."""
        if self._path is None or self._watchdog is None:
            return
        self._send("WATCHDOG=1")
        reactor.callLater(self._watchdog / 2, self.start_watchdog, reactor)

    def _send(self, *assignments: str) -> None:
        if self._path is None:
            return
        path = self._path
        address = b"\0" + os.fsencode(path[1:]) if path.startswith("@") else os.fsencode(path)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(PATIENCE)
                sock.sendto("\n".join(assignments).encode(errors="replace"), address)
        except OSError as error:
            if not self._is_silent:
                text = "the service manager cannot be told anything by {path}: {error}"
                log.warn(text, path=path, error=error)
            self._is_silent = True


def _line(text: str) -> str:
    """One line: another one would be another message."""
    return " ".join(text.split())
