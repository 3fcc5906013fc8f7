"""A process that a fork server was asked for, as its parent's parent sees it."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.python.failure import Failure

from netd.core.exit_status import ending
from netd.core.output_lines import Lines
from netd.core.reactor import DelayedCall
from netd.daemon.forkserver.orphans import reap

STATUS_PATIENCE: Final = 0.5
"""Seconds that a fork server has to say how a process ended that is known to have ended."""


class ForkedWorker:
    """A ``Process`` of the fork server, from the order on, by its pidfd and its output.

    *wrote* gets what it writes, line by line; *ended*, once, how it ended, and *forget* before that
    the object itself. In the reactor's thread.
    """

    def __init__(
        self,
        reactor: Any,
        number: int,
        wrote: Callable[[str], None],
        ended: Callable[[str], None],
        forget: Callable[[ForkedWorker], None],
    ) -> None:
        self.number = number
        self.pid = 0
        """0 until the fork server has said that the process is there."""
        self._reactor = reactor
        self._wrote = wrote
        self._ended = ended
        self._forget = forget
        self._watch: _Watch | None = None
        self._outputs: list[_Output] = []
        self._killed = False
        self._finished = False
        self._patience: DelayedCall | None = None

    def open_outputs(self) -> dict[int, int]:
        """Begin to read what the process will write.

        Returns its ends of the pipes, to close, by what they are to be there. Raises OSError.
        """
        theirs: dict[int, int] = {}
        try:
            for target in (1, 2):
                ours, theirs[target] = os.pipe2(os.O_CLOEXEC)
                output = _Output(self._reactor, ours, Lines(self._wrote))
                self._outputs.append(output)
                output.startReading()
        except OSError:
            # At the end of the pipe, its other end is closed, too.
            for descriptor in theirs.values():
                os.close(descriptor)
            raise
        return theirs

    def started(self, pid: int, pidfd: int) -> None:
        """The process is there. Takes *pidfd* over."""
        self.pid = pid
        self._watch = _Watch(self._reactor, pidfd, self._has_ended)
        self._watch.startReading()
        if self._killed:
            self._watch.kill()

    def kill(self) -> None:
        """See ``Process``; a process that is not there yet is killed when it is."""
        self._killed = True
        if self._watch is not None:
            self._watch.kill()

    def orphaned(self) -> None:
        """The fork server has gone: a process that has not come to be never will."""
        if self._watch is None:
            self.finished("no process: the fork server has gone")

    def finished(self, how: str) -> None:
        """Say how it ended, after the last that it wrote."""
        if self._finished:
            return
        self._finished = True
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        if self._watch is not None:
            self._watch.close()
        for output in self._outputs:
            output.read_rest()
        self._forget(self)
        self._ended(how)

    def _has_ended(self) -> None:
        """Its fork server says how, if that is still there; else it was left to us."""
        if not self._reaped():
            self._patience = self._reactor.callLater(STATUS_PATIENCE, self._give_up)

    def _give_up(self) -> None:
        if not self._reaped():
            self.finished("a status that nobody knows")

    def _reaped(self) -> bool:
        code = None if self._watch is None else reap(self._watch.fileno())
        if code is not None:
            self.finished(ending(code))
        return code is not None


class _Watch(FileDescriptor):
    """A pidfd: readable when its process has ended, and a way to kill that and no other one."""

    def __init__(self, reactor: Any, pidfd: int, has_ended: Callable[[], None]) -> None:
        super().__init__(reactor)
        self._pidfd = pidfd
        self._has_ended = has_ended

    def fileno(self) -> int:
        return self._pidfd

    def doRead(self) -> None:
        self.stopReading()
        self._has_ended()

    def kill(self) -> None:
        """End the process at once (SIGKILL), if it has not ended."""
        with suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Give the pidfd back."""
        self.stopReading()
        os.close(self._pidfd)
        self._pidfd = -1


class _Output(FileDescriptor):
    """The end of a pipe that a worker writes to.

    Programs that it leaves behind may hold the other end, so it is read until they have gone, too.
    """

    def __init__(self, reactor: Any, descriptor: int, lines: Lines) -> None:
        super().__init__(reactor)
        setNonBlocking(descriptor)
        self._descriptor = descriptor
        self._lines = lines

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> object:
        return readFromFD(self._descriptor, self._lines.dataReceived)

    def read_rest(self) -> None:
        """The process has ended: read what it has written before that."""
        if self._descriptor < 0:
            return
        with suppress(BlockingIOError):
            # As much as a pipe can hold; a program may be writing on, for ever.
            most = fcntl.fcntl(self._descriptor, fcntl.F_GETPIPE_SZ)
            self._lines.dataReceived(os.read(self._descriptor, most))
        self._lines.finish()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        os.close(self._descriptor)
        self._descriptor = -1
        self._lines.finish()
