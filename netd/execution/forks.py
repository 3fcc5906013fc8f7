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
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.admission.gate import Gate
from netd.execution.journal import Journal
from netd.execution.resting import Resting
from netd.execution.sources import NEXT, Source, Taken, TooLong
from netd.execution.threads import InnerSource, Service
from netd.values.ending import ending
from netd.values.reactor import DelayedCall
from netd.values.scoreboard import Scoreboard, Slot

BATCH: Final = 16
"""Requests taken a wake-up, before children that have ended have their turn."""

LONGEST_WORDS: Final = 64 << 10
"""Bytes of log that a child sends at once."""

TELL: Final = signal.SIGUSR2
"""Makes a child write to its standard error where its threads are (faulthandler)."""

LAST_WORDS: Final = 0.2
"""Seconds that it has for that before it is killed."""

PATIENCE: Final = 1.0
"""Seconds that a child waits for its worker to take its log, before it ends without."""


@dataclass
class Child:
    """A process that serves one request."""

    pid: int
    slot: int
    source: Source
    taken: Taken
    deadline: DelayedCall | None = None


class ForkPerRequest:
    """Forks for each request of one service, at most as often as it has *slots*, at the same time.

    *sources* says who serves what is taken from each, *inner* who serves what is passed on later.
    *slots* are those of *board* from *first* on, which these write. *leave* is called first in
    every child, to close what is the worker's own; *say* logs a level and a text, *relay* lines
    that a child has written. All in the reactor's thread.
    """

    def __init__(
        self,
        sources: Mapping[Source, Service],
        inner: Mapping[InnerSource, Service],
        slots: list[Slot],
        board: Scoreboard,
        first: int,
        handler_timeout: float | None,
        reactor: Any,
        journal: Journal,
        say: Callable[[str, str], None],
        relay: Callable[[str], None],
        leave: Callable[[], None],
    ) -> None:
        self._inner = inner
        self._slots = slots
        self._board = board
        self._first = first
        self._timeout = handler_timeout
        self._reactor = reactor
        self._journal = journal
        self._say = say
        self._leave = leave
        self._resting = Resting(reactor, say)
        self._listeners = [_Listener(self, source, serving) for source, serving in sources.items()]
        self._free = list(reversed(range(len(slots))))
        self._children: dict[int, Child] = {}
        self._words = _Words(reactor, relay)
        self._taking = False
        self._stopped: Callable[[], None] | None = None

    @property
    def children(self) -> frozenset[int]:
        """The pids of those that serve."""
        return frozenset(child.pid for child in self._children.values())

    def start(self) -> None:
        """Begin to take."""
        # What is there now is never collected, so it is not written to, and stays shared.
        gc.collect()
        gc.freeze()
        faulthandler.register(TELL, file=sys.__stderr__ or sys.stderr, all_threads=True)
        self._words.start()
        self.resume()

    def suspend(self) -> None:
        """Take nothing more until ``resume``."""
        self._taking = False
        self._watch()

    def resume(self) -> None:
        """Take again."""
        self._taking = True
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

    def recheck(self, gates: Mapping[Source, Gate]) -> None:
        """End the children of those whom other lists would not admit."""
        for pidfd, child in self._children.items():
            reason = gates[child.source].refuses(*child.taken)
            if reason is not None:
                self._say("info", f"{child.taken.client}: ended by the new lists: {reason}")
                _kill(pidfd)

    def may_take(self) -> bool:
        """Whether there is room for a child, and more is to be taken."""
        return self._taking and bool(self._free)

    def _watch(self) -> None:
        for listener in self._listeners:
            listener.watch()

    def _tell_stopped(self) -> None:
        if not self._children and self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            self._words.read()
            stopped()

    # Taking, for the listeners.

    def take(self, listener: _Listener) -> bool:
        """Take one request and fork; whether to go on."""
        try:
            taken = listener.source.take()
        except TooLong as too_long:
            listener.serving.drop(self._free[-1], too_long)
            return True
        except OSError as error:
            if error.errno in NEXT:
                self._resting.works(listener)
                return not isinstance(error, BlockingIOError)
            self._resting.rest(listener, error)
            return False
        self._resting.works(listener)
        return self._fork(listener, taken)

    def _fork(self, listener: _Listener, taken: Taken) -> bool:
        slot = self._free.pop()
        try:
            pid = os.fork()
        except OSError as error:
            self._free.append(slot)
            self._say("error", f"{taken.client}: no process for it: {error}")
            _close(taken)
            return False
        if pid == 0:
            self._serve_and_end(listener.serving, slot, taken)
        self._follow(Child(pid, slot, listener.source, taken))
        _close(taken)
        return self.may_take()

    def _follow(self, child: Child) -> None:
        pidfd = os.pidfd_open(child.pid)
        self._children[pidfd] = child
        self._reactor.addReader(_Ended(pidfd, self._ended))
        if self._timeout is not None:
            child.deadline = self._reactor.callLater(self._timeout, self._overdue, pidfd)
        if not self._free:
            self._watch()

    def _overdue(self, pidfd: int) -> None:
        child = self._children[pidfd]
        self._say(
            "error",
            f"{child.taken.client}: the handler has run for more than {self._timeout:g} s, and its "
            f"process (pid {child.pid}) is ended; it says on its standard error where it is",
        )
        signal.pidfd_send_signal(pidfd, TELL)
        child.deadline = self._reactor.callLater(LAST_WORDS, _kill, pidfd)

    def _ended(self, ended: _Ended) -> None:
        """A child has ended: reap it, and see whether it had come to the end of its request."""
        self._reactor.removeReader(ended)
        pidfd = ended.fileno()
        child = self._children.pop(pidfd)
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
        number = self._first + child.slot
        if self._board.busy(range(number, number + 1)):
            slot = self._board.slot(number)
            slot.served += 1
            slot.failed += 1
            slot.leave()
            text = f"{child.taken.client}: its process (pid {child.pid}) ended with {ending(code)}"
            self._say("error", text)

    # In the child.

    def _serve_and_end(self, serving: Service, slot: int, taken: Taken) -> None:
        try:
            self._leave()
            self._journal.begin_anew()
            # As it is now, in the page: the worker's own copy is as old as the worker.
            self._slots[slot] = self._board.slot(self._first + slot)
            serving.begin_anew()
            serving.serve(slot, taken)
            for source, late in self._inner.items():
                while len(source):
                    late.serve(slot, source.take())
            self._words.send(self._journal)
        finally:
            os._exit(0)


@implementer(IReadDescriptor)
class _Listener:
    """One listener, watched by the reactor while there is room for a child."""

    def __init__(self, forks: ForkPerRequest, source: Source, serving: Service) -> None:
        self.source = source
        self.serving = serving
        self.fileno = source.fileno
        self._forks = forks

    def watch(self) -> None:
        """Watch it, or no more."""
        if self._forks.may_take():
            self.startReading()
        else:
            self.stopReading()

    def startReading(self) -> None:
        if self._forks.may_take():
            self._forks._reactor.addReader(self)

    def stopReading(self) -> None:
        self._forks._reactor.removeReader(self)

    def doRead(self) -> None:
        for _ in range(BATCH):
            if not self._forks.may_take() or not self._forks.take(self):
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


@implementer(IReadDescriptor)
class _Words:
    """What children say, each at its end: lines of log, by one socket that they all have."""

    def __init__(self, reactor: Any, relay: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._relay = relay
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._theirs.settimeout(PATIENCE)

    def start(self) -> None:
        self._reactor.addReader(self)

    def send(self, journal: Journal) -> None:
        """Send all that is in *journal*. In a child."""
        with suppress(OSError):
            while lines := journal.take(LONGEST_WORDS // 4):
                data = lines.encode(errors="replace")
                for start in range(0, len(data), LONGEST_WORDS):
                    self._theirs.send(data[start : start + LONGEST_WORDS])

    def read(self) -> None:
        """Read all that has been sent."""
        with suppress(BlockingIOError):
            while data := self._ours.recv(LONGEST_WORDS):
                self._relay(data.decode(errors="replace"))

    def fileno(self) -> int:
        return self._ours.fileno()

    def doRead(self) -> None:
        self.read()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""

    def logPrefix(self) -> str:
        return "netd"


def _close(taken: Taken) -> None:
    """Close the worker's copy of a connection; the child has its own."""
    if isinstance(taken.request, socket.socket):
        taken.request.close()


def _kill(pidfd: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
