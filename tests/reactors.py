"""Reactors for tests: one that runs in a thread of its own, and one that a test runs by hand.

Both are what ``netd.core.reactor`` asks for, and nothing more.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeVar

from twisted.internet.task import Clock

PATIENCE: Final = 30.0
"""Seconds that a test waits for what must happen before it fails."""

T = TypeVar("T")


class Call:
    """A call that a ThreadReactor is going to make."""

    def __init__(self, when: float, number: int, call: Callable[[], object]) -> None:
        self.when = when
        self.number = number
        self.call = call
        self._active = True

    def __lt__(self, other: Call) -> bool:
        return (self.when, self.number) < (other.when, other.number)

    def active(self) -> bool:
        return self._active

    def cancel(self) -> None:
        assert self._active
        self._active = False

    def make(self) -> None:
        """Make it, unless it has been cancelled."""
        if self._active:
            self._active = False
            self.call()


class ThreadReactor:
    """Makes calls, one after another, in a thread of its own; a context that ends with it.

    Its end raises what a call has raised. As with Twisted's, only ``callFromThread`` may be used
    from another thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._soon: deque[Callable[[], object]] = deque()
        self._later: list[Call] = []
        self._number = 0
        self._ending = False
        self._raised: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="reactor", daemon=True)

    def __enter__(self) -> ThreadReactor:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._raised and error is None:
            raise self._raised[0]

    # What netd asks for.

    def seconds(self) -> float:
        return time.monotonic()

    def callLater(self, delay: float, call: Callable[..., Any], *args: Any) -> Call:
        assert self.is_here(), "callLater is for the reactor's thread"
        self._number += 1
        later = Call(time.monotonic() + delay, self._number, lambda: call(*args))
        heapq.heappush(self._later, later)
        return later

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        with self._changed:
            self._soon.append(lambda: call(*args))
            self._changed.notify()

    # What tests need beside.

    def is_here(self) -> bool:
        """Whether the caller is the reactor's thread."""
        return threading.current_thread() is self._thread

    def run(self, call: Callable[..., T], *args: Any) -> T:
        """Make a call in the reactor's thread, after all that is due, and return its result."""
        results: list[T] = []
        done = threading.Event()

        def make() -> None:
            try:
                results.append(call(*args))
            finally:
                done.set()

        self.callFromThread(make)
        assert done.wait(PATIENCE)
        return results[0]

    def let_pass(self, seconds: float) -> None:
        """Return when so much time has passed for the reactor."""
        passed = threading.Event()
        self.run(self.callLater, seconds, passed.set)
        assert passed.wait(seconds + PATIENCE)

    def _run(self) -> None:
        while True:
            call = self._next()
            if call is None:
                return
            try:
                call()
            except BaseException as error:
                self._raised.append(error)

    def _next(self) -> Callable[[], object] | None:
        """Wait for a call; None when the reactor is to end."""
        with self._changed:
            while not self._ending:
                if self._soon:
                    return self._soon.popleft()
                now = time.monotonic()
                if self._later and self._later[0].when <= now:
                    return heapq.heappop(self._later).make
                self._changed.wait(self._later[0].when - now if self._later else None)
        return None


class HandReactor(Clock):
    """Twisted's Clock; what is called from a thread waits until the test says ``run``."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = 0
        """How often something was called from a thread, which wakes a real reactor up."""
        self._soon: deque[Callable[[], object]] = deque()

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        self.woken += 1
        self._soon.append(lambda: call(*args))

    def run(self) -> None:
        """Make the calls from threads."""
        while self._soon:
            self._soon.popleft()()
