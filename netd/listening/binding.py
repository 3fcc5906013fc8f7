"""Bind the listening sockets of services ourselves: all of them, or none."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TypeVar

from netd.listening.options import apply as options
from netd.listening.replies import TELLING, tell_destinations
from netd.listening.unix_path import Socket, _bind_unix, _inode, _set_owner_and_mode, _unlink
from netd.model.address import Address, InetAddress, PassedAddress, Transport, UnixAddress
from netd.model.service import Program, Service
from netd.model.socket_options import SetOption, device_of, of_sockets


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
class Queue:
    """How clients wait at a stream socket."""

    backlog: int
    blocking: bool
    """Whether an accept waits for one: only that of a program that takes for itself expects to."""

    @classmethod
    def of(cls, service: Service) -> Queue:
        """What a service wants."""
        return cls(service.backlog, isinstance(service.runs, Program) and service.runs.wait)

    def apply(self, sock: Socket) -> None:
        """Let clients wait in this way; those who do already go on. Raises OSError."""
        # O_NONBLOCK belongs to the open file, which every process shares: datagram readers wait
        # in recvmsg or say MSG_DONTWAIT.
        if sock.type == socket.SOCK_STREAM:
            sock.listen(self.backlog)
            sock.setblocking(self.blocking)


@dataclass(frozen=True)
class Listener:
    """A bound socket and what it is for; the ``Listeners`` that it is in close it."""

    service: str
    index: int
    """The place of the address in the service's ``listen``."""
    address: Address
    """As configured: with port 0 for a free port."""
    socket: Socket
    queue: Queue | None = None
    """None where that is not known."""
    inode: tuple[int, int] | None = None
    """Device and number of the path that was made for it."""
    options: tuple[SetOption, ...] = ()
    """What has been set on the socket."""
    undo: ExitStack = field(compare=False, repr=False, default_factory=ExitStack)
    """Closes the socket, and unlinks its path."""

    @property
    def bound(self) -> str:
        """The address that was bound, for people: ``tcp6 [::1]:80``, ``unix /run/x``.

        Raises:
            OSError: EBADF, the socket is closed.
        """
        transport = self.address.transport
        if isinstance(self.address, UnixAddress):
            return f"{transport.value} {self.address.path}"
        where = self.socket.getsockname()
        if not transport.is_unix:
            return _inet_text(transport, where)
        return f"{transport.value} {_unix_text(where)}"

    @property
    def is_passed(self) -> bool:
        """Whether the service manager has bound it, and keeps it when netd has gone."""
        return isinstance(self.address, PassedAddress)


class Listeners:
    """Owns bound sockets, and the Unix paths that were made for them."""

    def __init__(
        self, listeners: Iterable[Listener] = (), restoring: ExitStack | None = None
    ) -> None:
        """*restoring* gives the sockets that were taken over back as they had been."""
        self._listeners = tuple(listeners)
        self._restoring = restoring

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._listeners)

    def __len__(self) -> int:
        return len(self._listeners)

    def of(self, service: str) -> tuple[Listener, ...]:
        """Those of one service, in the order of its ``listen``."""
        return tuple(listener for listener in self._listeners if listener.service == service)

    def without(self, others: Listeners) -> Listeners:
        """Those whose sockets are not among *others*, whatever service they are for there."""
        kept = {id(listener.socket) for listener in others}
        return Listeners(one for one in self if id(one.socket) not in kept)

    def own(self) -> Listeners:
        """Those that netd has bound."""
        return Listeners(one for one in self if not one.is_passed)

    def give_back(self, held: Listeners) -> None:
        """Close what is not among *held*, and let those be as they were."""
        self.without(held).close()
        if self._restoring is not None:
            self._restoring.close()

    def hide(self) -> None:
        """Unlink the paths that are still theirs: nobody finds the sockets any more."""
        for listener in self._listeners:
            if listener.inode is not None and isinstance(listener.address, UnixAddress):
                _unlink(listener.address.path, listener.inode)

    def close(self) -> None:
        """Close the sockets, and unlink those of their paths that are still theirs.

        A path that somebody else has replaced, or that may not be unlinked (any more), stays.
        Closing again does nothing.
        """
        for listener in reversed(self._listeners):
            listener.undo.close()


def bind_all(services: Iterable[Service], held: Iterable[Listener] = ()) -> Listeners:
    """Bind every address of *services*, in order; the caller closes what it is given.

    An address that one of *held* is bound to is taken over with its socket, so that nobody who is
    waiting there is lost; ``Listeners.give_back`` undoes that. Directories that are missing above
    a Unix path are made, and stay.

    Raises:
        CannotBind: one of them cannot be bound; those before it are closed and unlinked again,
            and those that are held stay as they are.
    """
    bound = []
    held = list(held)
    with ExitStack() as undo, ExitStack() as restoring:
        for wanted, there in _matched(list(_wanted(services)), held):
            if there is None and isinstance(wanted.address, PassedAddress):
                raise CannotBind(wanted.service, wanted.address, _not_passed(held))
            if there is None:
                bound.append(_bind(*wanted.what, undo))
            else:
                bound.append(_taken_over(*wanted.what, there, restoring))
        undo.pop_all()
        return Listeners(bound, restoring.pop_all())


@dataclass(frozen=True)
class _Requested:
    """An address that a service wants."""

    service: str
    address: Address
    device: Hashable
    what: tuple[Service, int, Address]


def _matched(
    wanted: Sequence[_Requested], held: Iterable[Listener]
) -> Iterator[tuple[_Requested, Listener | None]]:
    """Each that is wanted, with the listener that is there already.

    Several may have the same address, each for an interface: one for the same interface is the
    first choice, and one for another better than to fail beside it.
    """
    there: dict[Hashable, list[Listener]] = {}
    for listener, key in _keyed(held):
        there.setdefault(key, []).append(listener)
    found: dict[int, Listener] = {}
    keyed = list(_keyed(wanted))
    for is_same in (lambda one, other: device_of(one.options) == other.device, lambda *_: True):
        for number, (want, key) in enumerate(keyed):
            fit = [one for one in there.get(key, ()) if is_same(one, want)]
            if number not in found and fit:
                found[number] = fit[0]
                there[key].remove(fit[0])
    return ((want, found.get(number)) for number, want in enumerate(wanted))


def _wanted(services: Iterable[Service]) -> Iterator[_Requested]:
    for service in services:
        for index, address in enumerate(service.listen):
            device = device_of(of_sockets(service.socket, address.transport))
            yield _Requested(service.name, address, device, (service, index, address))


_Addressed = TypeVar("_Addressed", _Requested, Listener)


def _keyed(listeners: Iterable[_Addressed]) -> Iterator[tuple[_Addressed, Hashable]]:
    """What is the same for an address before and after a change of its mode, owner or service.

    A free port is the service's own: its first stays its first.
    """
    free: Counter[Hashable] = Counter()
    for listener in listeners:
        address = listener.address
        # TLS is what is done with connections: the socket is the same with and without.
        socket_is = (address.transport.family, address.transport.type)
        if isinstance(address, PassedAddress):
            yield listener, (Transport.SYSTEMD, address.name, address.number)
        elif isinstance(address, UnixAddress):
            yield listener, (socket_is, address.path)
        elif address.port:
            yield listener, (socket_is, address.host, address.port)
        else:
            kind: tuple[Hashable, ...] = (listener.service, socket_is, address.host)
            free[kind] += 1
            yield listener, (*kind, free[kind], "free")


def _bind(service: Service, index: int, address: Address, outer: ExitStack) -> Listener:
    transport = address.transport
    queue = Queue.of(service)
    inode = None
    wanted = of_sockets(service.socket, transport)
    undo = outer.enter_context(ExitStack())
    try:
        sock = undo.enter_context(socket.socket(transport.family, transport.type))
        if service.reuse_port and not transport.is_unix:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _set_as_usual(sock, transport)
        options.apply(sock, wanted)
        if isinstance(address, InetAddress):
            _bind_inet(sock, address)
        elif isinstance(address, UnixAddress):
            inode = _bind_unix(sock, address, undo)
        queue.apply(sock)
        _tell_destinations(sock, transport, wanted)
    except OSError as error:
        raise CannotBind(service.name, address, error.strerror or str(error)) from error
    return Listener(service.name, index, address, sock, queue, inode, wanted, undo)


def _tell_destinations(sock: Socket, transport: Transport, wanted: Iterable[SetOption]) -> None:
    """Let answers leave from where they were asked for, unless the service's options say no."""
    if all(one.number != TELLING[sock.family].number for one in wanted if sock.family in TELLING):
        tell_destinations(sock, transport)


def _set_as_usual(sock: Socket, transport: Transport) -> None:
    """Set what every listener has that is not told otherwise."""
    if transport is Transport.UNIXGRAM:
        # Before bind, so that the credentials of the first datagram are there, too (unix(7)).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    elif not transport.is_unix:
        # Not for datagrams: there a second socket would take the packets of the first (socket(7)).
        if not transport.is_datagram:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if transport.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def _taken_over(
    service: Service, index: int, address: Address, there: Listener, restoring: ExitStack
) -> Listener:
    """The same socket, for a service that may want other things of it."""
    queue = Queue.of(service)
    try:
        if isinstance(address, PassedAddress):
            _prepare_passed(there, address, queue)
        elif queue != there.queue:
            restoring.callback(_queue_again, there)
            queue.apply(there.socket)
        if isinstance(address, UnixAddress) and address != there.address and there.inode:
            _own(address, there.inode, restoring)
        wanted = of_sockets(service.socket, address.transport)
        held = options.change(there.socket, there.options, wanted, restoring.callback)
        _tell_destinations(there.socket, address.transport, wanted)
    except OSError as error:
        raise CannotBind(service.name, address, error.strerror or str(error)) from error
    return replace(
        there,
        service=service.name,
        index=index,
        address=address,
        queue=queue,
        options=held,
    )


def _not_passed(held: Iterable[Listener]) -> str:
    """Why there is no socket that the service manager was to pass."""
    names = {one.address.name: None for one in held if isinstance(one.address, PassedAddress)}
    passed = f"only {', '.join(names)}" if names else "and no other"
    return f"the service manager has passed no socket of that name, {passed}"


def _prepare_passed(there: Listener, address: PassedAddress, queue: Queue) -> None:
    """Let a socket of the service manager's be taken from; its queue is as that has it.

    Raises OSError.
    """
    transport = address.transport
    if transport.is_datagram and address.is_tls:
        raise OSError(errno.EPROTOTYPE, f"tls=yes is for streams, and it is {transport.value}")
    if transport is Transport.UNIXGRAM:
        there.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    if not transport.is_datagram:
        there.socket.setblocking(queue.blocking)


def _queue_again(listener: Listener) -> None:
    """Let clients wait at a socket as it is said of it. Raises nothing."""
    if listener.queue is not None:
        with contextlib.suppress(OSError):
            listener.queue.apply(listener.socket)


def _own(address: UnixAddress, inode: tuple[int, int], restoring: ExitStack) -> None:
    """Give a path another owner or mode, and *restoring* what gives them back."""
    status = os.lstat(address.path)
    if _inode(status) != inode:
        raise OSError(errno.ESTALE, "somebody has replaced the socket")
    before = replace(
        address, mode=stat.S_IMODE(status.st_mode), user=status.st_uid, group=status.st_gid
    )
    restoring.callback(_owned_again, before)
    _set_owner_and_mode(address)


def _owned_again(address: UnixAddress) -> None:
    with contextlib.suppress(OSError):
        _set_owner_and_mode(address)


def _bind_inet(sock: Socket, address: InetAddress) -> None:
    if address.transport.family != socket.AF_INET6:
        sock.bind((address.host, address.port))
        return
    # socket.bind takes the scope from the fourth item only, and forgets one in the text.
    host, _, zone = address.host.partition("%")
    sock.bind((host, address.port, 0, _scope_id(zone)))


def _scope_id(zone: str) -> int:
    if not zone or zone.isdecimal():
        return int(zone or 0)
    try:
        return socket.if_nametoindex(zone)
    except OSError:  # which carries no errno
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None


def _unix_text(name: str | bytes) -> str:
    """The name of a Unix socket as a configuration has it (unix(7))."""
    return f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else name


def _inet_text(transport: Transport, name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    # getsockname leaves the scope out of the text; getnameinfo writes it: fe80::1%eth0.
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    host, port = socket.getnameinfo(name, flags)
    host = f"[{host}]" if ":" in host else host
    return f"{transport.value} {host}:{port}"
