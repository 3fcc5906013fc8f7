"""Notifications for the service manager (sd_notify(3)), if there is one.

A notification that cannot be sent is logged once; it never stops the daemon.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final

from twisted.logger import Logger

from netd.core.reactor import Timing

log = Logger()

_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"

PATIENCE: Final = 1.0
"""Seconds that a message may wait for room in the service manager's socket. It blocks the reactor
meanwhile, so it has to be short."""

_MICROSECONDS: Final = 1_000_000
"""Microseconds in a second."""


class Notifications:
    """Sends notifications to the socket at *path*; none if that is None.

    If *watchdog* is not None, the service manager expects one every so many seconds. In the
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
        """Reloads that are under way."""
        self._has_failed = False

    @classmethod
    def of(cls, environment: MutableMapping[str, str], pid: int) -> Notifications:
        """Remove the service manager's variables for process *pid* from *environment*.

        Workers and programs inherit the environment, and must not notify in netd's name.
        """
        path = environment.pop(_SOCKET, None)
        microseconds = environment.pop(_WATCHDOG, "")
        watched = environment.pop(_WATCHDOG_PID, str(pid))
        watchdog = None
        if microseconds.isdecimal() and int(microseconds) > 0 and watched == str(pid):
            watchdog = int(microseconds) / _MICROSECONDS
        return cls(path, watchdog)

    def variables(self) -> Mapping[str, str]:
        """The variables for a daemon that replaces this one."""
        if self._path is None:
            return {}
        if self._watchdog is None:
            return {_SOCKET: self._path}
        return {_SOCKET: self._path, _WATCHDOG: str(round(self._watchdog * _MICROSECONDS))}

    def ready(self, status: str) -> None:
        """All services are ready, for the first time."""
        # With the pid: the service manager started another process than this one if the daemon has
        # daemonised itself or replaces a predecessor.
        self._send("READY=1", f"MAINPID={os.getpid()}", f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """A reload begins; ``reloaded`` ends it."""
        self._reloads += 1
        now = self._monotonic_ns() // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading")

    def reloaded(self, status: str) -> None:
        """A reload has ended. Only the end of the last one is sent."""
        # READY=1 during another reload would report that one as done.
        self._reloads -= 1
        if not self._reloads:
            self._send("READY=1", f"STATUS={_line(status)}")

    def stopping(self, status: str) -> None:
        """The daemon stops."""
        self._send("STOPPING=1", f"STATUS={_line(status)}")

    def replaced(self, pid: int) -> None:
        """Process *pid* is the service now."""
        self._send(f"MAINPID={pid}", "STATUS=upgraded")

    def start_watchdog(self, reactor: Timing) -> None:
        """Notify the watchdog now and twice in each interval, as sd_watchdog_enabled(3) advises."""
        # From the reactor's own timer, so that a reactor that hangs sends nothing.
        if self._path is None or self._watchdog is None:
            return
        self._send("WATCHDOG=1")
        reactor.callLater(self._watchdog / 2, self.start_watchdog, reactor)

    def _send(self, *assignments: str) -> None:
        if self._path is None:
            return
        # "@" stands for the zero byte of an abstract socket (sd_notify(3)).
        path = self._path
        address = b"\0" + os.fsencode(path[1:]) if path.startswith("@") else os.fsencode(path)
        try:
            # A socket each time: the service manager may have been restarted.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(PATIENCE)
                sock.sendto("\n".join(assignments).encode(errors="replace"), address)
        except OSError as error:
            if not self._has_failed:
                text = "cannot notify the service manager at {path}: {error}"
                log.warn(text, path=path, error=error)
            self._has_failed = True


def _line(text: str) -> str:
    """*text* in one line: each line of a notification is an assignment."""
    return " ".join(text.split())
