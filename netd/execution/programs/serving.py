"""Programs, a process a connection: inetd's model, in the thread that took the connection.

The connection becomes the program's standard input and output; what it writes to its standard error
is logged line by line. Its environment names the connection as UCSPI does; nothing that a client
sends is in its arguments. The worker gives its own copy of the connection away, so the program
alone decides when it ends.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from typing import Final

from netd.core.exit_status import ending
from netd.core.output_lines import Lines
from netd.core.shutting_down import shut_down
from netd.execution.blocking_tls import TlsSocket
from netd.execution.outcome import FAILED, Outcome, Verdict
from netd.execution.programs.environment import _tls_environment, environment_of
from netd.execution.programs.spawn import Running, read_last, read_some, start
from netd.execution.programs.tls_relay import Relay
from netd.execution.request import Request
from netd.execution.serving import ServedListener, Serving
from netd.ipc.scoreboard import Lane
from netd.listening.traffic import traffic
from netd.log.record import UNKNOWN
from netd.model.service import Program

TERMINATION: Final = 1.0
"""Seconds between SIGTERM and SIGKILL for a program that has run for too long."""


class ProgramServing(Serving):
    """Serves connections by a program each, and waits for it in the thread that took it."""

    def __init__(
        self,
        listener: ServedListener,
        program: Program,
        handler_timeout: float | None,
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(listener)
        self._program = program
        self._of = listener.transport
        self._timeout = handler_timeout
        self._environment = environment
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Running, Request]] = {}
        """By pid: the programs that are not reaped, each with its request. Under the lock, because
        the system gives a reaped program's pid to another process."""
        self._over = False

    def kill(self) -> None:
        """End all programs immediately, and each that is started later. Any thread."""
        with self._lock:
            self._over = True
            for running, request in self._running.values():
                _end_immediately(running, request)

    def _expel(self, request: Request, why: str) -> None:
        """End the program, which has the connection."""
        with self._lock:
            for running, of in self._running.values():
                if of is request:
                    _end_immediately(running, request)
                    self._say_expelled(request, why)
                    return
        super()._expel(request, why)  # it is not started yet

    def _handle(self, request: Request, lane: Lane, started: float) -> None:
        relay = None
        connection = request.raw
        try:
            if isinstance(request.raw, TlsSocket):
                ours, connection = socket.socketpair()
                relay = Relay(request.raw, ours)
            running = self._start(request, connection)
        except OSError as error:
            text = f"{request.client}: {self._program} cannot be started: {error.strerror}"
            self._log_buffer.say(self._service, "error", text)
            self._let_go(request, relay)
            self._record(lane, request.client, FAILED, started, UNKNOWN)
            return
        finally:
            # Closed but not shut down, because the program has a copy.
            with suppress(OSError):
                connection.close()
        code = self._wait(running, request, relay)
        carried = UNKNOWN if relay is None else traffic(request.raw)
        self._let_go(request, relay)
        self._record(lane, request.client, _outcome(code, running.pid), started, carried)

    def _let_go(self, request: Request, relay: Relay | None) -> None:
        """End a TLS connection. The program has only the relay's socket."""
        if relay is not None:
            relay.close()
            self._close(request, "shutdown_request")

    def _start(self, request: Request, connection: socket.socket) -> Running:
        """Start the program on *connection*. Raises OSError."""
        local = request.raw.getsockname()
        environment = environment_of(self._of, request, local, self._environment)
        if isinstance(request.raw, TlsSocket):
            environment |= _tls_environment(request.raw, request.certificate)
        # Starting a program holds the interpreter's lock, so no thread waits longer for this one.
        with self._lock:
            running = start(self._program, connection.fileno(), environment)
            self._running[running.pid] = running, request
            if self._over:
                _end_immediately(running, request)
        return running

    def _wait(self, running: Running, request: Request, relay: Relay | None) -> int:
        """Log what the program says, until it has ended; return how."""
        say: Callable[[str], None] = lambda line: self._log_buffer.say(  # noqa: E731
            self._service, "warn", f"{request.client}: {line}"
        )
        lines = Lines(say)
        try:
            self._follow(_Following(running, lines, relay), request.client)
            with self._lock:
                del self._running[running.pid]
                code = running.reap()
            read_last(running.error, lines)
        finally:
            running.close()
        return code

    def _follow(self, following: _Following, client: str) -> None:
        """Follow a program until it ends, or is made to."""
        deadline = None
        for number, deadline in _ends(self._timeout):
            if following.until(deadline):
                return
            if not following.has_ended:
                text = f"{client}: {self._program} has run for more than {self._timeout:g} s"
                self._log_buffer.say(self._service, "error", f"{text}: {number.name}")
            following.running.end(number)
        if deadline is not None and not following.until(deadline + TERMINATION):
            following.hang_up()
        following.until(None)


class _Following:
    """One program, whose standard error is read, and whose connection is carried, until it ends."""

    def __init__(self, running: Running, lines: Lines, relay: Relay | None) -> None:
        self.running = running
        self._lines = lines
        self._relay = relay
        self.has_ended = False
        """Whether the program has, though not all that it wrote may have been sent."""
        self._poll = select.poll()
        self._poll.register(running.pidfd, select.POLLIN)
        self._poll.register(running.error, select.POLLIN)

    def until(self, deadline: float | None) -> bool:
        """Follow it until it has ended, or until *deadline*; whether it has ended."""
        while True:
            if self._relay is not None:
                self._relay.carry(self._poll)
            if self.has_ended and (self._relay is None or self._relay.is_over):
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._see(dict(self._poll.poll(left and left * 1000)))

    def hang_up(self) -> None:
        """End the client's connection, where what the program wrote last is still to be sent."""
        if self._relay is not None:
            self._relay.hang_up()

    def _see(self, ready: Container[int]) -> None:
        running = self.running
        if running.error in ready and not read_some(running.error, self._lines):
            self._poll.unregister(running.error)
        if running.pidfd in ready:
            self.has_ended = True
            self._poll.unregister(running.pidfd)


def _outcome(code: int, pid: int) -> Outcome:
    if code == 0:
        return Outcome(Verdict.SERVED, f"served (pid {pid})")
    return Outcome(Verdict.FAILED, f"ended with {ending(code)} (pid {pid})")


def _end_immediately(running: Running, request: Request) -> None:
    """Kill a program, and end its client's connection if the program does not have that itself."""
    running.end(signal.SIGKILL)
    if isinstance(request.raw, TlsSocket):
        # The thread that carries what the program wrote may wait for the client to take it.
        shut_down(request.raw)


def _ends(timeout: float | None) -> Sequence[tuple[signal.Signals, float]]:
    """What is sent to a program that runs for too long, and when."""
    if timeout is None:
        return ()
    over = time.monotonic() + timeout
    return (signal.SIGTERM, over), (signal.SIGKILL, over + TERMINATION)
