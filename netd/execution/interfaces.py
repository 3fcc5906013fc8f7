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
    """Whether ``next_request`` may wait for a client, so that others must accept meanwhile."""

    def fileno(self) -> int:
        """The descriptor to watch for readability."""
        ...

    def next_request(self) -> Any:
        """Accept or receive one: a ``Request``, or from some sources a pending connection.

        Does not wait. Raises BlockingIOError when there is none, another OSError when accepting
        failed, and TooLong or Refused (``accept.errors.Rejected``) for what is not served.
        """
        ...


class InnerSource(Source, Sized, Protocol):
    """A source whose requests have been accepted before; its length is how many wait here."""


class Service(Protocol):
    """What a pool serves. All methods are called in the pool's threads."""

    def serve(self, thread: int, request: Request) -> None:
        """Serve one request to its end; raises nothing."""
        ...

    def drop(self, thread: int, why: TooLong) -> None:
        """A datagram was dropped."""
        ...

    def refuse(self, thread: int, refused: Refused) -> None:
        """A connection that was accepted is not served: log, count and close it. Raises nothing."""
        ...

    def mark_busy(self, thread: int) -> None:
        """``next_request`` is called, which may wait for a client (``Source.may_block``)."""
        ...

    def mark_idle(self, thread: int) -> None:
        """It gave no request."""
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
        """Take a request's descriptor away from the socket that its handler uses.

        -1 if it has none. In the reactor's thread.
        """
        ...

    def lost(self, thread: int) -> None:
        """The request that a thread serves was taken away. In the reactor's thread."""
        ...


class Execution(Protocol):
    """A service at work. All methods are called in the reactor's thread."""

    def start(self, accepting: bool = True) -> None:
        """Accept, or without *accepting* wait for ``resume``."""

    def suspend(self) -> None:
        """Stop accepting until ``resume``; connections go on."""

    def resume(self) -> None:
        """Accept again."""

    def stop(self, stopped: Callable[[], None]) -> None:
        """Stop accepting for good; call *stopped* when the last connection has ended."""

    def recheck(self, lists: AccessLists) -> None:
        """Replace the lists by *lists*, and end the connections that they do not admit."""

    def disconnect(self, connection: int) -> None:
        """End the connection with this ID, if it is active in this process."""

    def kill(self) -> None:
        """Kill what is outside this process, and would outlive it."""
