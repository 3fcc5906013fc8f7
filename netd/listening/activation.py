"""Sockets that the service manager passes: LISTEN_FDS and its companions (sd_listen_fds(3)).

The service manager owns them: it has bound them, keeps them when netd ends, and starts netd again
for the next client. So netd neither binds them again nor shuts them down, and unlinks no path of
theirs.
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

from netd.listening.listener import Listener, Listeners
from netd.model.address import Address, PassedAddress, Transport
from netd.model.service import Configuration, Service

FIRST: Final = 3
"""The first passed descriptor (SD_LISTEN_FDS_START)."""

MOST: Final = 4096
"""The most descriptors that are looked at, so that a wrong LISTEN_FDS does not delay the start."""

_PID, _COUNT, _NAMES = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"

_VARIABLES: Final = (_PID, "LISTEN_PIDFDID", _COUNT, _NAMES)


@dataclass(frozen=True)
class Passed:
    """What the service manager has passed."""

    listeners: Listeners
    refused: tuple[str, ...] = ()
    """What cannot be used, and why. It is closed already."""


def initial_environment() -> Mapping[str, str]:
    """The environment that this process was started with (proc(5)).

    ``os.environ`` is not enough: importing Twisted may remove LISTEN_PID from it.
    """
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

    Their variables are removed from *environment*, so that no process that netd starts believes
    that they are its own. *initial* is the environment at the start of the process. The caller
    closes the listeners.
    """
    variables = {name: environment.get(name, initial.get(name, "")) for name in _VARIABLES}
    # Another PID: they were meant for a process that has started this one.
    if variables[_PID] != str(pid) or not variables[_COUNT].isdecimal():
        return Passed(Listeners())
    # Only here: variables for another process stay for that process.
    for name in _VARIABLES:
        environment.pop(name, None)
    count = min(int(variables[_COUNT]), MOST)
    listeners, refused, seen = [], [], Counter[str]()
    for number, name in enumerate(_names(variables[_NAMES], count)):
        why = _why_unusable(first + number)
        if why is None:
            listeners.append(_listener(first + number, name, seen[name]))
            seen[name] += 1
        else:
            refused.append(f"{name} {why}")
    return Passed(Listeners(listeners), tuple(refused))


def _names(text: str, count: int) -> list[str]:
    """A name for each socket: its number, if it has no other."""
    names = text.split(":") if text else []
    return [
        names[number] if number < len(names) and names[number] else str(number)
        for number in range(count)
    ]


def _why_unusable(descriptor: int) -> str | None:
    """Why netd cannot listen on a descriptor, which is then closed; None if it can."""
    why = None
    try:
        # systemd passes them inheritable: every program of a handler would get them.
        os.set_inheritable(descriptor, False)
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            why = "is not a socket"
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    if why is None:
        # A duplicate, since the socket object closes its descriptor.
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
        return "is a connection and not a listener: remove Accept=yes from its socket unit"
    return None


def _transport_of(sock: socket.socket) -> Transport | None:
    """The transport of a socket, as the kernel reports it; None for another kind."""
    kind = int(sock.family), sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    return next((one for one in _TRANSPORTS if (int(one.family), int(one.type)) == kind), None)


# Without TLS, which is no property of a socket: the service's address says whether it is used.
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
    return Listener(_UNASSIGNED, number, PassedAddress(name, transport, number), sock, undo=undo)


_UNASSIGNED: Final = ""
"""The service of a listener that no service has taken over yet."""


def with_passed(configuration: Configuration, passed: Iterable[Listener]) -> Configuration:
    """Replace each ``systemd:`` address of *configuration* by the sockets that were passed.

    A name stands for all sockets of that name. An address without any stays as it is, and binding
    reports it.
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
