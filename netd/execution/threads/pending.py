"""Pending connections in a pool of threads: a PROXY header or a TLS handshake comes first.

A client that sends nothing must cost a descriptor, not a thread. So its connection waits in the
epoll of the pool, and any thread that gets its event advances it as far as possible without
waiting: the header, then the handshake, which takes the client two or three turns. The result is a
request like any other.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from typing import Final

from netd.accept.first_bytes import FirstBytes
from netd.accept.next_step import AWAIT
from netd.accept.pending import Lists, PendingConnection, PendingConnections
from netd.accept.refusal import HANDSHAKE, Refusal
from netd.admission.proxies import IsProxy
from netd.core.shutting_down import shut_down
from netd.execution.blocking_tls import Handshakes, TlsSocket, failure_text
from netd.execution.interfaces import Source
from netd.execution.request import Refused, Request, first_bytes_of

STALLED: Final = 8
"""So many stalled handshakes in a process with one client at a time are no accident."""


class WaitsToWrite(BlockingIOError):
    """The handshake goes on when the client receives what was sent."""


class PendingHandshake(PendingConnection):
    """One connection on its way to a handler. One thread at a time advances it.

    *lists* are asked as soon as the client is known. *handshakes* is None if no TLS follows.
    """

    __slots__ = ("_handshakes", "_has_begun", "request", "socket")

    def __init__(
        self,
        request: Request,
        first_bytes: FirstBytes,
        lists: Lists,
        handshakes: Handshakes | None,
    ) -> None:
        super().__init__(first_bytes, request.peer, lists, awaits_handshake=handshakes is not None)
        self.request = request
        self.socket: socket.socket = request.raw
        self._has_begun = False
        self._handshakes = handshakes

    def fileno(self) -> int:
        """The descriptor to wait for; -1 when it is closed."""
        return self.socket.fileno()

    def go_on(self) -> Request:
        """Advance as far as what the client has sent allows, and return the resulting request.

        Raises BlockingIOError when there is more to wait for, and Refused.
        """
        if not self._has_begun:
            self._begin()
        elif self.ended_by is not None:
            raise self.refused(Refusal(self.ended_by))
        if self._handshakes is not None:
            self._shake_hands(self._handshakes)
        if self.ended_by is not None:  # meanwhile, by another thread
            raise self.refused(Refusal(self.ended_by))
        # As accept() leaves it.
        self.socket.settimeout(socket.getdefaulttimeout())
        return self.request

    def refused(self, refusal: Refusal) -> Refused:
        """The exception for a refusal; that it was given up outweighs any other reason."""
        if self.ended_by is not None:
            refusal = Refusal(self.ended_by)
        return Refused(self.request, refusal, self.since)

    def give_up(self) -> None:
        """Make the connection readable: the thread that gets the event closes it."""
        # Not close(): another thread may be using the descriptor, whose number would be reused.
        shut_down(self.socket)

    def _begin(self) -> None:
        step = self.advance()
        self.request = self.request.proxied_by(self.first_bytes)
        if isinstance(step, Refusal):
            raise self.refused(step)
        if step in AWAIT:
            raise BlockingIOError
        self._has_begun = True

    def _shake_hands(self, handshakes: Handshakes) -> None:
        try:
            if not isinstance(self.socket, TlsSocket):
                self.socket = handshakes.begin(self.socket)
                self.request = self.request._replace(raw=self.socket)
                if self.ended_by is not None:
                    # While the socket changed: the one that was shut down had no descriptor.
                    raise self.refused(Refusal(self.ended_by))
            certificate = handshakes.go_on(self.socket)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLWantWriteError:
            raise WaitsToWrite from None
        except (OSError, ValueError) as error:  # ValueError: a certificate that cannot be read
            raise self.refused(Refusal(HANDSHAKE, failure_text(error))) from None
        if certificate is not None:
            self.request = self.request._replace(certificate=certificate)


class HandshakeSource:
    """A source whose connections begin with something else than a request.

    What it accepts from *source* is a ``PendingHandshake``, which its caller waits for as one of
    *pending*; or a request, if nothing precedes it. *handshakes* is None without TLS, *is_proxy*
    without trusted proxies. Each is waited for here first, for *patience* seconds; for less while
    other handshakes are stalled, and not at all once STALLED of them are, so that these cannot take
    the time of all others.
    """

    def __init__(
        self,
        source: Source,
        pending: PendingConnections,
        lists: Lists,
        is_proxy: IsProxy | None,
        handshakes: Handshakes | None,
        patience: float = 0.0,
    ) -> None:
        self.transport = source.transport
        self.fileno = source.fileno
        self.pending = pending
        self._next_request = source.next_request
        self._lists = lists
        self._is_proxy = is_proxy
        self._handshakes = handshakes
        self._patience = patience
        # So that the thread counts as busy meanwhile, and others are started if all are.
        self.may_block = patience > 0

    def next_request(self) -> Request | PendingHandshake:
        """Accept one connection. Raises as every source does, and Refused."""
        request: Request = self._next_request()
        since = time.monotonic() if request.since is None else request.since
        is_tls = self._handshakes is not None
        first_bytes = first_bytes_of(request, since, self._is_proxy, is_tls=is_tls)
        if first_bytes is None:
            return request
        connection = PendingHandshake(request, first_bytes, self._lists, self._handshakes)
        refusal = self.pending.refuses(connection)
        if refusal is not None:
            raise connection.refused(refusal)
        return self._wait_here(connection) if self.may_block else connection

    def _wait_here(self, connection: PendingHandshake) -> Request | PendingHandshake:
        """Wait a short while for the client. Raises Refused."""
        share = max(0.0, 1 - len(self.pending) / STALLED)
        until = time.monotonic() + self._patience * share
        poll = select.poll()
        while True:
            try:
                return connection.go_on()
            except BlockingIOError as error:
                to_write = isinstance(error, WaitsToWrite)
            poll.register(connection.fileno(), select.POLLOUT if to_write else select.POLLIN)
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return connection
