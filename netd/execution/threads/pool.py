"""Threads of a Twisted pool that accept for themselves.

Accepting in the reactor and handing each connection to a thread costs two hand-overs of the
interpreter's lock, as much as starting a new thread. So every thread stays in a loop: accept,
re-arm, serve, accept again. It re-arms its source (``Epoll``) before anything that can block, so
the next thread wakes for the next client, and no connection is stranded behind a handler.

The loop is the pool's own, because it waits differently from a reactor. What an error means, the
pause and the bounds on pending connections are those of ``netd.accept``.
"""

from __future__ import annotations

import select
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from netd.accept.errors import After, after_accept
from netd.accept.pause import Pause, Say
from netd.accept.refusal import UNWATCHED, Refusal
from netd.core.reactor import Reactor
from netd.execution.handler_timeout import HandlerTimeout
from netd.execution.interfaces import Service, Source
from netd.execution.recycle import Recycle
from netd.execution.request import Refused, Request, TooLong
from netd.execution.threads.epoll import END, Epoll, EpollListener
from netd.execution.threads.pending import PendingHandshake, WaitsToWrite
from netd.execution.threads.settings import Bounds, PoolSettings, PoolSources
from netd.execution.threads.sizing import ThreadSizing

LAST_WAIT: Final = 50
"""Milliseconds between looks at the epoll at the end, while connections are pending."""


class AcceptingThreads:
    """The threads of one service, which accept from its sources and serve.

    *say* is given a level and a text for the log, from any thread. Closes nothing that it is given.
    """

    def __init__(
        self, settings: PoolSettings, sources: PoolSources, reactor: Reactor, say: Say
    ) -> None:
        self._reactor = reactor
        self._say = say
        self._idle_time = settings.idle_time
        self._inner = tuple(sources.inner)
        self._outer = tuple(source.fileno() for source in sources.outer)
        self.sizing = ThreadSizing(
            settings, reactor, say, self._run, self._is_at_end, self._tell_stopped
        )
        # Bound once: each connection comes by here.
        self._ensure_looking = self.sizing.ensure_looking
        self._accepted = self.sizing.accepted
        self._is_alone = self.sizing.is_alone
        self._watch = Epoll(
            self._outer,
            [source.fileno() for source in sources.inner],
            shared=not self._is_alone,
        )
        self._sources: dict[int, tuple[Source, Service]] = {
            source.fileno(): (source, service)
            for source, service in (*sources.outer.items(), *sources.inner.items())
        }
        self._listeners = {
            descriptor: EpollListener(self._watch, descriptor) for descriptor in self._sources
        }
        self._pause = Pause(say, self._call_later, threading.Lock())
        self._bounds = bounds = settings.bounds
        if bounds is not None and bounds.recycle is not None:
            # Not of the inner ones: what these serve was counted when it was accepted.
            for service in sources.outer.values():
                service.count_by(partial(self._admitted, bounds.recycle))
        self._timeout = self._handler_timeout(bounds)
        # Nothing more is to be accepted, by a thread that is alone and counts to the last request.
        self._is_used_up = False
        self._pending = sources.pending
        # By descriptor. The one thread that has its event advances it.
        self._handshakes: dict[int, tuple[PendingHandshake, Service]] = {}
        self._has_accepted_last = True
        self._stopped: Callable[[], None] | None = None

    def _handler_timeout(self, bounds: Bounds | None) -> HandlerTimeout | None:
        if bounds is None or bounds.handler_timeout is None:
            return None
        say = partial(self._say, "error")
        return HandlerTimeout(bounds.handler_timeout, self._reactor, say, self.sizing.write_off)

    def _call_later(self, delay: float, call: Callable[[], None]) -> None:
        self._reactor.callFromThread(self._reactor.callLater, delay, call)

    # The reactor's thread.

    def start(self, accepting: bool = True) -> None:
        """Accept, with one thread at first; or without *accepting* wait for ``resume``."""
        if accepting:
            self._watch.start()
        self.sizing.start()

    def suspend(self) -> None:
        """Stop accepting until ``resume``; clients wait in the backlog."""
        self._watch.stop()

    def resume(self) -> None:
        """Accept again, unless the process has accepted its last request."""
        if not self._is_used_up:
            self._watch.start()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Stop accepting; *stopped* is called here when the last handler has returned."""
        self._stopped = stopped
        has_accepted_last = not (self._is_alone and self._watch.is_watching)
        self._watch.stop()
        if self._pending is None:
            self._end(has_accepted_last)
        else:
            self._pending.when_empty(partial(self._end, has_accepted_last))

    def _end(self, has_accepted_last: bool) -> None:
        """Nothing more is accepted, and nothing is pending: let the threads exit."""
        self._has_accepted_last = has_accepted_last
        self.sizing.is_stopping = True
        self._watch.end()
        self._reactor.callLater(0, self._tell_stopped)

    def _tell_stopped(self) -> None:
        if self.sizing.size == 0 and self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            stopped()

    # The pool's threads.

    def _run(self, number: int) -> None:
        """The loop of one thread."""
        sizing = self.sizing
        while not sizing.should_exit(number):
            if sizing.is_stopping and not self._has_accepted_last:
                self._has_accepted_last = True
                self._accept_once_more(number)
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
                    self._accept(number, descriptor)
                # A bug, or no memory for a line of log. Not only Exception: user code runs in
                # there, whose SystemExit or KeyboardInterrupt must not end the thread.
                except BaseException as error:
                    self._log_bug(error)
        sizing.exits(number)

    def _accept_once_more(self, number: int) -> None:
        """Accept the connections for which this process alone was woken (EPOLLEXCLUSIVE).

        The end may have come at the same moment, and been seen first; the other processes of the
        service would not learn of that connection before the next one comes. Only if the queue has
        one: an override of ``get_request`` might wait for it.
        """
        queues = select.poll()
        for descriptor in self._outer:
            queues.register(descriptor, select.POLLIN)
        for descriptor, _ in queues.poll(0):
            try:
                self._accept(number, descriptor)
            except BaseException as error:  # as above
                self._log_bug(error)

    def _wait_at_the_end(self) -> None:
        """Wait for pending connections: the epoll reports nothing but the end now."""
        if self._handshakes:
            connections = select.poll()
            for descriptor in list(self._handshakes):
                connections.register(descriptor)
            connections.poll(LAST_WAIT)

    def _log_bug(self, error: BaseException) -> None:
        with suppress(BaseException):  # the error may be a user's, whose attributes raise
            frames = "".join(traceback.format_tb(error.__traceback__))
            self._say("error", f"a thread goes on after {type(error).__name__}\n{frames}")

    def _is_at_end(self) -> bool:
        """Whether a stop has nothing left to accept or to serve."""
        return self._has_accepted_last and not self._handshakes and not any(map(len, self._inner))

    def _wait(self, number: int) -> int | None:
        """Wait for a source, or the end; None means that the thread is to exit.

        The last thread waits for ever, so an idle service never wakes up.
        """
        sizing = self.sizing
        sizing.idle[number] = self._accepted[number]
        try:
            while True:
                ready = self._watch.poll(-1 if sizing.size == 1 else self._idle_time)
                if ready is not None or sizing.may_retire(number):
                    return ready
        finally:
            sizing.idle.pop(number, None)

    def _accept(self, number: int, descriptor: int) -> None:
        if descriptor in self._handshakes:
            self._go_on(number, descriptor)
            return
        source, service = self._sources[descriptor]
        if source.may_block:
            self._watch.rearm(descriptor)
            service.mark_busy(number)
            self._ensure_looking()
        try:
            request = source.next_request()
        except BaseException as error:  # not only Exception: get_request() may be a user's
            if source.may_block:
                service.mark_idle(number)
            self._go_on_without(number, descriptor, service, error)
            return
        if not source.may_block:
            self._watch.rearm(descriptor)
        if self._pause.is_pausing:
            self._pause.works(self._listeners[descriptor])
        if isinstance(request, PendingHandshake):
            if source.may_block:
                service.mark_idle(number)
            self._wait_for(number, request, service)
        else:
            self._serve(number, request, service)

    def _serve(self, number: int, request: Request, service: Service) -> None:
        self._accepted[number] += 1
        self._ensure_looking()
        if self._bounds is None:
            service.serve(number, request)
        else:
            self._serve_bounded(self._bounds, service, number, request)

    def _wait_for(self, number: int, connection: PendingHandshake, service: Service) -> None:
        """Resume on any free thread once the connection is readable."""
        assert self._pending is not None
        descriptor = connection.fileno()
        self._handshakes[descriptor] = connection, service
        self._pending.add(connection)
        try:
            self._watch.add(descriptor)
        except OSError as error:  # ENOMEM, ENOSPC: epoll_ctl(2)
            del self._handshakes[descriptor]
            self._forget(descriptor, connection)
            service.refuse(number, connection.refused(Refusal(UNWATCHED, str(error))))

    def _go_on(self, number: int, descriptor: int) -> None:
        """Advance a pending connection, and serve it if nothing more precedes that."""
        # No thread is told of it meanwhile. A handshake that fails may close it, and then its
        # number can be that of the next connection, which another thread accepts.
        connection, service = self._handshakes.pop(descriptor)
        # A handshake takes as long as many a handler, and without the interpreter's lock.
        self._ensure_looking()
        try:
            request = connection.go_on()
        except BlockingIOError as error:
            self._handshakes[descriptor] = connection, service
            self._watch.modify(descriptor, to_write=isinstance(error, WaitsToWrite))
        # Not BaseException: no user code runs before the handshake is over.
        except Exception as error:
            self._forget(descriptor, connection)
            if not isinstance(error, Refused):  # MemoryError, or a bug
                error = connection.refused(Refusal(type(error).__name__, str(error)))
            service.refuse(number, error)
        else:
            self._forget(descriptor, connection)
            self._serve(number, request, service)

    def _forget(self, descriptor: int, connection: PendingHandshake) -> None:
        assert self._pending is not None
        if connection.fileno() == descriptor:
            with suppress(OSError):
                self._watch.remove(descriptor)
        self._pending.remove(connection)

    def _go_on_without(
        self, number: int, descriptor: int, service: Service, error: BaseException
    ) -> None:
        """Go on after a source gave no request."""
        if after_accept(error) is After.PAUSE:
            self._pause.pause(self._listeners[descriptor], error)
            return
        self._watch.rearm(descriptor)
        if isinstance(error, TooLong):
            service.drop(number, error)
        elif isinstance(error, Refused):
            service.refuse(number, error)
        elif self._pause.is_pausing:
            self._pause.works(self._listeners[descriptor])

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
            # Many threads go on accepting until the successor is there, so that no client waits
            # for it. A single one must not: its next request would be one too many.
            self._is_used_up = True
            self._watch.stop()
