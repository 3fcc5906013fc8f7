"""The end of a worker process: last log lines, then the interpreter's end or one past it."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TextIO

from twisted.internet.error import ReactorNotRunning

from netd.core.reactor import ProcessReactor
from netd.worker.channel import DaemonChannel
from netd.worker.log_stream import LogStream

LAST_WORDS: Final = 1.0
"""Seconds that the daemon has to read what an ending worker has sent."""

_LEAST_TIME: Final = 0.1
"""Seconds that handlers get even if ``graceful_timeout`` is 0: faulthandler refuses 0."""


class ProcessExit:
    """Ends the process once the daemon has read its last log lines. In the reactor's thread.

    *graceful_timeout* bounds, in seconds, what may hold up the end.
    """

    def __init__(
        self,
        reactor: ProcessReactor,
        channel: DaemonChannel,
        log_stream: LogStream,
        graceful_timeout: float,
    ) -> None:
        self._reactor = reactor
        self._channel = channel
        self._log_stream = log_stream
        self._timeout = max(_LEAST_TIME, graceful_timeout)
        self.has_daemon = True

    def daemon_lost(self) -> None:
        """The daemon has gone: no ``Stop`` will come, so set a deadline; send no more log."""
        self.has_daemon = False
        self._log_stream.disconnect()
        # Standard error is a pipe to the daemon, so nothing reads the dump.
        self._set_deadline(open(os.devnull, "w"))  # noqa: SIM115

    def finish(self) -> None:
        """End in good order: every handler has returned."""
        self._close_channel(self._stop_reactor)

    def abort(self, kill: Callable[[], None]) -> None:
        """End past running handlers. *kill* ends what they have started outside this process."""
        self._close_channel(partial(self._end_now, kill))

    def _close_channel(self, end: Callable[[], None]) -> None:
        """Send what is queued, and call *end* when the daemon has read it, or after LAST_WORDS."""
        self._log_stream.disconnect()
        if not self.has_daemon:
            end()
            return
        assert self._channel.transport is not None
        self._channel.lost = end
        self._channel.transport.loseConnection()
        self._reactor.callLater(LAST_WORDS, end)

    def _end_now(self, kill: Callable[[], None]) -> None:
        kill()
        # Not sys.exit(): threads of handlers would hold up the interpreter's end.
        os._exit(0)

    def _stop_reactor(self) -> None:
        if self.has_daemon:
            # A thread that a handler has left behind, or a function that it has registered with
            # atexit, would hold up the interpreter's end, and no channel is left for a Stop.
            self._set_deadline(sys.__stderr__ or sys.stderr)
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _set_deadline(self, file: TextIO) -> None:
        """End this process when its time is over, and write to *file* where its threads are.

        faulthandler's timer is a thread in C: it ends the process even if a handler never releases
        the interpreter's lock.
        """
        faulthandler.dump_traceback_later(self._timeout, exit=True, file=file)
