"""Datagrams with what the system tells of them: where they came to, when, and by which way."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from netd.admission.peers import UCRED
from netd.execution.request import Request, TooLong
from netd.listening.ancillary import SPACE, Messages, close_descriptors, values
from netd.listening.replies import Allowance, sender
from netd.model.address import Transport, client_text
from netd.model.peer import Credentials, unix_client_text

_FLAGS: Final = int(socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
"""As a plain number, because joining flags takes as long as receiving."""


class InetDatagram:
    """Receives UDP packets of at most *limit* bytes."""

    may_block = False

    def __init__(
        self, listener: socket.socket, transport: Transport, shown: socket.socket, limit: int
    ) -> None:
        """*shown* is the socket that a handler gets beside the data."""
        self.transport = transport
        self.fileno = listener.fileno
        self._receive = listener.recvfrom
        self._shown = shown
        self._limit = limit
        self._text = client_text(transport)

    def next_request(self) -> Request:
        """Receive one packet."""
        # One byte more than the limit tells a long packet from one that just fits. (MSG_TRUNC
        # would tell its length, but recvfrom then returns memory that was never written.)
        data, address = self._receive(self._limit + 1, socket.MSG_DONTWAIT)
        client = self._text(address)
        if len(data) > self._limit:
            raise TooLong(client, self._limit)
        return Request((data, self._shown), address, client, None)


class UnixDatagram:
    """Receives packets sent to a Unix socket, with their sender's credentials (unix(7))."""

    transport = Transport.UNIXGRAM
    may_block = False
    space = socket.CMSG_SPACE(UCRED.size)
    """Bytes for what comes with a packet."""

    def __init__(self, listener: socket.socket, shown: socket.socket, limit: int) -> None:
        """*shown* is the socket that a handler gets beside the data."""
        self.fileno = listener.fileno
        self._receive = listener.recvmsg
        self._shown = shown
        self._limit = limit

    def next_request(self) -> Request:
        """Receive one packet."""
        data, ancillary, _flags, address = self._receive(
            self._limit + 1, self.space, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        )
        close_descriptors(ancillary)
        peer, client = None, "unix"
        for level, kind, body in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, uid, gid = UCRED.unpack(body[: UCRED.size])
                peer, client = Credentials(uid, gid), unix_client_text(uid, pid)
        if len(data) > self._limit:
            raise TooLong(client, self._limit)
        return Request(self.request(data, ancillary), address, client, peer)

    def request(self, data: bytes, messages: Messages) -> Any:
        """What a handler gets."""
        return data, self._shown


class Datagram(tuple[Any, ...]):
    """A request, ``(data, socket)``, with the *messages* that came with it."""

    messages: Messages


def datagram(data: bytes, shown: Any, messages: Messages) -> Datagram:
    """Make a request of a datagram."""
    made = Datagram((data, shown))
    made.messages = messages
    return made


def like(request: Any, data: bytes) -> Any:
    """The same *request* with other data."""
    if isinstance(request, Datagram):
        return datagram(data, request[1], request.messages)
    return data, request[1]


class Amplification:
    """How much may be answered to a datagram: *factor* bytes for each of its own.

    The log hears by *say* of answers that were not sent, once in a while.
    """

    INTERVAL: Final = 1.0
    """Seconds between two lines of the log: a flood of datagrams is to be no flood of lines."""

    def __init__(
        self,
        factor: float,
        say: Callable[[str, str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._factor = factor
        self._say = say
        self._monotonic = monotonic
        self._last = -self.INTERVAL
        self._unsaid = 0

    def of(self, data: bytes, client: str) -> Allowance:
        """What the answers to *data* may have, together."""
        size = len(data)
        return Allowance(self._factor * size, lambda more: self._over(client, size, more))

    def _over(self, client: str, asked: int, answered: int) -> None:
        self._unsaid += 1
        now = self._monotonic()
        if now - self._last < self.INTERVAL:
            return
        self._last, count, self._unsaid = now, self._unsaid, 0
        self._say(
            "warn",
            f"{count} answer(s) not sent, for amplification = {self._factor:g}: the last one of"
            f" {answered} bytes, to {client}, which had sent {asked}",
        )


class InetMessages:
    """Receives UDP packets of at most *limit* bytes, whose senders know which address they asked.

    A plain source takes a third of the time.
    """

    may_block = False

    def __init__(
        self,
        listener: socket.socket,
        transport: Transport,
        shown: socket.socket,
        limit: int,
        *,
        asked_for: bool,
        allowance_of: Callable[[bytes, str], Allowance] | None = None,
    ) -> None:
        """*shown* is the socket that a handler gets beside the data.

        *asked_for* says that the handler wants to know what came with it, too; *allowance_of*
        bounds the answers to what a client, named for people, has sent.
        """
        self._allowance_of = allowance_of
        self.transport = transport
        self.fileno = listener.fileno
        self._receive = listener.recvmsg
        self._shown = shown
        self._limit = limit
        self._asked_for = asked_for
        self._text = client_text(transport)

    def next_request(self) -> Request:
        """Receive one packet."""
        data, messages, _, address = self._receive(self._limit + 1, SPACE, _FLAGS)
        client = self._text(address)
        if len(data) > self._limit:
            raise TooLong(client, self._limit)
        shown = self._shown
        request = datagram(data, shown, messages) if self._asked_for else (data, shown)
        allowance_of = self._allowance_of
        allowance = None if allowance_of is None else allowance_of(data, client)
        return Request(request, sender(address, messages, allowance), client, None)


class UnixMessages(UnixDatagram):
    """Receives packets sent to a Unix socket, with all that came with them."""

    space = SPACE

    def request(self, data: bytes, messages: Messages) -> Any:
        """See ``UnixDatagram``."""
        return datagram(data, self._shown, messages)


# What handlers find.

NAME: Final = "ancillary"


def asks(kind: Any) -> bool:
    """Whether a handler class has an attribute ``ancillary``, be it only by an annotation."""
    for base in getattr(kind, "__mro__", ()):
        if NAME in vars(base) or NAME in getattr(base, "__annotations__", ()):
            return True
    return False


def made(make: Callable[..., Any], kind: Any, request: Any, address: Any, server: Any) -> Any:
    """Make a handler of the class *kind* by *make*, as ``socketserver`` does, with its attribute.

    It is set before the constructor runs, which calls ``handle``. *make* is *kind*, or gives it
    more arguments.
    """
    handler = kind.__new__(kind)
    if isinstance(request, tuple):  # a connection has no such thing
        setattr(handler, NAME, values(getattr(request, "messages", ())))
    keywords = getattr(make, "keywords", {})
    handler.__init__(request, address, server, **keywords)
    return handler


_asks: Final = lru_cache(64)(asks)
"""A process has a few classes of handlers, and asks about them again and again."""


def handle(kind: Any, request: Any, address: Any, server: Any) -> None:
    """Run a handler of the class *kind*, which a server has, as ``socketserver`` does."""
    if isinstance(request, tuple) and isinstance(kind, type) and _asks(kind):
        made(kind, kind, request, address, server)
    else:
        kind(request, address, server)
