"""Sockets that the service manager passes: LISTEN_FDS and its companions (sd_listen_fds(3)).

They are its own: it has bound them, goes on listening when netd has gone, and starts netd again for
whoever comes then. So netd neither re-binds nor shuts them down, and unlinks none of their paths.
"""

from __future__ import annotations

import os
import socket
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from netd.listening.binding import Listener, Listeners
from netd.model.address import Address, PassedAddress, Transport
from netd.model.service import Configuration, Service

FIRST: Final = 3
"""Where the passed descriptors begin (SD_LISTEN_FDS_START)."""

MOST: Final = 4096
"""Descriptors: more than a service manager passes, and fewer than would take long to look at."""

_PID, _COUNT, _NAMES = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"

_VARIABLES: Final = (_PID, "LISTEN_PIDFDID", _COUNT, _NAMES)


@dataclass(frozen=True)
class Passed:
    """What the service manager has passed."""

    listeners: Listeners
    refused: tuple[str, ...] = ()
    """What cannot be used, and why; it is closed already."""


def initial_environment() -> Mapping[str, str]:
    """What this process was started with (proc(5)); importing Twisted may take LISTEN_PID out."""
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = [os.fsdecode(pair).partition("=") for pair in file.read().split(b"\0")]
    except OSError:
        return {}
    return {name: value for name, _, value in pairs if name}


def received(
    environment: MutableMapping[str, str], initial: Mapping[str, str], pid: int, first: int = FIRST
) -> Passed:
    """Take over the sockets that were passed to process *pid*, which is this one.

    They are taken out of *environment*, so that nobody whom netd starts takes them for its own;
    *initial* is what the process was started with. The caller closes the listeners.
    """
    said = {name: environment.get(name, initial.get(name, "")) for name in _VARIABLES}
    if said[_PID] != str(pid) or not said[_COUNT].isdecimal():
        return Passed(Listeners())
    for name in _VARIABLES:
        environment.pop(name, None)
    count = min(int(said[_COUNT]), MOST)
    listeners, refused, seen = [], [], Counter[str]()
    for number, name in enumerate(_names(said[_NAMES], count)):
        why = _why_unusable(first + number)
        if why is None:
            listeners.append(_listener(first + number, name, seen[name]))
            seen[name] += 1
        else:
            refused.append(f"{name} {why}")
    return Passed(Listeners(listeners), tuple(refused))


def _names(text: str, count: int) -> list[str]:
    """A name for each socket; its number, where it has none."""
    names = text.split(":") if text else []
    return [
        names[number] if number < len(names) and names[number] else str(number)
        for number in range(count)
    ]


def _why_unusable(descriptor: int) -> str | None:
    """Why netd cannot listen on a descriptor, which is closed then; None if it can."""
    why = None
    try:
        os.set_inheritable(descriptor, False)
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            why = "is no socket"
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    if why is None:
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            why = _why_not_served(sock)
    if why is not None:
        os.close(descriptor)
    return why


def _why_not_served(sock: socket.socket) -> str | None:
    transport = _transport_of(sock)
    if transport is None:
        return f"is of a kind that netd does not serve (family {sock.family}, type {sock.type})"
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not transport.is_datagram and not listens:
        return "is a connection and no listener: take Accept=yes out of its socket unit"
    return None


def _transport_of(sock: socket.socket) -> Transport | None:
    """What a socket is, by what the kernel says of it."""
    kind = int(sock.family), sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    return next((one for one in _TRANSPORTS if (int(one.family), int(one.type)) == kind), None)


_TRANSPORTS: Final = (
    Transport.TCP,
    Transport.TCP6,
    Transport.UDP,
    Transport.UDP6,
    Transport.UNIX,
    Transport.UNIXGRAM,
)


def _listener(descriptor: int, name: str, number: int) -> Listener:
    undo = ExitStack()
    sock = undo.enter_context(socket.socket(fileno=descriptor))
    transport = _transport_of(sock)
    assert transport is not None
    return Listener(_NOBODY, number, PassedAddress(name, transport, number), sock, undo=undo)


_NOBODY: Final = ""
"""The service of a listener that is nobody's yet."""


def with_passed(configuration: Configuration, passed: Iterable[Listener]) -> Configuration:
    """*configuration* with what there is of each socket that it wants to be passed.

    A name stands for all sockets that have it. One that nobody has stays as it is.
    """
    known: dict[str, list[PassedAddress]] = {}
    for listener in passed:
        if isinstance(listener.address, PassedAddress):
            known.setdefault(listener.address.name, []).append(listener.address)
    services = tuple(
        replace(service, listen=tuple(_expanded(service, known)))
        for service in configuration.services
    )
    return replace(configuration, services=services)


def _expanded(service: Service, known: Mapping[str, list[PassedAddress]]) -> Iterator[Address]:
    for address in service.listen:
        if isinstance(address, PassedAddress) and address.name in known:
            for one in known[address.name]:
                yield replace(one, is_tls=address.is_tls)
        else:
            yield address
