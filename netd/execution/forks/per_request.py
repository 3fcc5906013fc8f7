"""A fresh process for every request: what ``socketserver.ForkingMixIn`` really does.

The worker has imported the handler, has one thread, and forks in its reactor's thread for each
request that it takes. The child serves it as any worker would, tells its log and ends; it never
returns to the reactor. The worker knows its children by pidfd (pidfd_open(2)), so it reaps these
and nobody else.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.accept.errors import NEXT
from netd.accept.pause import Pause
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.core.exit_status import ending
from netd.core.reactor import DelayedCall
from netd.execution.active_connections import ActiveConnections
from netd.execution.forks.output import _Words
from netd.execution.interfaces import InnerSource, Service, Source
from netd.execution.outcome import FAILED
from netd.execution.request import Refused, Request, TooLong
from netd.ipc.scoreboard import WorkerBlock
from netd.log.buffer import LogBuffer

BATCH: Final = 16
"""Requests taken a wake-up, before children that have ended have their turn."""


TELL: Final = signal.SIGUSR2
"""Makes a child write to its standard error where its threads are (faulthandler)."""

LAST_WORDS: Final = 0.2
"""Seconds that it has for that before it is killed."""


SUSPENSION: Final = 10.0
"""Seconds that a handler waits for its service to be suspended, at most."""


@dataclass
class Child:
    """A process that serves one request, by the lane and the record *slot*."""

    pid: int
    connection: int
    """The ID of its request in the scoreboard."""
    slot: int
    listener: _Listener
    request: Request
    pidfd: int
    deadline: DelayedCall | None = None


class ForkPerRequest:
    """Forks for each request of one service, concurrently at most once for each lane of *block*.

    *sources* names the service for each source, *inner* the service for requests that are passed on
    later. *leave* is called first in every child, to close what is the worker's own, with what asks
    the worker for a suspension there; *suspend* is what that comes to here. *say* logs a level and
    a text, *relay* lines that a child has written. All in the reactor's thread.
    """

    def __init__(
        self,
        sources: Mapping[Source, Service],
        inner: Mapping[InnerSource, Service],
        block: WorkerBlock,
        handler_timeout: float | None,
        reactor: Any,
        log_buffer: LogBuffer,
        say: Callable[[str, str], None],
        relay: Callable[[str], None],
        leave: Callable[[Callable[[], None]], None],
        suspend: Callable[[], None],
    ) -> None:
        self._inner = inner
        self._block = block
        self._timeout = handler_timeout
        self._reactor = reactor
        self._log_buffer = log_buffer
        self._say = say
        self._leave = leave
        self._resting = Pause(reactor, say)
        self._listeners = [_Listener(self, source, serving) for source, serving in sources.items()]
        self._free = list(reversed(range(len(block.lanes))))
        self._children: dict[int, Child] = {}
        self._words = _Words(reactor, relay, suspend)
        # Readable, for the children, while nothing is taken.
        self._suspended = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._taking = False
        self._stopped: Callable[[], None] | None = None

    @property
    def children(self) -> frozenset[int]:
        """The pids of those that serve."""
        return frozenset(child.pid for child in self._children.values())

    def start(self, accepting: bool = True) -> None:
        """Begin to take; without *taking*, after ``resume``."""
        # What is there now is never collected, so it is not written to, and stays shared.
        gc.collect()
        gc.freeze()
        faulthandler.register(TELL, file=sys.__stderr__ or sys.stderr, all_threads=True)
        self._words.start()
        if accepting:
            self.resume()

    def suspend(self) -> None:
        """Take nothing more until ``resume``."""
        self._taking = False
        self._watch()
        os.eventfd_write(self._suspended, 1)

    def resume(self) -> None:
        """Take again."""
        self._taking = True
        with suppress(BlockingIOError):
            os.eventfd_read(self._suspended)
        self._watch()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Take nothing more; *stopped* is called when the last child has ended."""
        self._stopped = stopped
        self.suspend()
        self._reactor.callLater(0, self._tell_stopped)

    def kill(self) -> None:
        """End all children at once."""
        for pidfd in self._children:
            _kill(pidfd)

    def recheck(self, lists: AccessLists) -> None:
        """End the children that serve clients that *lists* do not admit."""
        for listener in self._listeners:
            of_unix = listener.source.transport.is_unix
            listener.active.recheck(Gate(lists, None, of_unix=of_unix, is_proxied=True))

    def disconnect(self, connection: int) -> None:
        """End the child that serves the connection with this ID, if there is one."""
        for listener in self._listeners:
            listener.active.disconnect(connection)

    def expel(self, child: Child, why: str) -> None:
        """End a child, which has the connection, and log why."""
        self._say("info", f"{child.request.client}: {why}")
        _kill(child.pidfd)

    def may_accept(self) -> bool:
        """Whether there is room for a child, and more is to be taken."""
        return self._taking and bool(self._free)

    def _watch(self) -> None:
        for listener in self._listeners:
            listener.watch()

    def _tell_stopped(self) -> None:
        if not self._children and self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            while self._words.read():
                pass
            stopped()

    # Taking, for the listeners.

    def take(self, listener: _Listener) -> bool:
        """Take one request and fork; whether to go on."""
        try:
            request = listener.source.take()
        except TooLong as too_long:
            number = self._free[-1]
            self._block.lanes[number].reload()
            listener.serving.drop(number, too_long)
            return True
        except Refused as refused:
            number = self._free[-1]
            self._block.lanes[number].reload()
            listener.serving.refuse(number, refused)
            return True
        except OSError as error:
            if error.errno in NEXT:
                self._resting.works(listener)
                return not isinstance(error, BlockingIOError)
            self._resting.rest(listener, error)
            return False
        # Not only Exception: an override of get_request() is user code, whose SystemExit must not
        # end the service. Otherwise MemoryError, or a bug of ours.
        except BaseException as error:
            self._resting.rest(listener, error)
            return False
        try:
            self._fork(listener, request)
        except OSError as error:
            self._say("error", f"{request.client}: no process for it: {error}")
            self._resting.rest(listener, error)
            return False
        self._resting.works(listener)
        listener.serving.child_forked()
        return self.may_accept()

    def _fork(self, listener: _Listener, request: Request) -> None:
        """Let a child serve what was taken. Raises OSError."""
        slot = self._free.pop()
        # Drawn here, so that the worker knows the child by the ID that the daemon will name.
        connection = self._block.ids_of_fork()
        try:
            pid = os.fork()
            if pid == 0:
                self._serve_and_end(listener.serving, slot, connection, request)
            # First, for the next needs a descriptor.
            _close(request)
            self._follow(Child(pid, connection, slot, listener, request, _pidfd_of(pid)))
        except OSError:
            _close(request)
            self._free.append(slot)
            raise

    def _follow(self, child: Child) -> None:
        pidfd = child.pidfd
        self._children[pidfd] = child
        child.listener.active.add(child.connection, child)
        self._reactor.addReader(_Ended(pidfd, self._ended))
        if self._timeout is not None:
            child.deadline = self._reactor.callLater(self._timeout, self._overdue, pidfd)
        if not self._free:
            self._watch()

    def _overdue(self, pidfd: int) -> None:
        child = self._children[pidfd]
        self._say(
            "error",
            f"{child.request.client}: the handler has run for more than {self._timeout:g} s, and "
            f"its process (pid {child.pid}) is ended; it says on its standard error where it is",
        )
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, TELL)
        child.deadline = self._reactor.callLater(LAST_WORDS, _kill, pidfd)

    def _ended(self, ended: _Ended) -> None:
        """A child has ended: reap it, and see whether it had come to the end of its request."""
        self._reactor.removeReader(ended)
        pidfd = ended.fileno()
        child = self._children.pop(pidfd)
        child.listener.active.remove(child.connection, None)
        os.close(pidfd)
        _, status = os.waitpid(child.pid, 0)
        if child.deadline is not None and child.deadline.active():
            child.deadline.cancel()
        self._words.read()
        self._see_slot(child, os.waitstatus_to_exitcode(status))
        self._free.append(child.slot)
        if len(self._free) == 1:
            self._watch()
        self._tell_stopped()

    def _see_slot(self, child: Child, code: int) -> None:
        if self._block.is_active(child.slot):
            lane = self._block.lanes[child.slot]
            lane.reload()
            # Its end is logged below, with its status in place of an outcome's words.
            FAILED.add_to(lane)
            lane.publish()
            self._block.clear(child.slot)
        elif code == 0:
            return
        text = f"{child.request.client}: its process (pid {child.pid}) ended with {ending(code)}"
        self._say("error", text)

    # In the child.

    def _serve_and_end(
        self, serving: Service, slot: int, connection: int, request: Request
    ) -> NoReturn:
        code = 1
        try:
            for pidfd in self._children:
                os.close(pidfd)
            self._leave(self._ask_for_suspension)
            self._words.begin_to_send(self._log_buffer)
            self._block.in_fork(slot, connection)
            serving.after_fork()
            serving.serve(slot, request)
            for source, late in self._inner.items():
                while len(source):
                    late.serve(slot, source.take())
            _flush()
            code = 0
        # A bug of ours, or what user code has raised through it. Not only Exception: the process
        # ends here in any case, and never comes back to the worker's reactor.
        except BaseException as error:
            traceback.print_exception(error, file=sys.__stderr__)
        finally:
            os._exit(code)

    def _ask_for_suspension(self) -> None:
        """Ask the worker to have the service suspended, and return when it takes nothing more."""
        self._words.ask_to_suspend()
        select.select([self._suspended], [], [], SUSPENSION)


@implementer(IReadDescriptor)
class _Listener:
    """One listener, watched by the reactor while there is room for a child."""

    def __init__(self, forks: ForkPerRequest, source: Source, serving: Service) -> None:
        self.source = source
        self.serving = serving
        self.fileno = source.fileno
        self.active = ActiveConnections[Child](_request_of, forks.expel)
        self._forks = forks

    def watch(self) -> None:
        """Watch it, or no more."""
        if self._forks.may_accept():
            self.startReading()
        else:
            self.stopReading()

    def startReading(self) -> None:
        if self._forks.may_accept():
            self._forks._reactor.addReader(self)

    def stopReading(self) -> None:
        self._forks._reactor.removeReader(self)

    def doRead(self) -> None:
        for _ in range(BATCH):
            if not self._forks.may_accept() or not self._forks.take(self):
                return

    def connectionLost(self, reason: Failure) -> None:
        """The reactor complains of the listener, or is ending."""

    def logPrefix(self) -> str:
        return "netd"


@implementer(IReadDescriptor)
class _Ended:
    """A pidfd, which can be read when its process has ended."""

    def __init__(self, pidfd: int, ended: Callable[[_Ended], None]) -> None:
        self._pidfd = pidfd
        self._tell = ended

    def fileno(self) -> int:
        return self._pidfd

    def doRead(self) -> None:
        self._tell(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "netd"


def _request_of(child: Child) -> Request:
    return child.request


def _pidfd_of(pid: int) -> int:
    """A pidfd of a child that has just been forked. Raises OSError, and then there is none."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _flush() -> None:
    """Write what the handler has left in the buffers of its standard streams."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(Exception):
            if stream is not None:
                stream.flush()


def _close(request: Request) -> None:
    """Close the worker's copy of a connection; the child has its own."""
    if isinstance(request.raw, socket.socket):
        request.raw.close()


def _kill(pidfd: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
