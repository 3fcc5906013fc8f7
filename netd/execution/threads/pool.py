"""Threads of a Twisted pool that take requests for themselves.

Accepting in the reactor and handing each connection to a thread costs two hand-overs of the
interpreter's lock, as much as starting a new thread. So every thread stays in a loop: take,
watch again, serve, take again. It watches its source again (``Epoll``) before anything that can
block, so the next thread wakes for the next client, and none is stranded behind a handler.
"""

from __future__ import annotations

import select
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import Final

from twisted.python.threadpool import ThreadPool

from netd.accept.errors import EXHAUSTED, NEXT, PAUSE
from netd.core.pool_size import LOOK_INTERVAL, Growth, Sample
from netd.core.reactor import Reactor
from netd.execution.handler_timeout import HandlerTimeout
from netd.execution.interfaces import InnerSource, Service, Source
from netd.execution.recycle import Recycle
from netd.execution.request import Refused, Request, TooLong
from netd.execution.threads.epoll import END, Epoll
from netd.execution.threads.pending import Beginning, Beginnings, WaitsToWrite

LAST_WAIT: Final = 50
"""Milliseconds between looks at the epoll when the end has come, and somebody is waited for."""

IDLE_TIME: Final = 10.0
"""Seconds without a request after which a thread leaves while another one waits, too."""


@dataclass(frozen=True)
class Bounds:
    """What a service does not let its threads exceed.

    *hung* is told, in the reactor's thread, how many threads have been written off.
    """

    handler_timeout: float | None
    """Seconds."""
    recycle: Recycle | None
    spare: int
    """Threads that there may be beside the usual ones, for those that are written off."""
    hung: Callable[[int], None]


class AcceptingThreads:
    """The threads of one service: at most *maximum*, started and retired as needed.

    *sources* says for each source the service that serves what is taken from it; *inner* does for
    those that are filled from within, which are taken from to the last. *waiting* are those who
    have been taken and have not begun, where sources take such connections. *say* is given
    a level and a text for the log, from any thread. *thread_factory* makes the threads, which
    must be daemonic: a stuck handler may not hold up the end of the process. Closes nothing that
    it is given.
    """

    def __init__(
        self,
        name: str,
        sources: Mapping[Source, Service],
        maximum: int,
        reactor: Reactor,
        say: Callable[[str, str], None],
        thread_factory: Callable[..., threading.Thread],
        idle_time: float = IDLE_TIME,
        inner: Mapping[InnerSource, Service] = MappingProxyType({}),
        bounds: Bounds | None = None,
        waiting: Beginnings | None = None,
    ) -> None:
        self._reactor = reactor
        self._say = say
        self._idle_time = idle_time
        self._inner = tuple(inner)
        self._outer = tuple(source.fileno() for source in sources)
        self._sources: dict[int, tuple[Source, Service]] = {
            source.fileno(): (source, service)
            for source, service in (*sources.items(), *inner.items())
        }
        self._bounds = bounds
        if bounds is not None and bounds.recycle is not None:
            # Not of *inner*: what these serve was counted when it was taken.
            for service in sources.values():
                service.count_by(partial(self._admitted, bounds.recycle))
        self._timeout = self._handler_timeout(bounds)
        numbers = maximum + (bounds.spare if bounds is not None else 0)
        self._pool = ThreadPool(0, numbers, name)
        self._pool.threadFactory = thread_factory  # type: ignore[assignment]
        self._growth = Growth(maximum)
        self._is_alone = maximum == 1
        self._watch = Epoll(
            [source.fileno() for source in sources],
            [source.fileno() for source in inner],
            shared=not self._is_alone,
        )

        self._lock = threading.Lock()
        # Under the lock.
        self._size = 0
        self._surplus = 0
        self._free = list(range(numbers))
        heapify(self._free)
        self._written_off: set[int] = set()

        # Each entry is written by its own thread, and read by whoever looks.
        self._accepted = [0] * numbers
        self._waiting: dict[int, int] = {}
        self._waiting_at_last_look: dict[int, int] = {}
        self._looking = False
        # The descriptors of sources that cannot be taken from at the moment.
        self._failing: set[int] = set()
        self._short_of_threads = False
        # Nothing more is to be taken, by a thread that is alone and counts to the last one.
        self._is_worn = False
        self._waiting_to_begin = waiting
        # By descriptor. Each is gone on with by the one thread that has its event.
        self._beginnings: dict[int, tuple[Beginning, Service]] = {}
        self._stopping = False
        self._has_taken_last = True
        self._stopped: Callable[[], None] | None = None

    def _handler_timeout(self, bounds: Bounds | None) -> HandlerTimeout | None:
        if bounds is None or bounds.handler_timeout is None:
            return None
        say = partial(self._say, "error")
        return HandlerTimeout(bounds.handler_timeout, self._reactor, say, self._write_off)

    # The reactor's thread.

    def start(self, accepting: bool = True) -> None:
        """Begin to take requests, with one thread; without *taking*, after ``resume``."""
        self._pool.start()
        if accepting:
            self._watch.start()
        self._add(1)

    def suspend(self) -> None:
        """Take nothing more until ``resume``; clients wait in the backlog."""
        self._watch.stop()

    def resume(self) -> None:
        """Take again, unless the last request that there may be has been taken."""
        if not self._is_worn:
            self._watch.start()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Take nothing more; *stopped* is called here when the last handler has returned."""
        self._stopped = stopped
        has_taken_last = not (self._is_alone and self._watch.is_watching)
        self._watch.stop()
        if self._waiting_to_begin is None:
            self._end(has_taken_last)
        else:
            self._waiting_to_begin.when_empty(partial(self._end, has_taken_last))

    def _end(self, has_taken_last: bool) -> None:
        """Nobody is taken any more, nor waited for: let the threads go."""
        self._has_taken_last = has_taken_last
        self._stopping = True
        self._watch.end()
        self._reactor.callLater(0, self._tell_stopped)

    def _tell_stopped(self) -> None:
        if self._size == 0 and self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            stopped()

    def _add(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                if self._surplus:
                    # One that was to leave stays instead.
                    self._surplus -= 1
                    continue
                if not self._free:
                    return
                number = heappop(self._free)
                self._size += 1
            try:
                self._pool.callInThread(self._run, number)
            except (RuntimeError, MemoryError) as error:
                self._cannot_start(number, error)
                return
            self._short_of_threads = False

    def _cannot_start(self, number: int, error: Exception) -> None:
        """The system gives this process no more threads: go on with those there are."""
        with self._lock:
            heappush(self._free, number)
            self._size -= 1
            alone = self._size == 0
        self._forget_dead_threads()
        if not self._short_of_threads:
            self._short_of_threads = True
            self._say("warn", f"cannot start another thread: {error}")
        if alone:
            self._reactor.callLater(PAUSE, self._add_first)

    def _add_first(self) -> None:
        if not self._stopping:
            self._add(1)

    def _look(self) -> None:
        """Ask the rule, now that no thread is idle, and come back while that is so."""
        if self._stopping or self._somebody_rests():
            self._looking = False
            # A thread that became busy in between has seen that we were looking; see _take.
            if self._stopping or self._waiting or self._looking:
                return
            self._looking = True
        with self._lock:
            size = self._size - self._surplus
        sample = Sample(time.monotonic(), sum(self._accepted), time.process_time())
        change = self._growth.look(sample, size)
        if change > 0:
            self._add(change)
        elif change < 0:
            with self._lock:
                self._surplus -= change
        self._reactor.callLater(LOOK_INTERVAL, self._look)

    def _write_off(self, number: int) -> None:
        """Count on a thread no more: its handler does not come back. Another may take its place.

        A thread that is alone in its process has none: the process is ended.
        """
        assert self._bounds is not None
        if not self._is_alone:
            with self._lock:
                self._written_off.add(number)
                self._size -= 1
            if not (self._stopping or self._waiting):
                self._add(1)
        self._bounds.hung(max(1, len(self._written_off)))
        self._tell_stopped()

    def _somebody_rests(self) -> bool:
        """Whether a thread has been waiting ever since the last look.

        A thread also waits for a moment when another one has the event of its source, so one
        glance does not tell.
        """
        waiting, before = self._waiting.copy(), self._waiting_at_last_look
        self._waiting_at_last_look = waiting
        rests = any(before.get(number) == request for number, request in waiting.items())
        if rests:
            self._growth.rest()
        return rests

    def _left(self) -> None:
        """A thread has left: give its place back to the pool, and say when it was the last."""
        self._pool.stopAWorker()
        self._forget_dead_threads()
        self._tell_stopped()
        # It may have been the one that waited, and so the reason why nobody looks.
        if not (self._stopping or self._waiting or self._looking):
            self._looking = True
            self._look()

    def _forget_dead_threads(self) -> None:
        """Twisted's pool remembers every thread that it ever had."""
        self._pool.threads[:] = [thread for thread in self._pool.threads if thread.is_alive()]

    # The pool's threads.

    def _run(self, number: int) -> None:
        """The loop of one thread."""
        while not self._should_leave(number):
            if self._stopping and not self._has_taken_last:
                self._has_taken_last = True
                self._take_once_more(number)
                continue
            descriptor = self._watch.poll(0)
            if descriptor is None:
                descriptor = self._wait(number)
            if descriptor is None:
                break
            if descriptor == END:
                self._wait_at_the_end()
            else:
                try:
                    self._take(number, descriptor)
                # A bug of ours, or no memory for a line of log. Not only Exception: user code runs
                # in there, whose SystemExit or KeyboardInterrupt must not end the thread.
                except BaseException as error:
                    self._say_went_on(error)
        with self._lock:
            heappush(self._free, number)
        self._reactor.callFromThread(self._left)

    def _take_once_more(self, number: int) -> None:
        """Take whoever this process alone has been woken for (EPOLLEXCLUSIVE).

        The end may have come at the same moment, and been seen first; the other processes of the
        service would not hear of that client before the next one comes. Where nobody waits, nobody
        is asked for: an override of ``get_request`` might wait for him.
        """
        queues = select.poll()
        for descriptor in self._outer:
            queues.register(descriptor, select.POLLIN)
        for descriptor, _ in queues.poll(0):
            try:
                self._take(number, descriptor)
            except BaseException as error:  # as above
                self._say_went_on(error)

    def _wait_at_the_end(self) -> None:
        """Wait for those who have been taken last: the epoll has nothing but the end to tell of."""
        if self._beginnings:
            connections = select.poll()
            for descriptor in list(self._beginnings):
                connections.register(descriptor)
            connections.poll(LAST_WAIT)

    def _say_went_on(self, error: BaseException) -> None:
        with suppress(BaseException):  # the error may be a user's, whose attributes raise
            frames = "".join(traceback.format_tb(error.__traceback__))
            self._say("error", f"a thread goes on after {type(error).__name__}\n{frames}")

    def _should_leave(self, number: int) -> bool:
        """Whether to leave before waiting: nothing has been taken, so nobody is stranded."""
        if not (self._stopping or self._surplus or self._written_off):
            return False
        with self._lock:
            if number in self._written_off:  # and has come back after all
                self._written_off.discard(number)
                return True
            if self._is_at_its_end() or (self._surplus and self._size > 1):
                self._surplus = max(0, self._surplus - 1)
                self._size -= 1
                return True
            if not self._stopping:
                self._surplus = 0
            return False

    def _is_at_its_end(self) -> bool:
        """Whether nothing more is to be taken, and nothing that was taken waits to be served."""
        return (
            self._stopping
            and self._has_taken_last
            and not self._beginnings
            and not any(map(len, self._inner))
        )

    def _wait(self, number: int) -> int | None:
        """Wait for a source, or the end; None means that the thread is to leave.

        The last thread waits for ever, so an idle service never wakes up.
        """
        self._waiting[number] = self._accepted[number]
        try:
            while True:
                ready = self._watch.poll(-1 if self._size == 1 else self._idle_time)
                if ready is not None or self._may_retire(number):
                    return ready
        finally:
            self._waiting.pop(number, None)

    def _may_retire(self, number: int) -> bool:
        """Whether to leave after a wait that brought nothing: not if all others are busy.

        Nobody looks while somebody waits, so the next client would be behind a busy thread.
        """
        with self._lock:
            if len(self._waiting) == 1:
                return False
            del self._waiting[number]
            self._size -= 1
            self._surplus = max(0, self._surplus - 1)
            return True

    def _take(self, number: int, descriptor: int) -> None:
        if descriptor in self._beginnings:
            self._go_on(number, descriptor)
            return
        source, service = self._sources[descriptor]
        if source.may_block:
            self._watch.rearm(descriptor)
            service.mark_busy(number)
            self._have_somebody_look()
        try:
            request = source.take()
        except BaseException as error:  # not only Exception: get_request() may be a user's
            if source.may_block:
                service.mark_idle(number)
            self._took_none(number, descriptor, service, error)
            return
        if not source.may_block:
            self._watch.rearm(descriptor)
        if self._failing:
            self._recover(descriptor)
        if isinstance(request, Beginning):
            if source.may_block:
                service.mark_idle(number)
            self._wait_for(number, request, service)
        else:
            self._serve(number, request, service)

    def _serve(self, number: int, request: Request, service: Service) -> None:
        self._accepted[number] += 1
        self._have_somebody_look()
        if self._bounds is None:
            service.serve(number, request)
        else:
            self._serve_bounded(self._bounds, service, number, request)

    def _wait_for(self, number: int, beginning: Beginning, service: Service) -> None:
        """Have whichever thread is free go on when the client has said something."""
        assert self._waiting_to_begin is not None
        descriptor = beginning.fileno()
        self._beginnings[descriptor] = beginning, service
        self._waiting_to_begin.add(beginning)
        try:
            self._watch.add(descriptor)
        except OSError as error:  # ENOMEM, ENOSPC: epoll_ctl(2)
            del self._beginnings[descriptor]
            self._wait_no_more(descriptor, beginning)
            service.refuse(number, beginning.refused("unwatched", str(error)))

    def _go_on(self, number: int, descriptor: int) -> None:
        """Go on with a connection that has not begun; serve it, if that is all."""
        # Nobody is told of it meanwhile. A handshake that fails may close it, and from then on its
        # number can be that of the next connection, which another thread takes.
        beginning, service = self._beginnings.pop(descriptor)
        # A handshake takes as long as many a handler, and without the interpreter's lock.
        self._have_somebody_look()
        try:
            request = beginning.go_on()
        except BlockingIOError as error:
            self._beginnings[descriptor] = beginning, service
            self._watch.modify(descriptor, to_write=isinstance(error, WaitsToWrite))
        except (
            Exception
        ) as error:  # not BaseException: no user code runs before the handshake is over
            self._wait_no_more(descriptor, beginning)
            if not isinstance(error, Refused):  # MemoryError, or a bug of ours
                error = beginning.refused(type(error).__name__, str(error))
            service.refuse(number, error)
        else:
            self._wait_no_more(descriptor, beginning)
            self._serve(number, request, service)

    def _wait_no_more(self, descriptor: int, beginning: Beginning) -> None:
        assert self._waiting_to_begin is not None
        if beginning.fileno() == descriptor:
            with suppress(OSError):
                self._watch.remove(descriptor)
        self._waiting_to_begin.remove(beginning)

    def _took_none(
        self, number: int, descriptor: int, service: Service, error: BaseException
    ) -> None:
        """Go on after a source had nobody, or could not be taken from."""
        if isinstance(error, TooLong):
            self._watch.rearm(descriptor)
            service.drop(number, error)
        elif isinstance(error, Refused):
            self._watch.rearm(descriptor)
            service.refuse(number, error)
        elif isinstance(error, OSError) and error.errno in NEXT:
            self._watch.rearm(descriptor)
            if self._failing:
                self._recover(descriptor)
        else:  # an override's, or MemoryError, or a bug of ours: never a dead service
            self._pause(descriptor, error)

    def _have_somebody_look(self) -> None:
        """See to it that somebody asks the rule, if no thread is left that waits."""
        # No other thread comes between the question and the answer: nothing is called there.
        if not (self._waiting or self._looking or self._is_alone):
            self._looking = True
            self._reactor.callFromThread(self._look)

    def _serve_bounded(
        self, bounds: Bounds, service: Service, number: int, request: Request
    ) -> None:
        """Serve a request that may be the last one, or may take too long."""
        if self._timeout is None:
            service.serve(number, request)
        else:
            self._timeout.begin(number, request, service)
            service.serve(number, request)
            self._timeout.end(number)
        if bounds.recycle is not None:
            bounds.recycle.finished()

    def _admitted(self, recycle: Recycle) -> None:
        """Count a request, which may be the last one; in the thread that serves it."""
        if recycle.took() and self._is_alone:
            # Where there are many threads, each takes until the successor is there: no client is
            # to wait for that.
            self._is_worn = True
            self._watch.stop()

    def _pause(self, descriptor: int, error: BaseException) -> None:
        """Leave a source alone for a while, instead of spinning; say so once, until all work."""
        if not self._failing:
            exhausted = isinstance(error, OSError) and error.errno in EXHAUSTED
            why = "out of descriptors or memory" if exhausted else "cannot take clients"
            self._say("error", f"{why}, they wait in the backlog: {error}")
        self._failing.add(descriptor)
        self._watch.rest(descriptor)
        resume = self._watch.resume
        self._reactor.callFromThread(self._reactor.callLater, PAUSE, resume, descriptor)

    def _recover(self, descriptor: int) -> None:
        """A source works, perhaps again; say so when none is left that does not."""
        if descriptor in self._failing:
            self._failing.discard(descriptor)
            if not self._failing:
                self._say("info", "taking clients again")
