"""Forks the processes of ``hosts``: netd and Twisted are imported once and not for each test.

The zygote has one thread and no reactor, so a fork of it is safe. An order comes by a socket of the
SOCK_SEQPACKET kind: a line of JSON, and descriptors. The first three are the new process's standard
input, its output, and where its exit status is to be told; the others are its own, in the order
that the JSON names them.
"""

from __future__ import annotations

import array
import atexit
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]

LONGEST: Final = 1 << 16
"""Bytes of an order."""

MOST: Final = 64
"""Descriptors with an order."""


class Forked:
    """A process that the zygote has forked, as its test sees it."""

    def __init__(self, pid: int, stdin: int, status: socket.socket) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "wb")
        self._status = status
        self._returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit status. Raises TimeoutError."""
        if self._returncode is None:
            self._status.settimeout(timeout)
            self._returncode = int(self._status.recv(LONGEST))
        return self._returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal while it runs."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, unless it has ended; its pid is free as soon as its status is told."""
        if self._returncode is None and not select.select([self._status], [], [], 0)[0]:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Give back what the test has of it."""
        self.stdin.close()
        self._status.close()


class Zygote:
    """The zygote of this test process. It ends with it, since the socket does."""

    _current: Zygote | None = None

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )
        atexit.register(self._end)

    @classmethod
    def current(cls) -> Zygote:
        """The one that runs already, or a new one."""
        if cls._current is None:
            cls._current = cls()
        return cls._current

    def fork(self, order: str, output: int, descriptors: Sequence[int]) -> Forked:
        """Let a process obey *order*, with copies of *descriptors*; it writes to *output*."""
        reading, writing = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            passed = [reading, output, theirs.fileno(), *descriptors]
            socket.send_fds(self._orders, [order.encode()], passed)
        os.close(reading)
        return Forked(int(ours.recv(LONGEST)), writing, ours)

    def _end(self) -> None:
        self._orders.close()
        self._process.wait()


def serve(orders: socket.socket, obey: Callable[[str, list[int]], None]) -> None:
    """Fork for every order, and tell of every end, until *orders* is closed."""
    children: dict[int, tuple[int, socket.socket]] = {}
    ready = select.poll()
    ready.register(orders, select.POLLIN)
    while True:
        for descriptor, _ in ready.poll():
            if descriptor != orders.fileno():
                ready.unregister(descriptor)
                _tell_end(descriptor, *children.pop(descriptor))
                continue
            order, passed, _, _ = orders.recvmsg(LONGEST, socket.CMSG_SPACE(MOST * 4))
            if not order:
                return
            stdin, output, status, *own = _descriptors(passed)
            pid = os.fork()
            if not pid:
                _become(stdin, output)
                for inherited in (orders, *(status for _, status in children.values())):
                    inherited.close()
                for descriptor in (*children, stdin, output, status):
                    os.close(descriptor)
                obey(order.decode(), own)
                sys.stdout.flush()
                os._exit(0)
            for descriptor in (stdin, output, *own):
                os.close(descriptor)
            told = socket.socket(fileno=status)
            told.send(str(pid).encode())
            pidfd = os.pidfd_open(pid)
            children[pidfd] = pid, told
            ready.register(pidfd, select.POLLIN)


def _descriptors(passed: Sequence[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for _, _, data in passed:
        found.frombytes(data)
    return list(found)


def _become(stdin: int, output: int) -> None:
    for number, descriptor in enumerate((stdin, output, output)):
        os.dup2(descriptor, number)
    # Never closed here: they are the process's own until its end.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115


def _tell_end(pidfd: int, pid: int, told: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(pidfd)
    with told, suppress(OSError):  # the test has gone
        told.send(str(os.waitstatus_to_exitcode(status)).encode())


def _main() -> None:
    # Imported here, because it imports this module. It must not import the reactor, whose epoll all
    # forks would share.
    from tests.execution.reactor.hosts import obey

    # Ctrl-C is for the tests.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(socket.socket(fileno=int(sys.argv[1])), obey)


if __name__ == "__main__":
    _main()
