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
import sys
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from typing import Final

from setproctitle import setproctitle, setthreadtitle

from netd.core.prctl import adopt_orphans, end_with_parent
from netd.ipc.forkserver import ChildEnded, Fork, Forked, ForkFailed, PassDescriptors, receive, send
from netd.worker import process

CONNECTION: Final = 3
"""The descriptor of the socket to the daemon."""

_NEEDED: Final = (
    # What a reactor imports when it is made, or when it first does something.
    "twisted.internet.default",
    "twisted.internet.unix",
    "twisted.internet.udp",
    "socketserver",
)

_LEFT_TO_THE_DAEMON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The terminal sends them to all; the daemon is asked to stop by them, and says when it has."""


def main() -> None:
    """Fork until the daemon has gone; returns in each child when its life as a worker is over."""
    end_with_parent()
    # What is left behind by a worker is reaped here, and does not become the daemon's.
    adopt_orphans()
    setproctitle("netd: fork server")
    for name in _NEEDED:
        importlib.import_module(name)
    for number in _LEFT_TO_THE_DAEMON:
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
        self._number = 0
        """Of the order that is under way."""
        self._given: dict[int, int] = {}
        """What came for it: which of our descriptors is which of the worker's."""
        self._children: dict[int, int] = {}
        """The pid of each child, and by which number the daemon knows it."""
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> bool:
        """Serve the daemon. Returns True in a child, which is to become a worker."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._reap()
            if self._connection.fileno() in ready:
                received = receive(self._connection)
                if received is None:
                    return False
                packet, descriptors = received
                if isinstance(packet, PassDescriptors | Fork) and self._obey(packet, descriptors):
                    return True

    def _obey(self, order: PassDescriptors | Fork, descriptors: list[int]) -> bool:
        """Take the descriptors, and fork when all are there. Returns True in the child."""
        if order.number != self._number:
            # The daemon has given up the order that these were for.
            self._close_given()
            self._number = order.number
        # When this process has too many open, the last ones have not come along.
        self._given.update(zip(order.targets, descriptors, strict=False))
        if isinstance(order, PassDescriptors):
            return False
        if len(self._given) < order.count:
            missing = f"only {len(self._given)} of its {order.count} descriptors came through"
            self._answer(ForkFailed(order.number, missing))
            self._close_given()
            return False
        return self._fork(order)

    def _close_given(self) -> None:
        for descriptor in self._given.values():
            os.close(descriptor)
        self._given = {}

    def _fork(self, order: Fork) -> bool:
        """Fork. Returns True in the child, with its descriptors in place."""
        pid = -1
        try:
            held, leash = _pipe()
            with held, leash:
                pid = os.fork()
                if pid == 0:
                    # Whom the daemon does not know, it could not count, drain or replace.
                    leash.close()
                    if held.read(1) == b"":
                        os._exit(1)
                elif self._announce(order.number, pid):
                    leash.write(b"!")
        except OSError as error:
            self._answer(ForkFailed(order.number, error.strerror or str(error)))
        if pid == 0:
            self._become(order)
            return True
        self._close_given()
        return False

    def _announce(self, number: int, pid: int) -> bool:
        """Tell the daemon of a new child. Returns whether it has been told; raises OSError."""
        # It cannot be another process's: this one reaps its children, and has not done so.
        pidfd = os.pidfd_open(pid)
        try:
            told = self._answer(Forked(number, pid), pidfd)
        finally:
            os.close(pidfd)
        self._children[pid] = number
        return told

    def _become(self, order: Fork) -> None:
        """In the child: forget the fork server, and be as a program of one's own would be."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._woken)
        os.close(self._wake)
        self._connection.close()
        put_in_place(self._given)
        sys.argv[1:] = [order.name]
        setproctitle(f"netd: worker {order.name}")
        # What ps and top show in 15 characters (PR_SET_NAME).
        setthreadtitle(f"netd {order.name}")

    def _reap(self) -> None:
        """Reap, one by one, every child that has ended, be it a worker or what one left behind."""
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                _, status = os.waitpid(ended.si_pid, 0)
                number = self._children.pop(ended.si_pid, None)
                if number is not None:
                    self._answer(ChildEnded(number, os.waitstatus_to_exitcode(status)))

    def _answer(self, packet: Forked | ChildEnded | ForkFailed, *descriptors: int) -> bool:
        """Tell the daemon; False when it has gone, which is noticed when it is read from."""
        try:
            send(self._connection, packet, descriptors)
        except OSError:
            return False
        return True


def _pipe() -> tuple[FileIO, FileIO]:
    """The reading and the writing end of a pipe. Raises OSError."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    return FileIO(reading, "rb"), FileIO(writing, "wb")


def put_in_place(descriptors: Mapping[int, int]) -> None:
    """Make each of *descriptors* what its key says. None of them stays open under another number.

    Programs inherit the standard ones only. Raises OSError.
    """
    now_at = dict(descriptors)
    wanted_by = {descriptor: target for target, descriptor in now_at.items()}
    for target in descriptors:
        descriptor = now_at[target]
        if descriptor != target:
            if target in wanted_by:
                # Somebody who has still to be moved is in the way.
                moved = os.dup(target)
                now_at[wanted_by[target]] = moved
                wanted_by[moved] = wanted_by.pop(target)
            os.dup2(descriptor, target, inheritable=False)
            os.close(descriptor)
        del wanted_by[descriptor]
        os.set_inheritable(target, target < CONNECTION)
