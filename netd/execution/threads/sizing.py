"""How many threads a pool has: it grows while none is idle, and shrinks after idleness.

The rule itself is ``netd.core.pool_size``. Here it is asked, and acted on. It is only asked while
no thread is idle, so an idle service never wakes up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from twisted.python.threadpool import ThreadPool

from netd.accept.pause import PAUSE, Say
from netd.core.pool_size import LOOK_INTERVAL, Growth, Sample
from netd.core.reactor import Reactor
from netd.execution.threads.settings import PoolSettings


class ThreadSizing:
    """Starts and retires the threads of one service. Each has a number, its slot.

    *run* is the body of a thread. *is_at_end* says whether a stop has nothing left to serve, and
    *gone* is told, in the reactor's thread, that there may be no thread left.
    """

    def __init__(
        self,
        settings: PoolSettings,
        reactor: Reactor,
        say: Say,
        run: Callable[[int], None],
        is_at_end: Callable[[], bool],
        gone: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._say = say
        self._run = run
        self._is_at_end = is_at_end
        self._gone = gone
        self._bounds = settings.bounds
        self._pool = ThreadPool(0, settings.numbers, settings.name)
        self._pool.threadFactory = settings.thread_factory  # type: ignore[assignment]
        self._growth = Growth(settings.maximum)
        self.is_alone = settings.maximum == 1
        """Whether the pool has one thread, which needs no rule."""
        self.is_stopping = False

        self._lock = threading.Lock()
        # Under the lock.
        self.size = 0
        """Threads that are counted on: started, and neither written off nor leaving."""
        self._surplus = 0
        self._free = list(range(settings.numbers))
        heapify(self._free)
        self._written_off: set[int] = set()

        # Each entry is written by its own thread only, so it needs no lock.
        self.accepted = [0] * settings.numbers
        """Requests that each thread has accepted."""
        self.idle: dict[int, int] = {}
        """The threads that wait for a request, with what they had accepted by then."""
        self._idle_at_last_look: dict[int, int] = {}
        self.is_looking = False
        """Whether the rule is being asked."""
        self._is_short_of_threads = False

    # The reactor's thread.

    def start(self) -> None:
        """Start the first thread."""
        self._pool.start()
        self._add(1)

    def _add(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                if self._surplus:
                    # A thread that was to exit stays instead.
                    self._surplus -= 1
                    continue
                if not self._free:
                    return
                # The lowest number, so that the scoreboard stays compact.
                number = heappop(self._free)
                self.size += 1
            try:
                self._pool.callInThread(self._run, number)
            except (RuntimeError, MemoryError) as error:
                self._cannot_start(number, error)
                return
            self._is_short_of_threads = False

    def _cannot_start(self, number: int, error: Exception) -> None:
        """The system gives this process no more threads: go on with those that there are."""
        with self._lock:
            heappush(self._free, number)
            self.size -= 1
            has_none = self.size == 0
        self._forget_dead_threads()
        if not self._is_short_of_threads:
            self._is_short_of_threads = True
            self._say("warn", f"cannot start another thread: {error}")
        if has_none:
            self._reactor.callLater(PAUSE, self._add_first)

    def _add_first(self) -> None:
        if not self.is_stopping:
            self._add(1)

    def _look(self) -> None:
        """Ask the rule, now that no thread is idle, and again as long as that is so."""
        if self.is_stopping or self._has_idle_thread():
            self.is_looking = False
            # A thread that became busy in between has seen ``is_looking``, and so has not called.
            if self.is_stopping or self.idle or self.is_looking:
                return
            self.is_looking = True
        with self._lock:
            size = self.size - self._surplus
        sample = Sample(time.monotonic(), sum(self.accepted), time.process_time())
        change = self._growth.look(sample, size)
        if change > 0:
            self._add(change)
        elif change < 0:
            with self._lock:
                self._surplus -= change
        self._reactor.callLater(LOOK_INTERVAL, self._look)

    def _has_idle_thread(self) -> bool:
        """Whether a thread has been idle ever since the last look.

        A thread also waits for a moment when another one has the event of its source, so one
        glance proves nothing.
        """
        idle, before = self.idle.copy(), self._idle_at_last_look
        self._idle_at_last_look = idle
        is_idle = any(before.get(number) == accepted for number, accepted in idle.items())
        if is_idle:
            self._growth.rest()
        return is_idle

    def write_off(self, number: int) -> None:
        """Do not count on a thread: its handler does not return. Another may take its place.

        A thread that is alone in its process gets no substitute: the process is replaced.
        """
        assert self._bounds is not None
        if not self.is_alone:
            with self._lock:
                self._written_off.add(number)
                self.size -= 1
            if not (self.is_stopping or self.idle):
                self._add(1)
        self._bounds.hung(max(1, len(self._written_off)))
        self._gone()

    def _exited(self) -> None:
        """A thread has left its loop: give its place back to Twisted's pool."""
        self._pool.stopAWorker()
        self._forget_dead_threads()
        self._gone()
        # It may have been the idle one, and so the reason why the rule is not asked.
        if not (self.is_stopping or self.idle or self.is_looking):
            self.is_looking = True
            self._look()

    def _forget_dead_threads(self) -> None:
        """Twisted's pool keeps every thread that it ever had."""
        self._pool.threads[:] = [thread for thread in self._pool.threads if thread.is_alive()]

    # The pool's threads.

    def ensure_looking(self) -> None:
        """Have the rule asked, if no thread is idle; to be called when a thread becomes busy."""
        # No other thread comes between the question and the answer: nothing is called there.
        if not (self.idle or self.is_looking or self.is_alone):
            self.is_looking = True
            self._reactor.callFromThread(self._look)

    def exits(self, number: int) -> None:
        """A thread is about to return from its loop."""
        with self._lock:
            heappush(self._free, number)
        self._reactor.callFromThread(self._exited)

    def should_exit(self, number: int) -> bool:
        """Whether a thread is to exit, which has no event: no connection is stranded by that."""
        if not (self.is_stopping or self._surplus or self._written_off):
            return False
        with self._lock:
            if number in self._written_off:  # its handler has returned after all
                self._written_off.discard(number)
                return True
            is_surplus = self._surplus and self.size > 1
            if (self.is_stopping and self._is_at_end()) or is_surplus:
                self._surplus = max(0, self._surplus - 1)
                self.size -= 1
                return True
            if not self.is_stopping:
                self._surplus = 0
            return False

    def may_retire(self, number: int) -> bool:
        """Whether to exit after a wait that brought nothing: not if all others are busy.

        The rule is not asked while a thread is idle, so the next client would wait for a busy one.
        """
        with self._lock:
            if len(self.idle) == 1:
                return False
            del self.idle[number]
            self.size -= 1
            self._surplus = max(0, self._surplus - 1)
            return True
