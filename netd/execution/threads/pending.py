"""Connections that have been taken and have not begun: of which something is waited for.

Where TLS or the PROXY protocol comes first, a client that says nothing must cost a descriptor, not
a thread. So it waits in the epoll of its pool, and whichever thread is told that it has said
something goes on with it as far as that leads, without waiting: the header, then the handshake,
which takes the client two or three turns. What comes out of it is a request like any other.
"""

from __future__ import annotations

import random
import select
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from netd.accept.early_drop import drops_early
from netd.accept.first_bytes import FirstBytes, NotAdmitted
from netd.accept.pending import CROWDED, LAST_CALL, TIMED_OUT
from netd.core.deadlines import Deadlines
from netd.core.reactor import Reactor
from netd.core.shutting_down import shut_down
from netd.execution.blocking_tls import Handshakes, TlsSocket, failure_text
from netd.execution.interfaces import Source
from netd.execution.request import Refused, Request

HANDSHAKE: Final = "handshake"

STANDING_STILL: Final = 8
"""Handshakes of a process with one client at a time that are not there by accident."""


class WaitsToWrite(BlockingIOError):
    """The handshake goes on when the client takes what it is sent."""


class Beginning:
    """One connection on its way to its handler. One thread at a time goes on with it.

    *arrival* is what it begins with; *refuses* is asked when that has said who the client is, and
    *handshakes* does what TLS begins with.
    """

    __slots__ = (
        "_arrival",
        "_handshakes",
        "_has_arrived",
        "_refuses",
        "ended_by",
        "request",
        "socket",
    )

    def __init__(
        self,
        request: Request,
        arrival: FirstBytes,
        refuses: Callable[[Request], str | None],
        handshakes: Handshakes | None,
    ) -> None:
        self.request = request
        self.socket: socket.socket = request.raw
        self._arrival = arrival
        self._has_arrived = False
        self._refuses = refuses
        self._handshakes = handshakes
        self.ended_by: str | None = None
        """Why nobody waits for it any more."""

    @property
    def since(self) -> float:
        """When it was taken (CLOCK_MONOTONIC)."""
        return self._arrival.since

    def fileno(self) -> int:
        """The descriptor that is waited for; -1 when it is closed."""
        return self.socket.fileno()

    def go_on(self) -> Request:
        """Go on as far as what the client has sent leads, and return the request that comes of it.

        Raises BlockingIOError when there is more to wait for, and Refused.
        """
        if self.ended_by is not None:
            raise self.refused(self.ended_by)
        if not self._has_arrived:
            self._arrive()
        if self._handshakes is not None:
            self._shake_hands(self._handshakes)
        if self.ended_by is not None:  # meanwhile
            raise self.refused(self.ended_by)
        # As accept() leaves it.
        self.socket.settimeout(socket.getdefaulttimeout())
        return self.request

    def refused(self, reason: str, detail: str = "") -> Refused:
        """That it does not come to be served, and why."""
        if self.ended_by is not None:
            reason, detail = self.ended_by, ""
        return Refused(self.request, reason, detail, self._arrival.since)

    def hang_up(self, why: str) -> None:
        """Wait for it no more: whoever goes on with it next is told so. Any thread."""
        self.ended_by = why
        shut_down(self.socket)

    def _arrive(self) -> None:
        arrival = self._arrival
        try:
            if not arrival.advance():
                raise BlockingIOError
        except NotAdmitted as error:
            raise self.refused(error.reason, error.detail) from None
        self._has_arrived = True
        if arrival.is_proxied:
            # Whose credentials the kernel knows is the proxy.
            self.request = self.request._replace(
                client_address=arrival.client_address, client=arrival.client, peer=None
            )
        if arrival.header is not None:
            reason = self._refuses(self.request)
            if reason is not None:
                raise self.refused(reason)

    def _shake_hands(self, handshakes: Handshakes) -> None:
        try:
            if not isinstance(self.socket, TlsSocket):
                self.socket = handshakes.begin(self.socket)
                self.request = self.request._replace(raw=self.socket)
                if self.ended_by is not None:
                    # While the socket changed: the one that was shut down may have been empty.
                    raise self.refused(self.ended_by)
            certificate = handshakes.go_on(self.socket)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLWantWriteError:
            raise WaitsToWrite from None
        except (OSError, ValueError) as error:  # ValueError: of a certificate that cannot be read
            raise self.refused(HANDSHAKE, failure_text(error)) from None
        if certificate is not None:
            self.request = self.request._replace(certificate=certificate)


class Beginnings:
    """Those of one service that are waited for: at most *most*, each for *seconds*. Any thread.

    From half of that on, a new one may take the place of the one that has been waited for longest,
    by chance (``early_drop``). Who means it has begun within a round trip, so a flood of silent
    connections puts out itself.
    """

    def __init__(
        self,
        most: int,
        seconds: float,
        reactor: Reactor,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._reactor = reactor
        self._chance = chance
        self._deadlines = Deadlines(reactor)
        self._lock = threading.Lock()
        self._open: OrderedDict[Beginning, None] = OrderedDict()
        """Who came first is first, and found at once."""
        self._leaving: set[Beginning] = set()
        """Those that are hung up, and closed as soon as a thread is free for it."""
        self._empty: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._open) + len(self._leaving)

    def make_room(self) -> bool:
        """See that the next client can wait, too; False where that is impossible."""
        with self._lock:
            if not drops_early(len(self._open), self._most, self._chance()):
                return True
            if not self._open or len(self._leaving) >= self._most:
                return False
            longest, _ = self._open.popitem(last=False)
            self._leaving.add(longest)
        longest.hang_up(CROWDED)
        return True

    def seconds_left(self, since: float) -> float:
        """How long one is still waited for that was taken at *since*; negative: no more."""
        return since + self._seconds - time.monotonic()

    def add(self, beginning: Beginning) -> None:
        """It is waited for, from now on."""
        with self._lock:
            self._open[beginning] = None
        left = max(0.0, self.seconds_left(beginning.since))
        self._deadlines.set(beginning, left, partial(beginning.hang_up, TIMED_OUT))

    def remove(self, beginning: Beginning) -> None:
        """It has begun, or never will."""
        self._deadlines.met(beginning)
        with self._lock:
            self._open.pop(beginning, None)
            self._leaving.discard(beginning)
            empty = self._empty if not len(self) else None
            if empty is not None:
                self._empty = None
        if empty is not None:
            self._reactor.callFromThread(empty)

    # The reactor's thread.

    def when_empty(self, call: Callable[[], None]) -> None:
        """Call here, once, when nobody is waited for any more, which is seen to.

        Nobody else is taken meanwhile.
        """
        with self._lock:
            is_empty = not len(self)
            if not is_empty:
                self._empty = call
            waiting = list(self._open)
        if is_empty:
            call()
        for beginning in waiting:
            seconds = min(self._seconds, LAST_CALL)
            self._deadlines.set(beginning, seconds, partial(beginning.hang_up, TIMED_OUT))


class Lists(Protocol):
    """Who is asked about a client as soon as it is known who that is."""

    def refuses_early(self, request: Request) -> str | None:
        """The reason word, or None."""


class HandshakeSource:
    """A source whose connections begin by something else than a request.

    What it takes from *source* is a ``Beginning``, which whoever takes it waits for, as one of
    *waiting*; or, where nothing comes first, a request. *is_proxy* says of a peer whether it has to
    send a header; *handshakes* does what TLS begins with. Each is waited for here first, for
    *patience* seconds; less when others have come to a stand in their handshakes, until it is not
    waited here at all when STANDING_STILL have, so that these cannot take the time of the rest.
    """

    def __init__(
        self,
        source: Source,
        waiting: Beginnings,
        lists: Lists,
        is_proxy: Callable[[Request], bool] | None,
        handshakes: Handshakes | None,
        patience: float = 0.0,
    ) -> None:
        self.transport = source.transport
        self.fileno = source.fileno
        self.waiting = waiting
        self._take = source.take
        self._refuses = lists.refuses_early
        self._is_proxy = is_proxy
        self._handshakes = handshakes
        self._patience = patience
        # So that the thread counts as busy meanwhile, and others are started where all are.
        self.may_block = patience > 0

    def take(self) -> Request | Beginning:
        """Take one connection. Raises as every source does, and Refused."""
        request: Request = self._take()
        is_proxied = self._is_proxy is not None and self._is_proxy(request)
        if not is_proxied and self._handshakes is None:
            return request
        since = time.monotonic() if request.since is None else request.since
        if self.waiting.seconds_left(since) < 0:  # in the queue
            raise Refused(request, TIMED_OUT, "", since)
        if not self.waiting.make_room():
            raise Refused(request, CROWDED)
        if not is_proxied:
            reason = self._refuses(request)
            if reason is not None:
                raise Refused(request, reason)
        request.raw.setblocking(False)
        arrival = FirstBytes(
            request.raw,
            request.client_address,
            request.client,
            since,
            awaits_header=is_proxied,
            awaits_byte=self._handshakes is not None,
        )
        beginning = Beginning(request, arrival, self._refuses, self._handshakes)
        return self._begun(beginning) if self.may_block else beginning

    def _begun(self, beginning: Beginning) -> Request | Beginning:
        """Wait for a short while for what it takes to begin. Raises Refused."""
        share = max(0.0, 1 - len(self.waiting) / STANDING_STILL)
        until = time.monotonic() + self._patience * share
        poll = select.poll()
        while True:
            try:
                return beginning.go_on()
            except BlockingIOError as error:
                to_write = isinstance(error, WaitsToWrite)
            poll.register(beginning.fileno(), select.POLLOUT if to_write else select.POLLIN)
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return beginning
