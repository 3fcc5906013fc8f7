"""A process that the fork server was asked for, as the daemon sees it."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.python.failure import Failure

from netd.core.exit_status import ending
from netd.core.output_lines import Lines
from netd.core.pidfd import send_signal
from netd.core.reactor import PollingReactor, fd_set
from netd.core.timer import Timer
from netd.daemon.forkserver.orphans import reap

STATUS_PATIENCE: Final = 0.5
"""Seconds that the fork server has to report how a dead process ended."""


class ForkedWorker:
    """A ``Process`` of the fork server, from the order to its end.

    *wrote* gets each line of its output. *ended* gets how it ended, once, and *forget* the object
    itself just before. In the reactor's thread.
    """

    def __init__(
        self,
        reactor: PollingReactor,
        number: int,
        wrote: Callable[[str], None],
        ended: Callable[[str], None],
        forget: Callable[[ForkedWorker], None],
    ) -> None:
        self.number = number
        self.pid = 0
        """0 until the fork server has reported the process."""
        self._reactor = reactor
        self._wrote = wrote
        self._ended = ended
        self._forget = forget
        self._watch: _Watch | None = None
        self._outputs: list[_Output] = []
        self._is_killed = False
        self._is_finished = False
        self._status_deadline = Timer(reactor)

    def open_outputs(self) -> dict[int, int]:
        """Start reading the process's output.

        Return its ends of the pipes, by their numbers in the process; the caller closes them.
        Raises OSError.
        """
        theirs: dict[int, int] = {}
        try:
            for target in (1, 2):
                ours, theirs[target] = os.pipe2(os.O_CLOEXEC)
                output = _Output(self._reactor, ours, Lines(self._wrote))
                self._outputs.append(output)
                output.startReading()
        except OSError:
            # Each output closes the daemon's end when it reads the end of its pipe.
            for descriptor in theirs.values():
                os.close(descriptor)
            raise
        return theirs

    def started(self, pid: int, pidfd: int) -> None:
        """The process exists. *pidfd* is this object's from here on."""
        self.pid = pid
        self._watch = _Watch(self._reactor, pidfd, self._has_ended)
        self._watch.startReading()
        if self._is_killed:
            self._watch.kill()

    def kill(self) -> None:
        """See ``Process``. A process that does not exist yet is killed as soon as it does."""
        self._is_killed = True
        if self._watch is not None:
            self._watch.kill()

    def orphaned(self) -> None:
        """The fork server has ended: a process that does not exist yet never will."""
        if self._watch is None:
            self.finished("no process: the fork server has ended")

    def finished(self, how: str) -> None:
        """Report how it ended, after the last line that it wrote."""
        if self._is_finished:
            return
        self._is_finished = True
        self._status_deadline.clear()
        if self._watch is not None:
            self._watch.close()
        for output in self._outputs:
            output.read_rest()
        # Forgotten first, because the owner may start the next process in its answer.
        self._forget(self)
        self._ended(how)

    def _has_ended(self) -> None:
        # Its parent is the fork server, which reports the status; if that has died, the daemon is.
        if not self._reaped():
            self._status_deadline.set(STATUS_PATIENCE, self._give_up)

    def _give_up(self) -> None:
        if not self._reaped():
            self.finished("an unknown status")

    def _reaped(self) -> bool:
        code = None if self._watch is None else reap(self._watch.fileno())
        if code is not None:
            self.finished(ending(code))
        return code is not None


class _Watch(FileDescriptor):
    """A pidfd: it becomes readable when its process has ended, and kills that process only."""

    def __init__(self, reactor: PollingReactor, pidfd: int, has_ended: Callable[[], None]) -> None:
        super().__init__(fd_set(reactor))
        self._pidfd = pidfd
        self._has_ended = has_ended

    def fileno(self) -> int:
        return self._pidfd

    def doRead(self) -> None:
        # A pidfd stays readable, so the reactor would call this without end.
        self.stopReading()
        self._has_ended()

    def kill(self) -> None:
        """Send SIGKILL to the process, if it has not ended."""
        # Closed, its number may be another process's pidfd.
        if self._pidfd >= 0:
            send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Close the pidfd."""
        self.stopReading()
        os.close(self._pidfd)
        self._pidfd = -1


class _Output(FileDescriptor):
    """The reading end of a pipe that a worker writes to.

    Programs that the worker leaves behind may hold the other end, so it is read until they have
    ended, too.
    """

    def __init__(self, reactor: PollingReactor, descriptor: int, lines: Lines) -> None:
        super().__init__(fd_set(reactor))
        setNonBlocking(descriptor)
        self._descriptor = descriptor
        self._lines = lines

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> object:
        return readFromFD(self._descriptor, self._lines.dataReceived)

    def read_rest(self) -> None:
        """The process has ended: read what it wrote before."""
        if self._descriptor < 0:
            return
        with suppress(BlockingIOError):
            # At most what a pipe holds, because a program may go on writing.
            most = fcntl.fcntl(self._descriptor, fcntl.F_GETPIPE_SZ)
            self._lines.dataReceived(os.read(self._descriptor, most))
        self._lines.finish()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        os.close(self._descriptor)
        self._descriptor = -1
        self._lines.finish()
