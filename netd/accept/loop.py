"""The accept loop of listeners that a reactor watches, the same in every process.

What differs per execution comes in as ``Accepting``: what accepts, and what begins to serve. The
order, the guards, the batches and the recovery are here. The threads of a pool have a loop of their
own, because they wait differently, and share the classification and the pause.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.accept.errors import After, Rejected, after_accept, after_begin
from netd.accept.pause import Pausable, Pause
from netd.core.reactor import Reading

T = TypeVar("T")


def _unexpected(rejected: Rejected) -> NoReturn:
    raise rejected


@dataclass(frozen=True)
class Accepting(Generic[T]):
    """What one listener accepts, and what becomes of it. All are called in the reactor's thread."""

    accept: Callable[[], T]
    """Accept or receive one, without waiting. Raises as accept(2) does, and Rejected."""
    begin: Callable[[T], None]
    """Begin to serve it. May raise: that costs this connection, not the listener."""
    abandon: Callable[[T, BaseException], None]
    """Close and log a connection for which ``begin`` has raised."""
    reject: Callable[[Rejected], None] = _unexpected
    """Log and count what was received and is not to be served."""


class AcceptLoop(Generic[T]):
    """Accepts from *listener*, at most *batch* at a time, so that other connections have a turn."""

    def __init__(
        self, accepting: Accepting[T], listener: Pausable, pause: Pause, batch: int
    ) -> None:
        # Bound once: each connection comes by here.
        self._accept = accepting.accept
        self._begin = accepting.begin
        self._accepting = accepting
        self._listener = listener
        self._pause = pause
        self._batch = batch
        self.is_open = True
        """Whether to accept. What begins to serve may close it in the middle of a batch."""

    def run(self) -> None:
        """Accept one batch. Raises nothing."""
        for _ in range(self._batch):
            if not self.is_open:
                return
            try:
                accepted = self._accept()
            # Not only Exception: an override of get_request() is user code, whose SystemExit must
            # not end the service.
            except BaseException as error:
                if self._goes_on(error):
                    continue
                return
            if self._pause.is_pausing:
                self._pause.works(self._listener)
            try:
                self._begin(accepted)
            except BaseException as error:
                if self._goes_on_without(accepted, error):
                    continue
                return

    def pause(self, error: BaseException) -> None:
        """Accept nothing for a while, because of *error*."""
        self._pause.pause(self._listener, error)

    def _goes_on(self, error: BaseException) -> bool:
        """Whether to try the next one after accepting has failed."""
        if isinstance(error, Rejected):
            try:
                self._accepting.reject(error)
            # A bug there would repeat itself with the next request, and must not spin.
            except Exception as bug:
                self.pause(bug)
                return False
            return True
        after = after_accept(error)
        if after is After.PAUSE:
            self.pause(error)
        elif self._pause.is_pausing:
            self._pause.works(self._listener)
        return after is After.NEXT

    def _goes_on_without(self, accepted: T, error: BaseException) -> bool:
        """Whether to try the next one after a connection could not begin."""
        with suppress(Exception):  # no memory for a line of log
            self._accepting.abandon(accepted, error)
        after = after_begin(error)
        if after is After.PAUSE:
            self.pause(error)
        return after is After.NEXT


@implementer(IReadDescriptor)
class WatchedListener(Generic[T]):
    """A listener that *reactor* watches, from ``start`` to ``stop``. In the reactor's thread.

    It neither closes nor re-configures the listener: Twisted's own ports shut down every copy of a
    socket, and spin once their reserve descriptor is lost.
    """

    def __init__(
        self,
        fileno: Callable[[], int],
        accepting: Accepting[T],
        pause: Pause,
        reactor: Reading,
        batch: int,
        name: str = "netd",
    ) -> None:
        """*name* is the prefix of Twisted's own log lines."""
        self.fileno = fileno
        self._reactor = reactor
        self._name = name
        self._loop = AcceptLoop(accepting, self, pause, batch)
        self._loop.is_open = False
        self._is_paused = False
        self.doRead = self._loop.run

    def start(self) -> None:
        """Accept, immediately or when the pause is over. Idempotent. May raise OSError."""
        self._loop.is_open = True
        # A slot that becomes free must not cut a pause short.
        if not self._is_paused:
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Leave connections in the backlog until ``start``. Idempotent."""
        self._loop.is_open = False
        self._leave_alone()

    # Pausable.

    def pause(self) -> None:
        self._is_paused = True
        self._leave_alone()

    def resume(self) -> None:
        if self._loop.is_open:
            self._reactor.addReader(self)
        # Last: if watching fails, the pause goes on.
        self._is_paused = False

    def _leave_alone(self) -> None:
        # Not there (EBADF): a handler has closed a descriptor that was not its own.
        with suppress(OSError):
            self._reactor.removeReader(self)

    # IReadDescriptor.

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has dropped the listener, on a hang-up or an error: try again later."""
        if self._loop.is_open:
            self._loop.pause(reason.value or OSError("shut down"))

    def logPrefix(self) -> str:
        return self._name


def abandoned_text(client: str, error: BaseException) -> str:
    """The log text for a connection that was closed because ``begin`` has raised *error*."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{client}: closed, because {type(error).__name__} was raised\n{frames}"
