"""A worker's view of the listeners it inherits from the daemon."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import DatagramRequestHandler
from typing import Any, Final

from netd.listening.ancillary import SPACE
from netd.listening.replies import Allowance, Sender, answer, sender, tells_destinations
from netd.proxy.datagrams import Proxied, unwrapped
from netd.proxy.header import LONGEST, InvalidHeader

_FINISH: Final = DatagramRequestHandler.finish.__code__


_thread: Final = threading.local()


@contextmanager
def accepting() -> Iterator[None]:
    """Let this thread receive from listeners what is there, and never wait for a datagram.

    A process that was told of a datagram may find that another one has received it.
    """
    _thread.is_taking = True
    try:
        yield
    finally:
        _thread.is_taking = False


@contextmanager
def offering(connection: socket.socket, address: Any) -> Iterator[None]:
    """Let the next ``accept()`` of this thread on a listener return *connection*.

    It was taken before, for what comes first on it (TLS). Closed at the end, if nobody accepted.
    """
    _thread.offered = connection, address
    try:
        yield
    finally:
        offered, _thread.offered = _thread.offered, None
        if offered is not None:
            connection.close()


class TooLarge(Exception):
    """A datagram was longer than asked for; it has been received, and is gone."""

    def __init__(self, sender: Any, limit: int) -> None:
        super().__init__(sender, limit)
        self.sender = sender
        self.limit = limit


class NoHeader(Exception):
    """A datagram of a proxy had no header; it has been received, and is gone."""

    def __init__(self, sender: Any, reason: str) -> None:
        super().__init__(sender, reason)
        self.sender = sender
        self.reason = reason


class _Unchanging:
    """The methods of a socket that would change it for all processes, and here change nothing."""

    def bind(self, address: Any) -> None:
        """Change nothing: it is bound."""

    def listen(self, backlog: int = 0) -> None:
        """Change nothing."""

    def setblocking(self, flag: bool) -> None:
        """Change nothing."""

    def settimeout(self, value: float | None) -> None:
        """Change nothing."""

    def shutdown(self, how: int) -> None:
        """Change nothing."""

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; in ``offering`` the one that is offered."""
        offered: tuple[socket.socket, Any] | None = getattr(_thread, "offered", None)
        if offered is None:
            accepted: tuple[socket.socket, Any] = super().accept()  # type: ignore[misc]
            return accepted
        _thread.offered = None
        return self._accepted(*offered)

    def _accepted(self, connection: socket.socket, address: Any) -> tuple[socket.socket, Any]:
        """What accepting makes of a connection."""
        if isinstance(self, ssl.SSLSocket):  # as its own accept() does
            settings: Any = self  # the type stubs know of none of these
            connection = self.context.wrap_socket(
                connection,
                server_side=True,
                do_handshake_on_connect=settings.do_handshake_on_connect,
                suppress_ragged_eofs=settings.suppress_ragged_eofs,
            )
        return connection, address


def unchanging(listener: socket.socket) -> socket.socket:
    """Make *listener*, which a user's code has wrapped (``ssl.SSLSocket``), like ListenerSocket."""
    kind = type(listener)
    if not issubclass(kind, _Unchanging):
        listener.__class__ = type(kind.__name__, (_Unchanging, kind), {})
    return listener


class ListenerSocket(_Unchanging, socket.socket):
    """A service's listener as its handlers see it: ``self.server.socket``.

    It is the daemon's kernel socket, shared by all processes of the service, and O_NONBLOCK
    belongs to the open file; so what would change the socket for everybody changes nothing. The
    descriptor is a copy of its own: closing it takes nothing away from netd.
    """

    is_proxy: Callable[[Any], bool] | None = None
    """Whether who sends a datagram has to begin it by the header of the PROXY protocol."""

    allowance_of: Callable[[bytes, str], Allowance] | None = None
    """How much may be answered to a datagram of a client; None where nothing bounds that."""

    @classmethod
    def copy_of(cls, listener: socket.socket) -> ListenerSocket:
        """Return a copy of *listener*, which the caller closes."""
        # A socket object for whose type SOCK_NONBLOCK is claimed leaves O_NONBLOCK as it is; else
        # ``socket.setdefaulttimeout`` of a user's module would change it.
        kind = listener.type | socket.SOCK_NONBLOCK
        return cls(listener.family, kind, listener.proto, fileno=os.dup(listener.fileno()))

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        """Receive a datagram; in ``taking`` without waiting, and only a whole one.

        In ``taking`` that of a proxy comes without its header, and from its client. Raises TooLarge
        and NoHeader.
        """
        if not getattr(_thread, "is_taking", False):
            return super().recvfrom(size, flags)
        size_here = size + (1 if self.is_proxy is None else 1 + LONGEST)
        if tells_destinations(self) or self.allowance_of is not None:
            data, messages, _, address = self.recvmsg(
                size_here, SPACE, flags | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
            allowance = None
            if self.allowance_of is not None:
                allowance = self.allowance_of(data, f"{address[0]}:{address[1]}")
            address = sender(address, messages, allowance)
        else:
            data, address = super().recvfrom(size_here, flags | socket.MSG_DONTWAIT)
        if self.is_proxy is not None and self.is_proxy(address):
            try:
                data, address = unwrapped(data, address)
            except InvalidHeader as error:
                raise NoHeader(address, str(error)) from None
        if len(data) > size:
            raise TooLarge(address, size)
        return data, address

    def sendto(self, data: Any, *where: Any) -> int:
        """Send a datagram; but not the empty one of a handler that wrote nothing.

        ``DatagramRequestHandler.finish`` always sends what was written to ``wfile``, even
        nothing, which answers every stray packet with another one. A handler that means to send
        an empty datagram calls ``sendto`` itself.
        """
        if sys._getframe(1).f_code is _FINISH and not data:
            return 0
        to = where[-1]
        if isinstance(to, Proxied):
            to = to.proxy
            where = (*where[:-1], to)
        if isinstance(to, Sender):
            return answer(super(), data, sum(where[:-1]), to)
        return super().sendto(data, *where)
