"""``handler_timeout``: a handler that runs for too long loses its client, and then its thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from netd.admission.deadlines import Deadlines
from netd.execution.serving import user_stack
from netd.execution.sources import Taken
from netd.values.reactor import Reactor

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

    def begin(self, thread: int, taken: Taken, lost: GaveUp) -> None:
        """A handler starts, in this thread, which is number *thread* of its pool.

        *lost* is called, as *give_up* is, when its client has been taken from it.
        """
        ident = threading.get_ident()
        action = partial(self._overdue, thread, ident, taken, lost)
        self._deadlines.set(thread, self._seconds, action)

    def end(self, thread: int) -> None:
        """It has come back, perhaps too late."""
        self._deadlines.met(thread)
        connection = self._taken_away.pop(thread, None)
        if connection is not None:
            connection.close()

    # The reactor's thread.

    def _overdue(self, thread: int, ident: int, taken: Taken, lost: GaveUp) -> None:
        self._say(overdue(taken.client, self._seconds, user_stack(ident)))
        if isinstance(taken.request, socket.socket):
            self._take_away(thread, taken.request)
        lost(thread)
        self._give_up(thread)

    def _take_away(self, thread: int, request: socket.socket) -> None:
        """End a connection: who waits for it comes back, and who uses it next gets an OSError.

        The descriptor is taken from the handler's socket in one step, so that it cannot have
        become another connection's; and it stays open as long as the handler may be using it.
        """
        descriptor = request.detach()
        if descriptor < 0:  # the handler has closed it
            return
        connection = socket.socket(fileno=descriptor)
        self._taken_away[thread] = connection
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
