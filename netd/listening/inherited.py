"""A worker's view of the listeners it inherits from the daemon."""

from __future__ import annotations

import os
import socket
import sys
from socketserver import DatagramRequestHandler
from typing import Any, Final

_FINISH: Final = DatagramRequestHandler.finish.__code__


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

    @classmethod
    def copy_of(cls, listener: socket.socket) -> ListenerSocket:
        """Return a copy of *listener*, which the caller closes."""
        # A socket object for whose type SOCK_NONBLOCK is claimed leaves O_NONBLOCK as it is; else
        # ``socket.setdefaulttimeout`` of a user's module would change it.
        kind = listener.type | socket.SOCK_NONBLOCK
        return cls(listener.family, kind, listener.proto, fileno=os.dup(listener.fileno()))

    def sendto(self, data: Any, *where: Any) -> int:
        """Send a datagram; but not the empty one of a handler that wrote nothing.

        ``DatagramRequestHandler.finish`` always sends what was written to ``wfile``, even
        nothing, which answers every stray packet with another one. A handler that means to send
        an empty datagram calls ``sendto`` itself.
        """
        if sys._getframe(1).f_code is _FINISH and not data:
            return 0
        return super().sendto(data, *where)
