"""The life of a worker process until its reactor runs: one order, one environment, the imports."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Final, cast

from netd.core.reactor import ProcessReactor
from netd.ipc.worker import StartFailed, StartWorker, encode_report
from netd.log.capture import Speaker, capture
from netd.worker import importing
from netd.worker.channel import receive_start
from netd.worker.environment import NotEntered, enter
from netd.worker.worker import Worker

CHANNEL: Final = 3
"""The descriptor of the channel in a worker process."""

_DAEMONS_SIGNALS: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2),
)
"""Signals that a terminal or a supervisor sends to all processes; the daemon alone obeys them."""


def main() -> None:
    """Run a worker. Returns when it has exited in good order.

    The order of the steps is part of the design: no descriptor may reach a program that user code
    starts, netd's own imports come before the rights to read them are dropped, and the service's
    environment is entered before the first line of user code.
    """
    _ignore_signals()
    channel = socket.socket(fileno=CHANNEL)
    try:
        start = receive_start(channel)
    except EOFError:
        # The daemon has ended before it wanted a worker of this process.
        return
    _close_on_exec(start)
    faulthandler.enable(sys.__stderr__ or sys.stderr)
    # Imported here: it makes the reactor, and the fork server must fork without one. Before the
    # environment is entered, since its user may be unable to read the files.
    from twisted.internet import reactor

    # All services of a worker have the same owner and environment; the daemon refuses others.
    first = start.services[0].service
    try:
        enter(first.owner, first.environment)
    except NotEntered as error:
        _report_failure(channel, StartFailed(first.name, f"{error.key} {error}"))
        return
    worker = Worker(cast(ProcessReactor, reactor), start)
    capture(worker.log_buffer, Speaker(start.worker))
    importing.put_first(start.python_path)
    failure = worker.prepare()
    if failure is not None:
        _report_failure(channel, failure)
        return
    worker.connect(channel)
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    # The channel is closed now. The daemon still reads the pipes, for what atexit functions print.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def _ignore_signals() -> None:
    """Ignore the signals that the daemon gets too; it orders what follows from them.

    By a handler that does nothing, not by SIG_IGN: programs that a handler starts would inherit
    SIG_IGN, and then nothing but SIGKILL would end them.
    """
    for number in _DAEMONS_SIGNALS:
        signal.signal(number, lambda *_: None)


def _close_on_exec(start: StartWorker) -> None:
    """Keep every inherited descriptor from the programs that this process starts."""
    for service in start.services:
        queues = (queue for queue in service.queues if queue is not None)
        for descriptor in (CHANNEL, service.scoreboard, *service.listeners, *queues):
            os.set_inheritable(descriptor, False)


def _report_failure(channel: socket.socket, failure: StartFailed) -> None:
    """Send *failure* by the bare socket: no reactor runs yet. A daemon that has gone needs none."""
    report = encode_report(failure)
    with suppress(OSError):
        channel.sendall(len(report).to_bytes(4) + report)
