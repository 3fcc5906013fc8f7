"""Programs, a process a connection: inetd's model, in the thread that took the connection.

The connection becomes the program's standard input and output; what it writes to its standard error
is logged line by line. Its environment names the connection as UCSPI does; nothing that a client
sends is in its arguments. The worker gives its own copy of the connection away, so the program
alone decides when it ends.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from netd.admission.lists import PeerCertificate
from netd.execution.relay import Relay
from netd.execution.serving import Serving
from netd.execution.sources import Taken, clear_of_standard
from netd.execution.tls import TlsSocket
from netd.listening.traffic import UNKNOWN, traffic
from netd.tls.environment import environment as tls_environment
from netd.tls.peer import ClientCertificate
from netd.values.address import Transport
from netd.values.ending import ending
from netd.values.lines import LONGEST_LINE, Lines
from netd.values.scoreboard import Slot
from netd.values.service import Program
from netd.values.shutting_down import shut_down

PIPE: Final = 64 << 10
"""Bytes that a pipe holds (pipe(7)): what a program that has ended can have left in it."""

TERMINATION: Final = 1.0
"""Seconds between SIGTERM and SIGKILL for a program that has run for too long."""

_OF_A_CONNECTION: Final = (
    "PROTO", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPLOCALIP", "TCPLOCALPORT", "REMOTE_ADDR",
    "REMOTE_PORT", "TCPREMOTEHOST", "TCPREMOTEINFO", "TCPLOCALHOST", "UNIXLOCALPATH",
    "UNIXREMOTEEUID", "UNIXREMOTEEGID", "UDPLOCALIP", "UDPLOCALPORT",
    "HTTPS", "SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI",
)  # fmt: skip
"""Names of UCSPI, of TLS, and of ours, of which none may be left over from whoever started the
daemon."""


def _is_of_a_connection(name: str) -> bool:
    return name in _OF_A_CONNECTION or name.startswith("SSL_CLIENT_")


_RESET: Final = [
    number
    for number in signal.valid_signals()
    if number not in (signal.SIGKILL, signal.SIGSTOP) and number < signal.SIGRTMIN
]
"""Signals that Python ignores, or that the worker has handlers for, are a program's own again."""


def environment_of(
    transport: Transport, taken: Taken | None, local: Any, base: Mapping[str, str]
) -> dict[str, str]:
    """What a program finds in its environment; *taken* of None is for the listening socket.

    *local* is the connection's own address. The names are those of ucspi-tcp and ucspi-unix.
    """
    names = {key: value for key, value in base.items() if not _is_of_a_connection(key)}
    if transport.is_unix:
        names |= {"PROTO": "UNIX", "UNIXLOCALPATH": _path_text(local)}
        if taken is not None and taken.peer is not None:
            names["UNIXREMOTEEUID"] = str(taken.peer.uid)
            names["UNIXREMOTEEGID"] = str(taken.peer.gid)
        return names
    proto = "UDP" if transport.is_datagram else "TCP"
    names |= {"PROTO": proto, f"{proto}LOCALIP": local[0], f"{proto}LOCALPORT": str(local[1])}
    if taken is not None:
        host, port = taken.client_address[:2]
        names |= {"TCPREMOTEIP": host, "TCPREMOTEPORT": str(port)}
        names |= {"REMOTE_ADDR": host, "REMOTE_PORT": str(port)}
    return names


def _tls_environment(connection: TlsSocket, certificate: PeerCertificate | None) -> dict[str, str]:
    cipher = connection.cipher()
    return tls_environment(
        connection.version(),
        None if cipher is None else cipher[0],
        connection.asked_name,
        certificate if isinstance(certificate, ClientCertificate) else None,
    )


def _path_text(name: Any) -> str:
    """A Unix socket's name: an abstract one with an ``@`` for its NUL."""
    if isinstance(name, bytes):
        return "@" + name[1:].decode(errors="replace") if name[:1] == b"\0" else os.fsdecode(name)
    return str(name)


@dataclass
class Running:
    """A program that was started; ``close`` gives its descriptors back."""

    pid: int
    pidfd: int
    """Readable when it has ended (pidfd_open(2))."""
    error: int
    """What it writes to its standard error."""

    def end(self, number: signal.Signals) -> None:
        """Send a signal to the program and what it has started, as far as that stayed with it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def reap(self) -> int:
        """How it ended, which must be so; as ``os.waitstatus_to_exitcode`` has it."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.pidfd)
        os.close(self.error)


def start(program: Program, descriptor: int, environment: Mapping[str, str]) -> Running:
    """Start *program* in a session of its own, with *descriptor* as its input and output.

    Raises OSError, and then nothing runs.
    """
    error, theirs = map(clear_of_standard, os.pipe2(os.O_CLOEXEC))
    try:
        # The end that the program has blocks, as it expects.
        os.set_blocking(error, False)
        pid = os.posix_spawn(
            program.path,
            program.arguments,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, descriptor, 0),
                (os.POSIX_SPAWN_DUP2, descriptor, 1),
                (os.POSIX_SPAWN_DUP2, theirs, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=_RESET,
        )
        return Running(pid, _pidfd_of(pid), error)
    except BaseException:
        os.close(error)
        raise
    finally:
        os.close(theirs)


def _pidfd_of(pid: int) -> int:
    """A pidfd of a program that was just started. Raises OSError, and then it runs no more."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


class ProgramServing(Serving):
    """Serves connections by a program each, and waits for it in the thread that took it."""

    def __init__(
        self,
        *arguments: Any,
        program: Program,
        transport: Transport,
        handler_timeout: float | None,
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(*arguments)
        self._program = program
        self._of = transport
        self._timeout = handler_timeout
        self._environment = environment
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Running, Taken]] = {}
        """By pid, those that are not reaped, and for whom they run; under the lock, for a pid is
        another's after that."""
        self._over = False

    def kill(self) -> None:
        """End all programs at once, those too that are started from now on. Any thread."""
        with self._lock:
            self._over = True
            for running, taken in self._running.values():
                _end_at_once(running, taken)

    def _expel(self, taken: Taken, why: str) -> None:
        """End the program, which has the connection."""
        with self._lock:
            for running, of in self._running.values():
                if of is taken:
                    _end_at_once(running, taken)
                    self._say_expelled(taken, why)
                    return
        super()._expel(taken, why)  # it is not started yet

    def _handle(self, taken: Taken, slot: Slot, started: float) -> None:
        slot.served += 1
        relay = None
        connection = taken.request
        try:
            if isinstance(taken.request, TlsSocket):
                ours, connection = socket.socketpair()
                relay = Relay(taken.request, ours)
            running = self._start(taken, connection)
        except OSError as error:
            slot.failed += 1
            text = f"{taken.client}: {self._program} cannot be started: {error.strerror}"
            self._journal.say(self._service, "error", text)
            self._let_go(taken, relay)
            self._end(taken, "failed", started, UNKNOWN)
            return
        finally:
            # Not shut down: the program has it.
            with suppress(OSError):
                connection.close()
        code = self._wait(running, taken, relay)
        if code != 0:
            slot.failed += 1
        carried = UNKNOWN if relay is None else traffic(taken.request)
        self._let_go(taken, relay)
        verdict = "served" if code == 0 else f"ended with {ending(code)}"
        self._end(taken, f"{verdict} (pid {running.pid})", started, carried)

    def _let_go(self, taken: Taken, relay: Relay | None) -> None:
        """End a TLS connection, which the program does not have."""
        if relay is not None:
            relay.close()
            self._close(taken, "shutdown_request")

    def _start(self, taken: Taken, connection: socket.socket) -> Running:
        """Start the program on *connection*. Raises OSError."""
        local = taken.request.getsockname()
        environment = environment_of(self._of, taken, local, self._environment)
        if isinstance(taken.request, TlsSocket):
            environment |= _tls_environment(taken.request, taken.certificate)
        # The interpreter's lock is held meanwhile in any case, so nobody waits longer for this one.
        with self._lock:
            running = start(self._program, connection.fileno(), environment)
            self._running[running.pid] = running, taken
            if self._over:
                _end_at_once(running, taken)
        return running

    def _wait(self, running: Running, taken: Taken, relay: Relay | None) -> int:
        """Log what the program says, until it has ended; return how."""
        say: Callable[[str], None] = lambda line: self._journal.say(  # noqa: E731
            self._service, "warn", f"{taken.client}: {line}"
        )
        lines = Lines(say)
        try:
            self._follow(_Following(running, lines, relay), taken.client)
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
                self._journal.say(self._service, "error", f"{text}: {number.name}")
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


def _end_at_once(running: Running, taken: Taken) -> None:
    """Kill a program, and end its client's connection if the program does not have that itself."""
    running.end(signal.SIGKILL)
    if isinstance(taken.request, TlsSocket):
        # The thread that carries what the program wrote may wait for the client to take it.
        shut_down(taken.request)


def _ends(timeout: float | None) -> Sequence[tuple[signal.Signals, float]]:
    """What is sent to a program that runs for too long, and when."""
    if timeout is None:
        return ()
    over = time.monotonic() + timeout
    return (signal.SIGTERM, over), (signal.SIGKILL, over + TERMINATION)


def read_last(descriptor: int, lines: Lines) -> None:
    """Read what a program that has ended wrote last.

    No more than that: those that it has left behind may go on writing for ever.
    """
    for _ in range(PIPE // LONGEST_LINE):
        if not read_some(descriptor, lines):
            break
    lines.finish()


def read_some(descriptor: int, lines: Lines) -> bool:
    """Read what there is, without waiting; whether there was something, and may be more."""
    try:
        data = os.read(descriptor, LONGEST_LINE)
    except BlockingIOError:
        return False
    lines.dataReceived(data)
    return bool(data)
