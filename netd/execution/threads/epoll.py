"""The epoll (epoll(7)) that the threads of one service wait in, and how its sources are in it."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

EXCLUSIVE: Final = getattr(select, "EPOLLEXCLUSIVE", 1 << 28)
"""Of the processes that wait for one listener, an event wakes one or a few, not all."""

_READABLE_ONCE: Final = select.EPOLLIN | select.EPOLLONESHOT
_WRITABLE_ONCE: Final = select.EPOLLOUT | select.EPOLLONESHOT

END: Final = -1
"""What ``poll`` returns from ``end`` on."""


class Epoll:
    """Waits for sources and for the end, in any of the threads of one service.

    With *shared*, several threads wait. Then a source is EPOLLONESHOT: its event goes to one
    thread, and the next one only after ``again``; EPOLL_CTL_MOD reports at once what is queued
    already, so the next thread wakes for the next client. A thread that is alone in its process
    needs none of that, and is spared a system call a client. What is watched for *always* is so
    even while the sources, *descriptors*, are not.
    """

    def __init__(
        self, descriptors: Iterable[int], always: Iterable[int] = (), *, shared: bool
    ) -> None:
        self._descriptors = frozenset(descriptors)
        self._always = frozenset(always)
        self._shared = shared
        self._events = select.EPOLLIN | (select.EPOLLONESHOT if shared else EXCLUSIVE)
        self._epoll = select.epoll()
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Level-triggered, so that it is seen by every thread.
        self._epoll.register(self._end, select.EPOLLIN)
        for descriptor in self._always:
            self._add(descriptor)
        self._watching = False

    def poll(self, timeout: float) -> int | None:
        """Wait for *timeout* seconds (-1: for ever) for a source, or END; None if neither came."""
        ready = self._epoll.poll(timeout, 1)
        if not ready:
            return None
        descriptor = ready[0][0]
        return END if descriptor == self._end else descriptor

    @property
    def is_watching(self) -> bool:
        """Whether the sources are watched."""
        return self._watching

    # The reactor's thread.

    def start(self) -> None:
        """Watch the sources."""
        self._watching = True
        for descriptor in self._descriptors:
            self._add(descriptor)

    def stop(self) -> None:
        """Watch them no more, until ``start``; a thread that has an event takes once more."""
        self._watching = False
        for descriptor in self._descriptors:
            self._remove(descriptor)

    def end(self) -> None:
        """Wake all threads, now and whenever they wait."""
        os.eventfd_write(self._end, 1)

    # Any thread.

    def add(self, descriptor: int) -> None:
        """Report once that a connection can be read; whether sources are watched or not."""
        self._epoll.register(descriptor, _READABLE_ONCE)

    def modify(self, descriptor: int, *, to_write: bool = False) -> None:
        """Report it once more; or that it can be written to."""
        self._epoll.modify(descriptor, _WRITABLE_ONCE if to_write else _READABLE_ONCE)

    def remove(self, descriptor: int) -> None:
        """Report nothing more of a connection, which is not closed yet."""
        self._epoll.unregister(descriptor)

    def rearm(self, descriptor: int) -> None:
        """The source's event has been dealt with; report the next."""
        if self._shared:
            try:  # noqa: SIM105 - suppress() costs every client as much as the call itself
                self._epoll.modify(descriptor, self._events)
            except FileNotFoundError:  # taking has been stopped
                pass

    def rest(self, descriptor: int) -> None:
        """Leave a source alone until ``resume``; it reports nothing, even after ``again``."""
        if not self._shared:
            self._remove(descriptor)
            return
        with suppress(OSError):  # as in _remove
            # Without EPOLLIN it reports hang-ups and errors only, and those once.
            self._epoll.modify(descriptor, select.EPOLLONESHOT)

    def resume(self, descriptor: int) -> None:
        """Watch a source again that has rested, unless taking has been stopped."""
        if self._shared:
            self.rearm(descriptor)
        elif self._watching or descriptor in self._always:
            self._add(descriptor)

    def _add(self, descriptor: int) -> None:
        with suppress(FileExistsError):
            self._epoll.register(descriptor, self._events)

    def _remove(self, descriptor: int) -> None:
        # Not there (ENOENT, EBADF): it rests, or a handler has closed what was not its own.
        with suppress(OSError):
            self._epoll.unregister(descriptor)
