"""The epoll (epoll(7)) in which the threads of one service wait."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

EXCLUSIVE: Final = getattr(select, "EPOLLEXCLUSIVE", 1 << 28)
"""An event of a listener wakes one or a few of the processes that wait for it, not all."""

_READABLE_ONCE: Final = select.EPOLLIN | select.EPOLLONESHOT
_WRITABLE_ONCE: Final = select.EPOLLOUT | select.EPOLLONESHOT

END: Final = -1
"""What ``poll`` returns from ``end`` on."""


class Epoll:
    """Waits for sources and for the end, in any of the threads of one service.

    With *shared*, several threads wait. Then a source is EPOLLONESHOT: its event goes to one
    thread, and the next one only after ``rearm``. EPOLL_CTL_MOD immediately reports what is queued
    already, so the next thread wakes for the next client. (Edge-triggered, clients were stranded
    behind busy threads in 19 of 20 bursts.) A thread that is alone in its process needs no
    re-arming, and is spared a system call per client. The descriptors in *always* are watched even
    while the sources, *descriptors*, are not.
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
        """Do not watch them until ``start``; a thread that has an event still accepts once."""
        self._watching = False
        for descriptor in self._descriptors:
            self._remove(descriptor)

    def end(self) -> None:
        """Wake all threads, now and whenever they wait."""
        os.eventfd_write(self._end, 1)

    # Any thread.

    def add(self, descriptor: int) -> None:
        """Report once that a pending connection is readable, even while sources are not watched."""
        self._epoll.register(descriptor, _READABLE_ONCE)

    def modify(self, descriptor: int, *, to_write: bool = False) -> None:
        """Report once more that it is readable; or that it is writable."""
        self._epoll.modify(descriptor, _WRITABLE_ONCE if to_write else _READABLE_ONCE)

    def remove(self, descriptor: int) -> None:
        """Stop watching a pending connection, which is not closed yet."""
        self._epoll.unregister(descriptor)

    def rearm(self, descriptor: int) -> None:
        """The source's event has been handled; report the next one."""
        if self._shared:
            try:  # noqa: SIM105 - suppress() costs every client as much as the call itself
                self._epoll.modify(descriptor, self._events)
            except FileNotFoundError:  # accepting has been stopped
                pass

    def pause(self, descriptor: int) -> None:
        """Leave a source alone until ``resume``."""
        if not self._shared:
            self._remove(descriptor)
            return
        with suppress(OSError):  # as in _remove
            # Without EPOLLIN it reports hang-ups and errors only, and those once.
            self._epoll.modify(descriptor, select.EPOLLONESHOT)

    def resume(self, descriptor: int) -> None:
        """Watch a paused source again, unless accepting has been stopped."""
        if self._shared:
            self.rearm(descriptor)
        elif self._watching or descriptor in self._always:
            self._add(descriptor)

    def _add(self, descriptor: int) -> None:
        with suppress(FileExistsError):
            self._epoll.register(descriptor, self._events)

    def _remove(self, descriptor: int) -> None:
        # Not there (ENOENT, EBADF): it is paused, or a handler has closed a foreign descriptor.
        with suppress(OSError):
            self._epoll.unregister(descriptor)


@dataclass(frozen=True)
class EpollListener:
    """One source of an epoll, as something that can be paused (``netd.accept.pause``)."""

    epoll: Epoll
    descriptor: int

    def pause(self) -> None:
        """Leave it alone until ``resume``."""
        self.epoll.pause(self.descriptor)

    def resume(self) -> None:
        """Watch it again, unless accepting has been stopped."""
        self.epoll.resume(self.descriptor)
