"""Set the options of sockets, change them, and find out whether the system accepts them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from netd.listening.options.table import IMPOSSIBLE, OPTIONS, Level, Option
from netd.model.address import Transport
from netd.model.socket_options import Applied, SetOption, of_both_families

Undo = Callable[[Callable[[], None]], object]
"""Registers a function that undoes a change; the last one is called first."""

LONGEST: Final = 1024
"""The most bytes that Python's getsockopt returns."""

_DOUBLED: Final = ("SO_RCVBUF", "SO_SNDBUF")
"""Options whose value the kernel doubles: getsockopt returns twice what was set (socket(7))."""


def read(name: str, value: object) -> SetOption:
    """Read the *value* that a file has for the option *name* of the table.

    Raises ValueError with a message that says which values are valid.
    """
    return set_option(OPTIONS[name], OPTIONS[name].form.read(value))


def set_option(option: Option, values: tuple[int | bytes, ...]) -> SetOption:
    """An *option* with packed values."""
    return SetOption(
        option.name,
        option.level,
        option.number,
        values,
        option.applied,
        option.fit.kinds,
        option.fit.fits_mapped,
        option.leaves,
    )


def why_impossible(name: str) -> str | None:
    """Why a known option cannot be in a file; None for one that can, and for an unknown one."""
    return IMPOSSIBLE.get(name)


def here() -> list[Option]:
    """The options of the table that this system's kernel has."""
    return [option for option in OPTIONS.values() if _is_here(option)]


def _is_here(option: Option) -> bool:
    family, kind = min(option.fit.kinds)
    try:
        with socket.socket(family, kind) as tried:
            # 0 may be a wrong value, or need a right. Those errors mean that the option exists.
            tried.setsockopt(option.level, option.number, 0)
    except OSError as error:
        return error.errno not in (errno.ENOPROTOOPT, errno.EAFNOSUPPORT)
    return True


def in_order(options: Iterable[SetOption]) -> tuple[SetOption, ...]:
    """The order of setting: options before bind first, then the table's; joins before leaves."""
    # The table has each option that joins before the one that leaves the same groups.
    places = {name: place for place, name in enumerate(OPTIONS)}
    return tuple(
        sorted(
            options,
            key=lambda one: (one.applied is not Applied.BEFORE_BIND, places[one.name]),
        )
    )


class CannotSet(OSError):
    """The system refuses an option; *reason* is its text for why."""

    def __init__(self, option: str, error: OSError) -> None:
        reason: str
        reason = error.reason if isinstance(error, CannotSet) else error.strerror or str(error)
        super().__init__(error.errno, f"{option}: {reason}")
        self.option = option
        self.reason: str = reason


def apply(sock: socket.socket, options: Iterable[SetOption]) -> None:
    """Set *options*. Raises CannotSet; those before it stay set."""
    for option in options:
        for value in option.values:
            _set(sock, option, value)


def _set(sock: socket.socket, option: SetOption, value: int | bytes) -> None:
    try:
        sock.setsockopt(option.level, option.number, value)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and option.leaves is not None:
            return  # the socket is in the group already
        if error.errno == errno.EADDRNOTAVAIL and _is_leave(option):
            return  # the socket is not in the group
        raise CannotSet(option.name, error) from error


def _is_leave(option: SetOption) -> bool:
    return any(
        row.level == option.level and row.leaves == option.number for row in OPTIONS.values()
    )


def change(
    sock: socket.socket, old: tuple[SetOption, ...], new: tuple[SetOption, ...], undo: Undo
) -> tuple[SetOption, ...]:
    """Change a bound socket from the options *old* to *new*, and return which it has then.

    Options that must be set before bind stay as they are. An option that is not in *new* gets the
    value of a new socket. *undo* gets what restores the old state. Raises CannotSet.
    """
    before = {one.name: one for one in old}
    kept = []
    for option in new:
        was = before.pop(option.name, None)
        if was == option:
            kept.append(option)
        elif option.applied is Applied.BEFORE_BIND:
            # Binding again would lose connections; `netdctl plan` says that it needs a restart.
            kept += [was] if was is not None else []
        elif option.leaves is not None:
            _regroup(sock, option, was, undo)
            kept.append(option)
        else:
            _restore_later(sock, option, undo)
            apply(sock, [option])
            kept.append(option)
    for option in before.values():
        if option.applied is Applied.BEFORE_BIND:
            kept.append(option)
        elif option.leaves is not None:
            _regroup(sock, None, option, undo)
        else:
            _restore_later(sock, option, undo)
            _reset(sock, option)
    return in_order(kept)


def _regroup(sock: socket.socket, new: SetOption | None, old: SetOption | None, undo: Undo) -> None:
    """Join the groups of *new*, and leave those that only *old* has."""
    # Both have the same row of the table, and there is at least one.
    some = new or old
    assert some is not None
    assert some.leaves is not None
    joined = () if new is None else new.values
    left = () if old is None else tuple(one for one in old.values if one not in joined)
    leaves = some.leaves

    def leave(value: int | bytes) -> None:
        with suppress(OSError):  # not in the group, or the interface was removed
            sock.setsockopt(some.level, leaves, value)

    def join(value: int | bytes) -> None:
        with suppress(OSError):
            sock.setsockopt(some.level, some.number, value)

    # Joins first: if one fails, the socket has left no group.
    for value in joined:
        if old is None or value not in old.values:
            undo(lambda value=value: leave(value))  # type: ignore[misc]
            _set(sock, some, value)
    for value in left:
        undo(lambda value=value: join(value))  # type: ignore[misc]
        leave(value)


def _restore_later(sock: socket.socket, option: SetOption, undo: Undo) -> None:
    """Register with *undo* that the present value is set again, if it can be read."""
    with suppress(OSError):
        value = _value(sock, option)

        def restore() -> None:
            with suppress(OSError):
                sock.setsockopt(option.level, option.number, value)

        undo(restore)


def _value(sock: socket.socket, option: SetOption) -> int | bytes:
    """The present value, in the form for setsockopt. Raises OSError."""
    if not all(isinstance(value, int) for value in option.values):
        return sock.getsockopt(option.level, option.number, LONGEST)
    value = sock.getsockopt(option.level, option.number)
    return value // 2 if option.name in _DOUBLED else value


def _reset(sock: socket.socket, option: SetOption) -> None:
    """Set the value of a new socket. A value that cannot be read or set stays."""
    # The kernel has no call for the default, which the system's settings may have changed.
    with suppress(OSError), socket.socket(sock.family, sock.type) as fresh:
        sock.setsockopt(option.level, option.number, _value(fresh, option))


def try_out(transport: Transport, options: Iterable[SetOption]) -> Mapping[str, CannotSet]:
    """Set *options* on a socket that is bound to nothing; return the errors, by option."""
    options = tuple(options)
    found: dict[str, CannotSet] = {}
    try:
        tried = socket.socket(transport.family, transport.type)
    except OSError:  # no IPv6 here; bind reports that
        return found
    with tried:
        # As on the real socket, which is set up before its options are.
        if transport.family == socket.AF_INET6:
            only = not of_both_families(options)
            tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        for option in options:
            try:
                apply(tried, [_without_effect(option)])
            except CannotSet as error:
                found[option.name] = CannotSet(option.name, error)
    return found


def _without_effect(option: SetOption) -> SetOption:
    """An option with the same answer from the system, but without joining a multicast group.

    Joining sends a report that other machines see, which a check must not.
    """
    if option.leaves is None and not _is_leave(option):
        return option
    if option.level != Level.IPPROTO_IP:
        return replace(option, values=())
    probe = set_option(OPTIONS["IP_MULTICAST_IF"], ())
    return replace(probe, values=tuple(map(_interface_of, option.values)))


def _interface_of(value: int | bytes) -> bytes:
    """The interface of a group, as a value of IP_MULTICAST_IF."""
    assert isinstance(value, bytes)
    # struct ip_mreqn and ip_mreq_source begin with the group and the address of an interface.
    return bytes(4) + value[4:8] + bytes(4)
