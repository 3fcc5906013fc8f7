"""Clients that close while their connection is not read.

The reactor watches a connection for reading or writing. It watches neither if the protocol has
paused reading or the client has finished sending, and nothing waits to be sent. Then the handler
would not learn that the client has closed, and would run without end. These connections are
watched here, for that only.
"""

from __future__ import annotations

import select
from contextlib import suppress
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

_ONLY_HANGUPS: Final = 0
"""No events asked for: EPOLLERR and EPOLLHUP are always told (epoll_ctl(2))."""


class Connection(Protocol):
    """A connection that may be watched."""

    def fileno(self) -> int:
        """Its descriptor; -1 when it is closed."""

    def hung_up(self, *, broken: bool) -> None:
        """Both directions have ended, *broken* by an error. It is no longer watched."""


@implementer(IReadDescriptor)
class Hangups:
    """Watches connections of one listener. In the thread of *reactor*, which it is a reader of.

    Owns an epoll descriptor, from the first ``watch`` to ``close``, which the reactor watches in
    its turn.
    """

    def __init__(self, service: str, reactor: Any) -> None:
        self._service = service
        self._reactor = reactor
        self._epoll: select.epoll | None = None
        self._watched: dict[int, Connection] = {}
        self._numbers: dict[Connection, int] = {}
        """The descriptor of each watched connection, which a closed one no longer tells."""

    def watch(self, connection: Connection) -> None:
        """Tell *connection* when its client goes. Does nothing where the system has no room."""
        if connection in self._numbers:
            return
        number = connection.fileno()
        with suppress(OSError, ValueError):  # ValueError: it has been closed
            self._opened().register(number, _ONLY_HANGUPS)
            self._watched[number] = connection
            self._numbers[connection] = number

    def forget(self, connection: Connection) -> None:
        """Watch it no more; to be called before it is closed."""
        if connection in self._numbers:
            self._unwatch(connection)

    def close(self) -> None:
        """Watch no connection, and close the epoll descriptor."""
        if self._epoll is not None:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

    # IReadDescriptor.

    def fileno(self) -> int:
        return -1 if self._epoll is None else self._epoll.fileno()

    def doRead(self) -> None:
        """Tell those whose clients have gone. Raises nothing."""
        if self._epoll is None:
            return
        for number, event in self._epoll.poll(0):
            connection = self._watched.get(number)
            # One that was told before may have closed this one.
            if connection is not None:
                # Once, or the reactor would call for it again and again.
                self._unwatch(connection)
                connection.hung_up(broken=bool(event & select.EPOLLERR))

    def connectionLost(self, reason: Failure) -> None:
        """Nothing can happen to an epoll descriptor."""

    def logPrefix(self) -> str:
        """The service: what its code says meanwhile is said by it."""
        return self._service

    def _opened(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        return self._epoll

    def _unwatch(self, connection: Connection) -> None:
        number = self._numbers.pop(connection)
        # Another one may have the number, if this one was closed behind our back.
        if self._watched.get(number) is connection:
            del self._watched[number]
            if self._epoll is not None:
                with suppress(OSError):
                    self._epoll.unregister(number)
