"""The seams between sources, pools and services, which every execution shares."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sized
from typing import Any, Protocol

from netd.admission.lists import AccessLists
from netd.execution.request import Refused, Request, TooLong
from netd.model.address import Transport


class Source(Protocol):
    """Where requests come from."""

    transport: Transport
    may_block: bool
    """Whether ``take`` may wait for one client, so that others must be able to take meanwhile."""

    def fileno(self) -> int:
        """The descriptor to watch for readability."""
        ...

    def take(self) -> Any:
        """Take one request (``Request``) without waiting; or a connection that has not begun.

        Raises BlockingIOError when there is none, another OSError when taking failed, TooLong
        when the datagram was dropped.
        """
        ...


class InnerSource(Source, Sized, Protocol):
    """A source whose requests have been taken before; its length is how many wait here."""


class Service(Protocol):
    """What a pool serves. All methods are called in the pool's threads."""

    def serve(self, thread: int, request: Request) -> None:
        """Serve one request to its end; raises nothing."""
        ...

    def drop(self, thread: int, why: TooLong) -> None:
        """A datagram was dropped."""
        ...

    def refuse(self, thread: int, refused: Refused) -> None:
        """A connection that was taken does not come to be served: close it; raises nothing."""
        ...

    def mark_busy(self, thread: int) -> None:
        """A request is going to be taken, which may take its time (``Source.may_block``)."""
        ...

    def mark_idle(self, thread: int) -> None:
        """There was none."""
        ...

    def after_fork(self) -> None:
        """In a fork of the worker: it is this process that serves now."""
        ...

    def child_forked(self) -> None:
        """In the worker: a fork of it serves a request. Raises nothing."""
        ...

    def count_by(self, admitted: Callable[[], None]) -> None:
        """Call *admitted* in ``serve`` for each request that the lists admit, before user code
        sees it. Called before anything is served."""
        ...

    def take_away(self, request: socket.socket) -> int:
        """Take the descriptor of a request that was taken from the socket that its handler uses.

        -1 where it has none. In the reactor's thread.
        """
        ...

    def lost(self, thread: int) -> None:
        """The request that a thread serves was taken from it. In the reactor's thread."""
        ...


class Execution(Protocol):
    """A service at work. All methods are called in the reactor's thread."""

    def start(self, accepting: bool = True) -> None:
        """Begin to take; without *taking*, nobody is taken before ``resume``."""

    def suspend(self) -> None:
        """Take nothing more until ``resume``; those inside go on."""

    def resume(self) -> None:
        """Take again."""

    def stop(self, stopped: Callable[[], None]) -> None:
        """Take nothing more for good; call *stopped* when nobody is inside any more."""

    def recheck(self, lists: AccessLists) -> None:
        """Ask *lists* from now on, and end the connections that they do not admit."""

    def disconnect(self, connection: int) -> None:
        """End the connection with this ID, if it is active in this process."""

    def kill(self) -> None:
        """End at once what is outside this process, and would outlive it."""
