"""Bind the listening sockets of services: all of them, or none.

netd binds itself, and not by ``reactor.listenTCP``: Twisted binds after twistd has forked and
closed stderr, shuts down every copy of a socket when a port stops, and listens again with a backlog
of 50 on a socket that it adopts.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from netd.listening.listener import AcceptQueue, CannotBind, Listener, Listeners
from netd.listening.matching import Requested, matched, requested
from netd.listening.options import apply as options
from netd.listening.replies import request_destinations
from netd.listening.takeover import take_over, why_not_passed
from netd.listening.unix_path import bind_unix
from netd.model.address import InetAddress, PassedAddress, Transport, UnixAddress
from netd.model.service import Service
from netd.model.socket_options import of_sockets


def bind_all(services: Iterable[Service], held: Iterable[Listener] = ()) -> Listeners:
    """Bind every address of *services*, in order; the caller closes the result.

    An address that one of *held* is bound to is taken over with its socket, so that no connection
    in its queue is lost; ``Listeners.give_back`` undoes that. Missing directories above a Unix
    path are made, and stay.

    Raises:
        CannotBind: one of them cannot be bound. Those bound before it are closed and unlinked
            again, and those of *held* are as they were.
    """
    bound = []
    held = list(held)
    # The exit stacks run if an address cannot be bound; otherwise their callbacks are passed on.
    with ExitStack() as undo, ExitStack() as restoring:
        for wanted, there in matched(list(requested(services)), held):
            if there is not None:
                bound.append(take_over(wanted, there, restoring))
            elif isinstance(wanted.address, PassedAddress):
                raise CannotBind(wanted.service.name, wanted.address, why_not_passed(held))
            else:
                bound.append(_bind(wanted, undo))
        undo.pop_all()
        return Listeners(bound, restoring.pop_all())


def _bind(wanted: Requested, outer: ExitStack) -> Listener:
    service, address, transport = wanted.service, wanted.address, wanted.address.transport
    queue = AcceptQueue.of(service)
    inode = None
    set_options = of_sockets(service.socket, transport)
    # A stack for each listener: a reload closes them one by one.
    undo = outer.enter_context(ExitStack())
    try:
        sock = undo.enter_context(socket.socket(transport.family, transport.type))
        if service.reuse_port and not transport.is_unix:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _set_defaults(sock, transport)
        # After the defaults, which the service's options override; before bind, which some need.
        options.apply(sock, set_options)
        if isinstance(address, InetAddress):
            _bind_inet(sock, address)
        elif isinstance(address, UnixAddress):
            inode = bind_unix(sock, address, undo)
        queue.apply(sock)
        request_destinations(sock, transport, set_options)
    except OSError as error:
        raise CannotBind(service.name, address, error.strerror or str(error)) from error
    return Listener(service.name, wanted.index, address, sock, queue, inode, set_options, undo)


def _set_defaults(sock: socket.socket, transport: Transport) -> None:
    """Set what every listener gets unless its service says otherwise."""
    if transport is Transport.UNIXGRAM:
        # Before bind, so that the first datagram comes with credentials, too (unix(7)).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    elif not transport.is_unix:
        # Not for datagrams: a second socket would receive the packets of the first (socket(7)).
        if not transport.is_datagram:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # "tcp:80" and "tcp6:80" are two listeners; without it the second could not be bound.
        if transport.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def _bind_inet(sock: socket.socket, address: InetAddress) -> None:
    if address.transport.family != socket.AF_INET6:
        sock.bind((address.host, address.port))
        return
    # socket.bind takes the scope from the fourth item only, and ignores one in the text.
    host, _, zone = address.host.partition("%")
    sock.bind((host, address.port, 0, _scope_id(zone)))


def _scope_id(zone: str) -> int:
    if not zone or zone.isdecimal():
        return int(zone or 0)
    try:
        return socket.if_nametoindex(zone)
    except OSError:  # it carries no errno
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None
