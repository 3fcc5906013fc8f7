"""Bound sockets as values, and the one owner that closes them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeAlias

from netd.listening.unix_path import unlink_if_same
from netd.model.address import (
    Address,
    InetSocketAddress,
    PassedAddress,
    Transport,
    UnixAddress,
    UnixSocketAddress,
)
from netd.model.service import Program, Service
from netd.model.socket_options import SetOption

# In the body of Listener, whose field has the same name, ``socket`` is not the module.
Socket: TypeAlias = socket.socket


class CannotBind(Exception):
    """A service cannot listen on one of its addresses; nothing of the same call stays bound."""

    def __init__(self, service: str, address: Address, reason: str) -> None:
        super().__init__(service, address, reason)
        self.service = service
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"services.{self.service}: cannot listen on {self.address}: {self.reason}"


@dataclass(frozen=True)
class AcceptQueue:
    """How connections wait at a stream socket until they are accepted."""

    backlog: int
    blocking: bool
    """Whether ``accept`` blocks. Only a program with ``wait`` accepts itself and expects that."""

    @classmethod
    def of(cls, service: Service) -> AcceptQueue:
        """What *service* asks for."""
        return cls(service.backlog, isinstance(service.runs, Program) and service.runs.wait)

    def apply(self, sock: Socket) -> None:
        """Set it on *sock*; connections that wait there stay. Raises OSError."""
        # O_NONBLOCK belongs to the open file, which every process shares. A datagram socket stays
        # blocking: programs block in recvmsg, and netd passes MSG_DONTWAIT.
        if sock.type == socket.SOCK_STREAM:
            sock.listen(self.backlog)
            sock.setblocking(self.blocking)


@dataclass(frozen=True)
class Listener:
    """A bound socket and what it is for. The ``Listeners`` that contains it closes it."""

    service: str
    index: int
    """The position of the address in the service's ``listen``."""
    address: Address
    """As configured: with port 0 for a free port."""
    socket: Socket
    queue: AcceptQueue | None = None
    """None if it is unknown, as it is after a handover."""
    inode: tuple[int, int] | None = None
    """Device and inode number of the path that netd made for it."""
    options: tuple[SetOption, ...] = ()
    """What has been set on the socket."""
    undo: ExitStack = field(compare=False, repr=False, default_factory=ExitStack)
    """Closes the socket, and unlinks its path."""

    @property
    def bound(self) -> str:
        """The address that was bound, for people: ``tcp6 [::1]:80``, ``unix /run/x``.

        Raises OSError (EBADF) if the socket is closed.
        """
        transport = self.address.transport
        if isinstance(self.address, UnixAddress):
            return f"{transport.value} {self.address.path}"
        name = self.socket.getsockname()
        return _unix_text(transport, name) if transport.is_unix else _inet_text(transport, name)

    @property
    def is_passed(self) -> bool:
        """Whether the service manager has bound it, and keeps it when netd has gone."""
        return isinstance(self.address, PassedAddress)


class Listeners:
    """Owns bound sockets, and the Unix paths that were made for them."""

    def __init__(
        self, listeners: Iterable[Listener] = (), restoring: ExitStack | None = None
    ) -> None:
        """*restoring* undoes what taking over sockets has changed on them."""
        self._listeners = tuple(listeners)
        self._restoring = restoring

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._listeners)

    def __len__(self) -> int:
        return len(self._listeners)

    def of(self, service: str) -> tuple[Listener, ...]:
        """The listeners of one service, in the order of its ``listen``."""
        return tuple(listener for listener in self._listeners if listener.service == service)

    def without(self, others: Listeners) -> Listeners:
        """The listeners whose sockets are not in *others*, for whichever service there."""
        # By the socket object: a socket that was taken over is in several Listener values.
        kept = {id(listener.socket) for listener in others}
        return Listeners(one for one in self if id(one.socket) not in kept)

    def own(self) -> Listeners:
        """The listeners that netd has bound itself."""
        return Listeners(one for one in self if not one.is_passed)

    def give_back(self, held: Listeners) -> None:
        """Close what is not in *held*, and restore the sockets that were taken over from it."""
        self.without(held).close()
        if self._restoring is not None:
            self._restoring.close()

    def hide(self) -> None:
        """Unlink the paths that still lead to these sockets, so that no new client finds them."""
        for listener in self._listeners:
            if listener.inode is not None and isinstance(listener.address, UnixAddress):
                unlink_if_same(listener.address.path, listener.inode)

    def close(self) -> None:
        """Close the sockets, and unlink the paths that still lead to them. Idempotent.

        A path stays if it leads to something else by now, or if netd may not unlink it.
        """
        for listener in reversed(self._listeners):
            listener.undo.close()


def _unix_text(transport: Transport, name: UnixSocketAddress) -> str:
    """The name of a Unix socket as a configuration has it (unix(7))."""
    text = f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else name
    return f"{transport.value} {text}"


def _inet_text(transport: Transport, name: InetSocketAddress) -> str:
    # getsockname leaves the scope out of the text; getnameinfo writes it: fe80::1%eth0.
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    host, port = socket.getnameinfo(name, flags)
    host = f"[{host}]" if ":" in host else host
    return f"{transport.value} {host}:{port}"
