"""Sockets that are bound already, for a service that may want them otherwise.

Each change has its reverse in *restoring*, so that a reload that fails leaves the sockets as the
running configuration needs them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

from netd.listening.listener import AcceptQueue, CannotBind, Listener
from netd.listening.matching import Requested
from netd.listening.options import apply as options
from netd.listening.replies import request_destinations
from netd.listening.unix_path import inode_of, set_owner_and_mode
from netd.model.address import PassedAddress, Transport, UnixAddress
from netd.model.socket_options import of_sockets


def take_over(wanted: Requested, there: Listener, restoring: ExitStack) -> Listener:
    """The socket of *there*, changed to what is *wanted*. Raises CannotBind."""
    address = wanted.address
    queue = AcceptQueue.of(wanted.service)
    set_options = of_sockets(wanted.service.socket, address.transport)
    try:
        if isinstance(address, PassedAddress):
            _prepare_passed(there, address, queue)
        elif queue != there.queue:
            restoring.callback(_restore_queue, there)
            queue.apply(there.socket)
        if isinstance(address, UnixAddress) and address != there.address and there.inode:
            _change_owner_and_mode(address, there.inode, restoring)
        held = options.change(there.socket, there.options, set_options, restoring.callback)
        request_destinations(there.socket, address.transport, set_options)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotBind(wanted.service.name, address, reason) from error
    return replace(
        there,
        service=wanted.service.name,
        index=wanted.index,
        address=address,
        queue=queue,
        options=held,
    )


def why_not_passed(held: Iterable[Listener]) -> str:
    """The message for a name of which the service manager has passed no socket."""
    names = {one.address.name: None for one in held if isinstance(one.address, PassedAddress)}
    passed = f"only {', '.join(names)}" if names else "and no other"
    return f"the service manager has passed no socket of that name, {passed}"


def _prepare_passed(there: Listener, address: PassedAddress, queue: AcceptQueue) -> None:
    """Prepare a socket of the service manager's. Its backlog is what the socket unit says.

    Raises OSError.
    """
    transport = address.transport
    if transport.is_datagram and address.is_tls:
        raise OSError(errno.EPROTOTYPE, f"tls=yes is for streams, and it is {transport.value}")
    if transport is Transport.UNIXGRAM:
        there.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    if not transport.is_datagram:
        there.socket.setblocking(queue.blocking)


def _restore_queue(listener: Listener) -> None:
    """Set the queue that the socket had. Raises nothing: the other changes must be undone, too."""
    if listener.queue is not None:
        with contextlib.suppress(OSError):
            listener.queue.apply(listener.socket)


def _change_owner_and_mode(
    address: UnixAddress, inode: tuple[int, int], restoring: ExitStack
) -> None:
    """Give a path another owner or mode."""
    status = os.lstat(address.path)
    if inode_of(status) != inode:
        raise OSError(errno.ESTALE, "another process has replaced the socket")
    before = replace(
        address, mode=stat.S_IMODE(status.st_mode), user=status.st_uid, group=status.st_gid
    )
    restoring.callback(_restore_owner_and_mode, before)
    set_owner_and_mode(address)


def _restore_owner_and_mode(address: UnixAddress) -> None:
    with contextlib.suppress(OSError):
        set_owner_and_mode(address)
