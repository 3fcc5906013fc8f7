"""The link from a worker's services to the daemon, over the worker's channel."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IFileDescriptor

from netd.core.prctl import end_with_parent
from netd.core.reactor import Reactor
from netd.ipc.worker import HandlerHung, NeedsRecycling, SuspendRequested
from netd.worker.channel import DaemonChannel
from netd.worker.log_stream import LogStream
from netd.worker.suspend import Suspensions


class ChannelLink:
    """Turns what services ask into reports: ``build.link.DaemonLink``.

    Handlers call it from their own threads, and reports leave in the reactor's.
    """

    def __init__(self, reactor: Reactor, channel: DaemonChannel, log_stream: LogStream) -> None:
        self._reactor = reactor
        self._channel = channel
        self._log_stream = log_stream
        self._pid = os.getpid()
        self.suspensions = Suspensions(self._request_suspension)
        """Handlers that wait for a suspension; an order of the daemon completes it."""
        self._suspend: Callable[[str], None] = self.suspensions.request

    def suspend(self, service: str) -> None:
        """See ``DaemonLink``."""
        self._suspend(service)

    def recycle(self, service: str, why: str) -> None:
        """See ``DaemonLink``."""
        self._reactor.callFromThread(self._channel.report, NeedsRecycling(service, why))

    def handler_hung(self, service: str) -> None:
        """See ``DaemonLink``."""
        self._reactor.callFromThread(self._report_hung, service)

    def relay(self, lines: str) -> None:
        """See ``DaemonLink``."""
        self._log_stream.relay(lines)

    def after_fork(self, suspend: Callable[[], None]) -> None:
        """See ``DaemonLink``.

        The child must close its copy of the channel: the daemon takes the channel's end for the
        worker's.
        """
        end_with_parent()
        # The worker may have ended before the line above, which then waits for another parent.
        if os.getppid() != self._pid:
            os._exit(1)
        self._suspend = lambda service: suspend()
        # Not loseConnection(): no reactor runs in the child, and nothing may be written twice.
        transport = cast(IFileDescriptor, self._channel.transport)
        os.close(transport.fileno())

    def _report_hung(self, service: str) -> None:
        # The log first: the daemon kills the process when it reads the report.
        self._log_stream.flush()
        self._channel.report(HandlerHung(service))

    def _request_suspension(self, service: str) -> None:
        self._reactor.callFromThread(self._channel.report, SuspendRequested(service))
