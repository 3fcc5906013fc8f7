"""The fork server: a process that has imported netd and Twisted, and becomes workers by forking.

It runs no user code, has one thread and no reactor. So forking it is safe, and a worker exists
within milliseconds. It keeps the daemon's rights, which each worker drops for itself. It reaps its
children and reports how they ended. It ends with the daemon.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from io import FileIO
from typing import Final

from setproctitle import setproctitle, setthreadtitle

from netd.core.prctl import adopt_orphans, end_with_parent
from netd.ipc.forkserver import ChildEnded, Fork, Forked, ForkFailed, PassDescriptors, receive, send
from netd.worker import process
from netd.worker.descriptors import put_in_place

CONNECTION: Final = 3
"""The descriptor of the socket to the daemon."""

_NEEDED: Final = (
    # What a reactor imports when it is made or first used. Imported here, workers share the pages.
    "twisted.internet.default",
    "twisted.internet.unix",
    "twisted.internet.udp",
    "socketserver",
)

_DAEMONS_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that a terminal sends to all processes. The daemon alone obeys them; the fork server must
be there until the daemon has stopped."""


def main() -> None:
    """Fork until the daemon has gone. In each child, run the worker and return when it ends."""
    end_with_parent()
    # Processes that a worker leaves behind are reaped here, and not by the daemon.
    adopt_orphans()
    setproctitle("netd: fork server")
    for name in _NEEDED:
        importlib.import_module(name)
    for number in _DAEMONS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # The collector writes into each object that it looks at, which would unshare its page.
    gc.collect()
    gc.freeze()
    server = ForkServer(socket.socket(fileno=CONNECTION))
    if server.run():
        process.main()


class ForkServer:
    """Forks by the daemon's orders, reaps, and reports. Owns *connection*."""

    def __init__(self, connection: socket.socket) -> None:
        connection.set_inheritable(False)
        self._connection = connection
        self._number = 0
        """The number of the order whose descriptors are being received."""
        self._received: dict[int, int] = {}
        """The descriptors of that order so far, by their number in the new process."""
        self._children: dict[int, int] = {}
        """The number under which the daemon knows each child, by pid."""
        # SIGCHLD wakes poll(2) through this pipe; a signal that arrives just before poll does, too.
        self._wakeup, self._wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> bool:
        """Serve the daemon. Returns True in a child, to become a worker; False at the end."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
                self._reap()
            if self._connection.fileno() in ready:
                received = receive(self._connection)
                if received is None:
                    return False
                packet, descriptors = received
                if isinstance(packet, PassDescriptors | Fork) and self._obey(packet, descriptors):
                    return True

    def _obey(self, order: PassDescriptors | Fork, descriptors: list[int]) -> bool:
        """Keep the descriptors, and fork once all have arrived. Returns True in the child."""
        if order.number != self._number:
            # The daemon has given up the order that the kept descriptors were for.
            self._close_received()
            self._number = order.number
        # Not strict: the last ones are missing if this process has too few descriptors free.
        self._received.update(zip(order.targets, descriptors, strict=False))
        if isinstance(order, PassDescriptors):
            return False
        if len(self._received) < order.count:
            missing = f"only {len(self._received)} of its {order.count} descriptors came through"
            self._answer(ForkFailed(order.number, missing))
            self._close_received()
            return False
        return self._fork(order)

    def _close_received(self) -> None:
        for descriptor in self._received.values():
            os.close(descriptor)
        self._received = {}

    def _fork(self, order: Fork) -> bool:
        """Fork. Returns True in the child, with its descriptors in place."""
        pid = -1
        try:
            # The child waits on the leash until the daemon knows it: the daemon could neither
            # count, drain nor replace a worker that it was not told of. If the fork server dies or
            # fails in between, the leash's end ends the child.
            leash, release = _pipe()
            with leash, release:
                pid = os.fork()
                if pid == 0:
                    release.close()
                    if leash.read(1) == b"":
                        os._exit(1)
                elif self._announce(order.number, pid):
                    release.write(b"!")
        except OSError as error:
            self._answer(ForkFailed(order.number, error.strerror or str(error)))
        if pid == 0:
            self._become(order)
            return True
        self._close_received()
        return False

    def _announce(self, number: int, pid: int) -> bool:
        """Report a new child to the daemon. Returns whether that was sent; raises OSError."""
        # The pid cannot be another process's by now: only this process could have reaped the child.
        pidfd = os.pidfd_open(pid)
        try:
            told = self._answer(Forked(number, pid), pidfd)
        finally:
            os.close(pidfd)
        self._children[pid] = number
        return told

    def _become(self, order: Fork) -> None:
        """In the child: give up what is the fork server's, as exec(2) would."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._wakeup)
        os.close(self._wakeup_write)
        self._connection.close()
        put_in_place(self._received)
        sys.argv[1:] = [order.name]
        setproctitle(f"netd: worker {order.name}")
        # The short name in ps and top, 15 characters (PR_SET_NAME).
        setthreadtitle(f"netd {order.name}")

    def _reap(self) -> None:
        """Reap every child that has ended: workers, and processes that these left behind."""
        with suppress(ChildProcessError):
            # WNOWAIT first: the pid must stay taken until it is known which child it is.
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                _, status = os.waitpid(ended.si_pid, 0)
                number = self._children.pop(ended.si_pid, None)
                if number is not None:
                    self._answer(ChildEnded(number, os.waitstatus_to_exitcode(status)))

    def _answer(self, packet: Forked | ChildEnded | ForkFailed, *descriptors: int) -> bool:
        """Send *packet*. Returns False if the daemon has gone, which ``run`` finds out itself."""
        try:
            send(self._connection, packet, descriptors)
        except OSError:
            return False
        return True


def _pipe() -> tuple[FileIO, FileIO]:
    """The reading and the writing end of a pipe. Raises OSError."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    return FileIO(reading, "rb"), FileIO(writing, "wb")
