"""The fork server: a process that has imported netd and Twisted, and becomes workers by forking.

It runs no user's code, has one thread and no reactor, so that forking it is safe and a worker is
there in milliseconds. It keeps the daemon's rights, which each worker gives up by itself, reaps its
children and says how they ended. When the daemon has gone, it goes too.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
from contextlib import suppress
from typing import Any, Final

from netd.values.forking import Ended, Fork, Forked, NotForked, receive, send
from netd.worker import process

CONNECTION: Final = 3
"""The descriptor of the socket to the daemon."""

_NEEDED: Final = (
    # What a reactor imports when it is made, or when it first does something.
    "twisted.internet.epollreactor",
    "twisted.internet.unix",
    "twisted.internet.udp",
    "socketserver",
)


def main() -> None:
    """Fork until the daemon has gone; returns in each child when its life as a worker is over."""
    for name in _NEEDED:
        importlib.import_module(name)
    # The daemon is asked to stop by the terminal's signals, and says when this is over.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Objects that are never collected are never written to, so their pages stay shared.
    gc.collect()
    gc.freeze()
    server = ForkServer(socket.socket(fileno=CONNECTION))
    if server.run():
        process.main()


class ForkServer:
    """Forks on the daemon's word."""

    def __init__(self, connection: socket.socket) -> None:
        connection.set_inheritable(False)
        self._connection = connection
        self._children: dict[int, int] = {}
        """The pid of each child, and by which number the daemon knows it."""
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> bool:
        """Serve the daemon. Returns True in a child, which is to become a worker."""
        while True:
            watched: list[Any] = [self._connection, self._woken]
            readable, _, _ = select.select(watched, [], [])
            if self._woken in readable:
                os.read(self._woken, 4096)
                self._reap()
            if self._connection in readable:
                received = receive(self._connection)
                if received is None:
                    return False
                packet, descriptors = received
                if isinstance(packet, Fork) and self._fork(packet, descriptors):
                    return True

    def _fork(self, order: Fork, descriptors: list[int]) -> bool:
        """Fork. Returns True in the child, with its descriptors in place."""
        try:
            pid = os.fork()
        except OSError as error:
            self._answer(NotForked(order.number, error.strerror or str(error)))
            pid = -1
        if pid == 0:
            self._become(order, descriptors)
            return True
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self._children[pid] = order.number
            pidfd = os.pidfd_open(pid)
            self._answer(Forked(order.number, pid), pidfd)
            os.close(pidfd)
        return False

    def _become(self, order: Fork, descriptors: list[int]) -> None:
        """In the child: forget the fork server and put the descriptors where they are to be."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._woken)
        os.close(self._wake)
        self._connection.close()
        # Out of the way first: one's target may be another's place.
        above = max((*order.targets, *descriptors)) + 1
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, above + place)
            os.close(descriptor)
        for place, target in enumerate(order.targets):
            os.dup2(above + place, target)
            os.close(above + place)

    def _reap(self) -> None:
        for pid, number in list(self._children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._children[pid]
                self._answer(Ended(number, os.waitstatus_to_exitcode(status)))

    def _answer(self, packet: Forked | Ended | NotForked, *descriptors: int) -> None:
        # A daemon that has gone is noticed when it is read from.
        with suppress(OSError):
            send(self._connection, packet, descriptors)
