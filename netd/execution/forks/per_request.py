"""A fresh process for every request: what ``socketserver.ForkingMixIn`` really does.

The worker has imported the handler, has one thread, and forks in its reactor's thread for each
request that it accepts. The child serves it as any worker would, sends its log and ends; it never
returns to the reactor. The worker knows its children by pidfd (pidfd_open(2)), so it reaps these
and no process of the user's code.
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
from functools import partial
from typing import Final, NoReturn

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.accept.errors import After, Rejected, after_begin
from netd.accept.loop import Accepting, WatchedListener, abandoned_text
from netd.accept.pause import Pause
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.core.exit_status import ending
from netd.core.pidfd import pidfd_of_child, send_signal
from netd.core.reactor import DelayedCall, DescriptorReactor
from netd.execution.active_connections import ActiveConnections
from netd.execution.forks.output import ChildOutput
from netd.execution.interfaces import InnerSource, Service, Source
from netd.execution.outcome import FAILED
from netd.execution.request import Refused, Request, TooLong
from netd.ipc.scoreboard import WorkerBlock
from netd.log.buffer import LogBuffer

BATCH: Final = 16
"""Requests accepted per wake-up, before children that have ended have their turn."""

TELL: Final = signal.SIGUSR2
"""Makes a child write to its standard error where its threads are (faulthandler)."""

LAST_WORDS: Final = 0.2
"""Seconds that it has for that before it is killed."""

SUSPENSION: Final = 10.0
"""Seconds that a handler waits for its service to be suspended, at most."""


@dataclass
class Child:
    """A process that serves one request. It writes the lane and the record *slot*."""

    pid: int
    connection: int
    """The ID of its request in the scoreboard."""
    slot: int
    source: Source
    request: Request
    pidfd: int
    deadline: DelayedCall | None = None


@dataclass(frozen=True)
class ForkSources:
    """What is served: by source, the service that serves its requests."""

    outer: Mapping[Source, Service]
    """Listeners."""
    inner: Mapping[InnerSource, Service]
    """Requests that a child's server object passes on late, to be served before it ends."""


@dataclass(frozen=True)
class ForkHooks:
    """How children and the worker reach the daemon. In the reactor's thread."""

    log_buffer: LogBuffer
    say: Callable[[str, str], None]
    """Log a level and a text."""
    relay: Callable[[str], None]
    """Log lines that a child has written."""
    leave: Callable[[Callable[[], None]], None]
    """Called first in each child, to close what is the worker's own, with what asks the worker for
    a suspension there."""
    suspend: Callable[[], None]
    """What such a request comes to in the worker."""


class ForkPerRequest:
    """Forks for each request of one service. All in the thread of *reactor*.

    There are as many children at a time as *block* has lanes: each writes a lane, and the record of
    the same number. *handler_timeout* is in seconds.
    """

    def __init__(
        self,
        sources: ForkSources,
        block: WorkerBlock,
        hooks: ForkHooks,
        handler_timeout: float | None,
        reactor: DescriptorReactor,
    ) -> None:
        self._inner = sources.inner
        self._block = block
        self._timeout = handler_timeout
        self._reactor = reactor
        self._log_buffer = hooks.log_buffer
        self._say = hooks.say
        self._leave = hooks.leave
        pause = Pause(hooks.say, reactor.callLater)
        self._listeners = [
            WatchedListener(source.fileno, self._accepting(source, service), pause, reactor, BATCH)
            for source, service in sources.outer.items()
        ]
        self._active = {
            source: ActiveConnections[Child](_request_of, self._expel) for source in sources.outer
        }
        self._free = list(reversed(range(len(block.lanes))))
        self._children: dict[int, Child] = {}
        self._output = ChildOutput(reactor, hooks.relay, hooks.suspend)
        # Readable, for the children, while nothing is accepted.
        self._suspended = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._is_accepting = False
        self._stopped: Callable[[], None] | None = None

    @property
    def children(self) -> frozenset[int]:
        """The pids of the children."""
        return frozenset(child.pid for child in self._children.values())

    def start(self, accepting: bool = True) -> None:
        """Accept, or without *accepting* wait for ``resume``."""
        # What is there now is never collected, so it is not written to, and stays shared.
        gc.collect()
        gc.freeze()
        faulthandler.register(TELL, file=sys.__stderr__ or sys.stderr, all_threads=True)
        self._output.start()
        if accepting:
            self.resume()

    def suspend(self) -> None:
        """Stop accepting until ``resume``."""
        self._is_accepting = False
        self._watch()
        os.eventfd_write(self._suspended, 1)

    def resume(self) -> None:
        """Accept again."""
        self._is_accepting = True
        with suppress(BlockingIOError):
            os.eventfd_read(self._suspended)
        self._watch()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Stop accepting; *stopped* is called when the last child has ended."""
        self._stopped = stopped
        self.suspend()
        self._reactor.callLater(0, self._tell_stopped)

    def kill(self) -> None:
        """Kill all children."""
        for pidfd in self._children:
            send_signal(pidfd, signal.SIGKILL)

    def recheck(self, lists: AccessLists) -> None:
        """Kill the children whose clients *lists* do not admit."""
        for source, active in self._active.items():
            of_unix = source.transport.is_unix
            active.recheck(Gate(lists, None, of_unix=of_unix, is_proxied=True))

    def disconnect(self, connection: int) -> None:
        """Kill the child that serves the connection with this ID, if there is one."""
        for active in self._active.values():
            active.disconnect(connection)

    def _expel(self, child: Child, why: str) -> None:
        """Kill a child, which has the connection, and log why."""
        self._say("info", f"{child.request.client}: {why}")
        send_signal(child.pidfd, signal.SIGKILL)

    def may_accept(self) -> bool:
        """Whether there is a free slot for a child, and the service is not suspended."""
        return self._is_accepting and bool(self._free)

    def _watch(self) -> None:
        """Watch the listeners exactly while another child may be forked."""
        for listener in self._listeners:
            if self.may_accept():
                listener.start()
            else:
                listener.stop()

    def _tell_stopped(self) -> None:
        if not self._children and self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            while self._output.read():
                pass
            stopped()

    # Accepting.

    def _accepting(self, source: Source, service: Service) -> Accepting[Request]:
        return Accepting(
            source.next_request,
            partial(self._fork, source, service),
            self._abandon,
            partial(self._reject, service),
        )

    def _reject(self, service: Service, rejected: Rejected) -> None:
        """Log and count a request that is not served, in a lane that no child has."""
        number = self._free[-1]
        # Children have written there since it was read.
        self._block.lanes[number].reload()
        if isinstance(rejected, TooLong):
            service.drop(number, rejected)
        elif isinstance(rejected, Refused):
            service.refuse(number, rejected)

    def _abandon(self, request: Request, error: BaseException) -> None:
        """Close a connection for which there was no process, or a bug."""
        _close(request)
        if isinstance(error, OSError) and after_begin(error) is After.PAUSE:
            self._say("error", f"{request.client}: no process for it: {error}")
        else:
            self._say("error", abandoned_text(request.client, error))

    def _fork(self, source: Source, service: Service, request: Request) -> None:
        """Let a child serve a request. Raises OSError."""
        # Before the fork, because the child writes its lane and its record.
        slot = self._free.pop()
        # Drawn here, so that the worker knows the child by the ID that the daemon will name.
        connection = self._block.ids_of_fork()
        try:
            pid = os.fork()
            if pid == 0:
                self._serve_and_end(service, slot, connection, request)
            # First, for the next line needs a descriptor.
            _close(request)
            pidfd = pidfd_of_child(pid)
        except BaseException:
            self._free.append(slot)
            raise
        self._follow(Child(pid, connection, slot, source, request, pidfd))
        service.child_forked()

    def _follow(self, child: Child) -> None:
        pidfd = child.pidfd
        self._children[pidfd] = child
        self._active[child.source].add(child.connection, child)
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
            f"its process (pid {child.pid}) is killed; its standard error says where it is",
        )
        send_signal(pidfd, TELL)
        child.deadline = self._reactor.callLater(LAST_WORDS, send_signal, pidfd, signal.SIGKILL)

    def _ended(self, ended: _Ended) -> None:
        """A child has ended: reap it, and find out whether it served its request to the end."""
        self._reactor.removeReader(ended)
        pidfd = ended.fileno()
        child = self._children.pop(pidfd)
        self._active[child.source].remove(child.connection, None)
        os.close(pidfd)
        # By its pid alone: a handler's own children are not the worker's to reap.
        _, status = os.waitpid(child.pid, 0)
        if child.deadline is not None and child.deadline.active():
            child.deadline.cancel()
        self._output.read()
        self._settle_slot(child, os.waitstatus_to_exitcode(status))
        self._free.append(child.slot)
        if len(self._free) == 1:
            self._watch()
        self._tell_stopped()

    def _settle_slot(self, child: Child, code: int) -> None:
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
            self._output.begin_to_send(self._log_buffer)
            self._block.in_fork(slot, connection)
            serving.after_fork()
            serving.serve(slot, request)
            for source, late in self._inner.items():
                while len(source):
                    late.serve(slot, source.next_request())
            _flush()
            code = 0
        # A bug, or what user code has raised through it. Not only Exception: the process
        # ends here in any case, and never comes back to the worker's reactor.
        except BaseException as error:
            traceback.print_exception(error, file=sys.__stderr__)
        finally:
            os._exit(code)

    def _ask_for_suspension(self) -> None:
        """Ask the worker to suspend the service, and return when that is done."""
        self._output.ask_to_suspend()
        select.select([self._suspended], [], [], SUSPENSION)


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
