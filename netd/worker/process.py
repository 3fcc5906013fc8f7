"""The life of a worker process, from its first order to its end."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from twisted.internet.protocol import Factory

from netd.admission.lists import AccessLists
from netd.core.prctl import end_with_parent
from netd.execution.interfaces import Execution
from netd.execution.tracebacks import user_traceback
from netd.ipc.worker import (
    AllSuspended,
    Disconnect,
    Drain,
    Failed,
    Hung,
    LogAs,
    NeedsRecycling,
    Order,
    Ready,
    Recheck,
    Resume,
    ServiceStart,
    Shutdown,
    Start,
    Suspend,
    Suspended,
    encode_report,
)
from netd.log.buffer import LogBuffer
from netd.log.capture import Speaker, capture, set_level
from netd.model.service import Plugin, Program
from netd.worker import importing
from netd.worker.build.blocking import by_forks, by_threads
from netd.worker.build.context import ServiceContext
from netd.worker.build.programs import by_inetd_wait, by_programs
from netd.worker.build.reactor import by_reactor
from netd.worker.channel import DaemonChannel, LogStream, receive_start
from netd.worker.environment import NotEntered, enter
from netd.worker.suspend import Suspensions

CHANNEL: Final = 3
"""The descriptor of the channel in a worker process."""

LAST_WORDS: Final = 1.0
"""Seconds that the daemon has to read what a leaving worker has sent."""


def main() -> None:
    """Run a worker; returns when it has left in good order."""
    _leave_the_terminal()
    channel = socket.socket(fileno=CHANNEL)
    try:
        start = receive_start(channel)
    except EOFError:
        return
    _keep_descriptors_from_programs(start)
    faulthandler.enable(sys.__stderr__ or sys.stderr)
    # Imported here, so that it is there before the rights to read it may be dropped.
    from twisted.internet import reactor

    first = start.services[0].service
    try:
        enter(first.owner, first.environment)
    except NotEntered as error:
        _report_failure(channel, Failed(first.name, f"{error.key} {error}"))
        return
    worker = Worker(reactor, start)
    capture(worker.log_buffer, Speaker(start.worker))
    importing.put_first(start.python_path)
    failure = worker.prepare()
    if failure is not None:
        _report_failure(channel, failure)
        return
    worker.connect(channel)
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    # What is said from here on (atexit) has no channel, but the daemon still reads the pipes.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def _leave_the_terminal() -> None:
    """Leave signals to the daemon, which gets them too and says what to do.

    A handler that does nothing, not SIG_IGN: programs that a handler starts would inherit that,
    and could never be terminated.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)


def _keep_descriptors_from_programs(start: Start) -> None:
    for service in start.services:
        queues = (queue for queue in service.queues if queue is not None)
        for descriptor in (CHANNEL, service.scoreboard, *service.listeners, *queues):
            os.set_inheritable(descriptor, False)


def _report_failure(channel: socket.socket, failure: Failed) -> None:
    """Say why there will be no worker, before there is a reactor to say it with."""
    report = encode_report(failure)
    with suppress(OSError):
        channel.sendall(len(report).to_bytes(4) + report)


def _hosted(context: ServiceContext, plugin: Plugin) -> Execution:
    """A plugin, hosted. Raises ``importing.CannotImport``."""
    # Here, because most workers need nothing of it.
    from netd.worker.build.plugins import HostedPlugin

    try:
        return HostedPlugin(plugin, context.say)
    except Exception as error:
        raise importing.CannotImport(f'plugin "{plugin}": {error}') from error


def joined(context: ServiceContext) -> Execution:
    """A service, joined up for the way it is run. Raises ``importing.CannotImport``."""
    runs = context.service.runs
    if isinstance(runs, Program):
        return by_inetd_wait(context, runs) if runs.wait else by_programs(context, runs)
    if isinstance(runs, Plugin):
        return _hosted(context, runs)
    if context.service.concurrency == "reactor":
        return by_reactor(context)
    return by_forks(context) if context.service.forks else by_threads(context)


class Worker:
    """The services of one process, and its obedience to the daemon. In the reactor's thread.

    *join* makes of a service what can be started. Raises ``importing.CannotImport``.
    """

    def __init__(
        self, reactor: Any, start: Start, join: Callable[[ServiceContext], Execution] = joined
    ) -> None:
        self._reactor = reactor
        self._start = start
        self._join = join
        self._stream = LogStream(reactor, start.log)
        self._serving: dict[str, Execution] = {}
        self._channel = DaemonChannel(self._obey, self._drain_alone)
        self._suspensions = Suspensions(self._ask_for_suspension)
        self._ask_suspension = self._suspensions.ask
        self._pid = os.getpid()
        self._draining = False
        self._alone = False
        """Whether the daemon has gone."""

    @property
    def log_buffer(self) -> LogBuffer:
        """What brings the log of this process to the daemon."""
        return self._stream.log_buffer

    def prepare(self) -> Failed | None:
        """Import what the services run. Returns what is wrong, if something is."""
        for start in self._start.services:
            context = ServiceContext(
                start,
                self._start.python_path,
                self._reactor,
                self._stream.log_buffer,
                self,
            )
            try:
                self._serving[start.service.name] = self._join(context)
            except importing.CannotImport as error:
                return Failed(start.service.name, str(error))
        return None

    def connect(self, channel: socket.socket) -> None:
        """Take over the channel, begin to serve and say so."""
        factory = Factory.forProtocol(lambda: self._channel)
        factory.noisy = False
        self._reactor.adoptStreamConnection(channel.fileno(), socket.AF_UNIX, factory)
        channel.close()
        self._stream.connect(self._channel)
        for start in self._start.services:
            failure = self._begin(start)
            if failure is not None:
                self._channel.report(failure)
                self._reactor.callWhenRunning(self._leave, True)
                return
        self._channel.report(Ready())

    def _begin(self, start: ServiceStart) -> Failed | None:
        """Begin to serve, unless the service is suspended. Returns what is wrong with it."""
        name = start.service.name
        try:
            self._serving[name].start(accepting=not start.suspended)
        except BaseException as error:  # a factory's startFactory, a protocol's startProtocol
            return Failed(name, f"cannot be started\n{user_traceback(error)}")
        return None

    def _obey(self, order: Order) -> None:
        match order:
            case Drain():
                self._drain()
            case Recheck(service, access):
                self._serving[service].recheck(AccessLists.of(access))
            case Disconnect(service, connection):
                self._serving[service].disconnect(connection)
            case LogAs(log):
                self._stream.log_buffer.change(log)
                set_level(log.level)
            case Suspend(service):
                self._serving[service].suspend()
                self._channel.report(Suspended(service))
            case Resume(service):
                if not self._draining:
                    self._serving[service].resume()
                self._suspensions.done(service)
            case AllSuspended(service):
                self._suspensions.done(service)
            case _:
                # First, for the daemon gives this process a second.
                for serving in self._serving.values():
                    serving.kill()
                self._leave(at_once=True)

    # What services say to the daemon (services.Office). Any thread.

    def suspend(self, service: str) -> None:
        """Stop taking in all processes of *service*; returns when that is so."""
        self._ask_suspension(service)

    def worn(self, service: str, why: str) -> None:
        """Ask for a successor."""
        self._reactor.callFromThread(self._channel.report, NeedsRecycling(service, why))

    def hung(self, service: str) -> None:
        """Ask to be ended, after what has been logged."""
        self._reactor.callFromThread(self._say_hung, service)

    def relay(self, lines: str) -> None:
        """Bring lines of log to the daemon. The reactor's thread."""
        self._stream.relay(lines)

    def become_child(self, suspend: Callable[[], None]) -> None:
        """In a process that was forked: end with the worker, and close the channel.

        That has its end when the worker has. Raises OSError.
        """
        end_with_parent()
        if os.getppid() != self._pid:  # it had ended before that
            os._exit(1)
        self._ask_suspension = lambda service: suspend()
        transport: Any = self._channel.transport
        os.close(transport.fileno())

    def _say_hung(self, service: str) -> None:
        self._stream.flush()
        self._channel.report(Hung(service))

    def _ask_for_suspension(self, service: str) -> None:
        self._reactor.callFromThread(self._channel.report, Shutdown(service))

    # What the daemon wants.

    def _drain(self) -> None:
        """Take nothing more, and leave when the last handler has returned."""
        if self._draining:
            return
        self._draining = True
        busy = set(self._serving)
        for name, serving in self._serving.items():

            def stopped(name: str = name) -> None:
                busy.discard(name)
                if not busy:
                    self._leave(at_once=False)

            serving.stop(stopped)
            if not self._alone:
                self._channel.report(Suspended(name))

    def _drain_alone(self) -> None:
        """The daemon has gone: nobody will say "stop", so set a time, and log to nobody."""
        self._alone = True
        self._stream.disconnect()
        self._suspensions.all_done()
        # Ends the process even if a handler holds the interpreter's lock for ever.
        self._end_later(open(os.devnull, "w"))  # noqa: SIM115
        self._drain()

    def _end_later(self, file: Any) -> None:
        """End this process when its time is over, and write to *file* where its threads are."""
        seconds = max(0.1, self._start.graceful_timeout)
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)

    def _leave(self, at_once: bool) -> None:
        """Say the last words and end; with handlers still running, past the interpreter."""
        self._stream.disconnect()
        if self._alone:
            self._end(at_once)
            return
        assert self._channel.transport is not None
        self._channel.lost = lambda: self._end(at_once)
        self._channel.transport.loseConnection()
        self._reactor.callLater(LAST_WORDS, self._end, at_once)

    def _end(self, at_once: bool) -> None:
        if at_once:
            for serving in self._serving.values():
                serving.kill()
            os._exit(0)
        if not self._alone:
            # A thread that a handler has left behind, or something that it has registered with
            # atexit, would hold up the interpreter's end, with nobody to obey the daemon.
            self._end_later(sys.__stderr__ or sys.stderr)
        if self._reactor.running:
            self._reactor.stop()
