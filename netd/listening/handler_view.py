"""The listening socket as a user's code sees it in a worker.

All processes of a service share the kernel's socket. So a handler must not be able to change it for
the others, and must not block in it when another process was faster.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import DatagramRequestHandler
from typing import TYPE_CHECKING, Any, Final

from netd.listening.ancillary import SPACE
from netd.listening.replies import Allowance, Sender, answer, sender, tells_destinations
from netd.model.address import SocketAddress
from netd.proxy.datagrams import Proxied, unwrapped
from netd.proxy.header import LONGEST, InvalidHeader

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_FINISH: Final = DatagramRequestHandler.finish.__code__


class _PerThread(threading.local):
    """What the context managers below tell the sockets that their thread uses."""

    is_accepting = False
    offered: tuple[socket.socket, SocketAddress] | None = None


_thread: Final = _PerThread()


@contextmanager
def accepting() -> Iterator[None]:
    """In this block, ``recvfrom`` of this thread never blocks.

    Another process may have received the datagram that this one was woken up for.
    """
    _thread.is_accepting = True
    try:
        yield
    finally:
        _thread.is_accepting = False


@contextmanager
def offering(connection: socket.socket, address: SocketAddress) -> Iterator[None]:
    """In this block, the next ``accept()`` of this thread on a listener returns *connection*.

    netd has accepted it before, for its first bytes. It is closed at the end if nothing accepts it.
    """
    _thread.offered = connection, address
    try:
        yield
    finally:
        offered, _thread.offered = _thread.offered, None
        if offered is not None:
            connection.close()


class TooLarge(Exception):
    """A datagram was longer than the buffer. It has been received, and is lost."""

    def __init__(self, sender: SocketAddress, limit: int) -> None:
        super().__init__(sender, limit)
        self.sender = sender
        self.limit = limit


class NoHeader(Exception):
    """A datagram of a proxy had no valid header. It has been received, and is lost."""

    def __init__(self, sender: SocketAddress, reason: str) -> None:
        super().__init__(sender, reason)
        self.sender = sender
        self.reason = reason


class _Unchanging:
    """A mix-in for sockets: the methods that would change the socket for all processes do nothing.

    They succeed instead of raising, because server classes call them as a matter of course
    (``server_bind``, ``server_activate``, ``shutdown``).
    """

    def bind(self, address: object) -> None:
        """Do nothing: the socket is bound."""

    def listen(self, backlog: int = 0) -> None:
        """Do nothing: it would replace the configured backlog."""

    def setblocking(self, flag: bool) -> None:
        """Do nothing: O_NONBLOCK belongs to the open file."""

    def settimeout(self, value: float | None) -> None:
        """Do nothing: a timeout sets O_NONBLOCK."""

    def shutdown(self, how: int) -> None:
        """Do nothing: it would end the socket in every process."""

    def accept(self) -> tuple[socket.socket, SocketAddress]:
        """Accept a connection; in ``offering`` the offered one."""
        offered = _thread.offered
        if offered is None:
            accepted: tuple[socket.socket, SocketAddress] = super().accept()  # type: ignore[misc]
            return accepted
        _thread.offered = None
        return self._wrapped(*offered)

    def _wrapped(
        self, connection: socket.socket, address: SocketAddress
    ) -> tuple[socket.socket, SocketAddress]:
        """An offered connection in the form that the ``accept()`` of this class would return."""
        if isinstance(self, ssl.SSLSocket):  # the same as SSLSocket.accept does
            settings: Any = self  # the type stubs lack these attributes
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
        # By its class, since the user's code may already hold references to the object.
        listener.__class__ = type(kind.__name__, (_Unchanging, kind), {})
    return listener


class ListenerSocket(_Unchanging, socket.socket):
    """A service's listener as its handlers see it: ``self.server.socket``.

    It is the daemon's kernel socket, so whatever would change it for other processes does nothing.
    Its descriptor is a duplicate: netd's own stays open when a handler closes this one.
    """

    is_proxy: Callable[[SocketAddress], bool] | None = None
    """Whether datagrams from an address must begin with a header of the PROXY protocol."""

    allowance_of: Callable[[bytes, str], Allowance] | None = None
    """The allowance for answers to a datagram of a client; None if nothing bounds them."""

    @classmethod
    def copy_of(cls, listener: socket.socket) -> ListenerSocket:
        """Return a duplicate of *listener*, which the caller closes."""
        # The constructor sets O_NONBLOCK if ``socket.setdefaulttimeout`` was called, as a user's
        # module may have done. It leaves the flag alone if the type claims SOCK_NONBLOCK.
        kind = listener.type | socket.SOCK_NONBLOCK
        return cls(listener.family, kind, listener.proto, fileno=os.dup(listener.fileno()))

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, SocketAddress]:
        """Receive a datagram.

        In ``accepting`` it does not block, a datagram that a proxy passes on comes without its
        header and from its client, and TooLarge and NoHeader are raised.
        """
        if not _thread.is_accepting:
            return super().recvfrom(size, flags)
        # One byte more than asked for tells a datagram of that size from a longer one. (The length
        # that MSG_TRUNC returns would come with memory that was never written.)
        room = size + (1 if self.is_proxy is None else 1 + LONGEST)
        address: SocketAddress
        if tells_destinations(self) or self.allowance_of is not None:
            data, messages, _, address = self.recvmsg(
                room, SPACE, flags | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
            allowance = None
            if self.allowance_of is not None and isinstance(address, tuple):
                allowance = self.allowance_of(data, f"{address[0]}:{address[1]}")
            address = sender(address, messages, allowance)
        else:
            data, address = super().recvfrom(room, flags | socket.MSG_DONTWAIT)
        if self.is_proxy is not None and self.is_proxy(address):
            try:
                data, address = unwrapped(data, address)
            except InvalidHeader as error:
                raise NoHeader(address, str(error)) from None
        # The header does not count: the bound is on what the handler gets.
        if len(data) > size:
            raise TooLarge(address, size)
        return data, address

    def sendto(self, data: ReadableBuffer, *where: Any) -> int:
        """Send a datagram, except the empty one of a handler that wrote nothing.

        ``DatagramRequestHandler.finish`` always sends the content of ``wfile``, even if it is
        empty, and so answers every stray packet. A handler that means to send an empty datagram
        calls ``sendto`` itself.
        """
        if sys._getframe(1).f_code is _FINISH and not data:
            return 0
        to = where[-1]
        # To the proxy first: a Proxied address may have come from a Sender.
        if isinstance(to, Proxied):
            to = to.proxy
            where = (*where[:-1], to)
        if isinstance(to, Sender):
            return answer(super(), data, sum(where[:-1]), to)
        return super().sendto(data, *where)
