"""``handler_timeout``: a handler that runs for too long loses its client, and then its thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from netd.core.deadlines import Deadlines
from netd.core.reactor import Reactor
from netd.core.shutting_down import shut_down
from netd.execution.request import Request
from netd.execution.tracebacks import user_stack


class TimedService(Protocol):
    """What serves the request that a thread has. In the reactor's thread."""

    def take_away(self, request: socket.socket) -> int:
        """Take a request's descriptor from the socket that the handler uses; -1: it has none."""

    def lost(self, thread: int) -> None:
        """The request that a thread serves was taken from it."""


GaveUp = Callable[[int], None]
"""Told the number of a thread that is written off; in the reactor's thread."""


def overdue(client: str, seconds: float, where: str) -> str:
    """Say that a handler is ended, and *where* it was: lines as of a traceback."""
    return (
        f"{client}: the handler has run for more than {seconds:g} s, and its connection is closed;"
        f" it was here\n{where}"
    )


class HandlerTimeout:
    """Watches the handlers of one service, each in its thread of the pool.

    *say* logs a text, *give_up* gives the thread's number away.
    """

    def __init__(
        self, seconds: float, reactor: Reactor, say: Callable[[str], None], give_up: GaveUp
    ) -> None:
        self._seconds = seconds
        self._deadlines = Deadlines(reactor)
        self._say = say
        self._give_up = give_up
        self._taken_away: dict[int, socket.socket] = {}
        """Connections of handlers that have not come back, by thread."""

    # The thread of the handler.

    def begin(self, thread: int, request: Request, service: TimedService) -> None:
        """A handler of *service* starts, in this thread, which is number *thread* of its pool."""
        ident = threading.get_ident()
        action = partial(self._overdue, thread, ident, request, service)
        self._deadlines.set(thread, self._seconds, action)

    def end(self, thread: int) -> None:
        """The handler has returned, perhaps too late."""
        self._deadlines.met(thread)
        connection = self._taken_away.pop(thread, None)
        if connection is not None:
            connection.close()

    # The reactor's thread.

    def _overdue(self, thread: int, ident: int, request: Request, service: TimedService) -> None:
        self._say(overdue(request.client, self._seconds, user_stack(ident)))
        if isinstance(request.raw, socket.socket):
            self._end(thread, service.take_away(request.raw))
        service.lost(thread)
        self._give_up(thread)

    def _end(self, thread: int, descriptor: int) -> None:
        """End a connection: a handler that waits for it wakes, and its next use raises OSError.

        The descriptor is taken from the handler's socket in one step, so that it cannot have
        become another connection's; and it stays open as long as the handler may be using it.
        """
        if descriptor < 0:  # the handler has closed it
            return
        connection = socket.socket(fileno=descriptor)
        self._taken_away[thread] = connection
        shut_down(connection)
