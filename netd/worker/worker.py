"""The services of one worker process, and the daemon's orders to them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

from twisted.internet.protocol import Factory

from netd.admission.lists import AccessLists
from netd.core.reactor import ProcessReactor
from netd.execution.interfaces import Execution
from netd.execution.tracebacks import user_traceback
from netd.ipc.worker import (
    AllSuspended,
    ConfigureLog,
    Disconnect,
    Drain,
    Order,
    Ready,
    Recheck,
    Resume,
    ServiceStart,
    StartFailed,
    StartWorker,
    Stop,
    Suspend,
    Suspended,
)
from netd.log.buffer import LogBuffer
from netd.log.capture import set_level
from netd.worker import importing
from netd.worker.build.build import build_service
from netd.worker.build.context import ServiceContext
from netd.worker.channel import DaemonChannel
from netd.worker.channel_link import ChannelLink
from netd.worker.leaving import ProcessExit
from netd.worker.log_stream import LogStream

Build = Callable[[ServiceContext], Execution]
"""Builds a service that can be started. Raises ``importing.CannotImport``."""


class Worker:
    """Builds and starts its services, then obeys the daemon. In the reactor's thread.

    A worker whose daemon has gone drains as if it had been ordered to, under a deadline.
    """

    def __init__(
        self, reactor: ProcessReactor, start: StartWorker, build: Build = build_service
    ) -> None:
        self._reactor = reactor
        self._starts = start.services
        self._python_path = start.python_path
        self._build = build
        self._executions: dict[str, Execution] = {}
        self._log_stream = LogStream(reactor, start.log)
        self._channel = DaemonChannel(self._obey, self._daemon_lost)
        self._exit = ProcessExit(reactor, self._channel, self._log_stream, start.graceful_timeout)
        self.link = ChannelLink(reactor, self._channel, self._log_stream)
        """Brings requests of the services to the daemon."""
        self._draining = False

    @property
    def log_buffer(self) -> LogBuffer:
        """The queue of this process's log records, which the daemon gets as lines."""
        return self._log_stream.log_buffer

    def prepare(self) -> StartFailed | None:
        """Import what the services run. Returns the first failure, if there is one."""
        for start in self._starts:
            context = ServiceContext(
                start, self._python_path, self._reactor, self.log_buffer, self.link
            )
            try:
                self._executions[start.service.name] = self._build(context)
            except importing.CannotImport as error:
                return StartFailed(start.service.name, str(error))
        return None

    def connect(self, channel: socket.socket) -> None:
        """Take over *channel*, start the services, and report ``Ready`` or the first failure."""
        factory = Factory.forProtocol(lambda: self._channel)
        factory.noisy = False
        self._reactor.adoptStreamConnection(channel.fileno(), socket.AF_UNIX, factory)
        channel.close()
        self._log_stream.connect(self._channel)
        for start in self._starts:
            failure = self._start(start)
            if failure is not None:
                self._channel.report(failure)
                # Later: the channel sends only while the reactor runs.
                self._reactor.callWhenRunning(self._abort)
                return
        self._channel.report(Ready())

    def _start(self, start: ServiceStart) -> StartFailed | None:
        """Start one service. Returns why that failed, if it did."""
        name = start.service.name
        try:
            self._executions[name].start(accepting=not start.suspended)
        except BaseException as error:  # a factory's startFactory, a protocol's startProtocol
            return StartFailed(name, f"cannot be started\n{user_traceback(error)}")
        return None

    def _obey(self, order: Order) -> None:
        match order:
            case Drain():
                self._drain()
            case Recheck(service, access):
                self._executions[service].recheck(AccessLists.of(access))
            case Disconnect(service, connection):
                self._executions[service].disconnect(connection)
            case ConfigureLog(log):
                self._log_stream.log_buffer.change(log)
                set_level(log.level)
            case Suspend(service):
                self._executions[service].suspend()
                self._channel.report(Suspended(service))
            case Resume(service):
                # A draining worker has given up its listeners; its handlers still must go on.
                if not self._draining:
                    self._executions[service].resume()
                self.link.suspensions.complete(service)
            case AllSuspended(service):
                self.link.suspensions.complete(service)
            case Stop() | StartWorker():
                # Programs first: the daemon kills this process a second after the order.
                self._kill_programs()
                self._abort()

    def _daemon_lost(self) -> None:
        self._exit.daemon_lost()
        # Handlers in shutdown() wait for an answer that cannot come.
        self.link.suspensions.abandon()
        self._drain()

    def _drain(self) -> None:
        """Stop accepting, and exit when the last handler has returned."""
        if self._draining:
            return
        self._draining = True
        busy = set(self._executions)

        def stopped(name: str) -> None:
            busy.discard(name)
            if not busy:
                self._exit.finish()

        for name, execution in self._executions.items():
            execution.stop(partial(stopped, name))
            if self._exit.has_daemon:
                self._channel.report(Suspended(name))

    def _abort(self) -> None:
        self._exit.abort(self._kill_programs)

    def _kill_programs(self) -> None:
        for execution in self._executions.values():
            execution.kill()
