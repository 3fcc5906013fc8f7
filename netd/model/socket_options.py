"""A socket option of a service: its value, the sockets that it is set on, and when it is set."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from netd.model.address import Transport


class Applied(StrEnum):
    """When an option is set; the value is for people.

    This is about streams. A datagram socket has no connections; all options are set on itself.
    """

    BEFORE_BIND = "before bind"
    """It cannot be changed later, or then has no effect."""
    ON_LISTENER = "on the listener"
    """Accepted TCP connections inherit it. On those of a Unix socket it is set, too."""
    ON_CONNECTION = "on each connection"
    """Accepted connections do not inherit it."""


Kind = tuple[int, int]
"""Family and type of a socket."""


@dataclass(frozen=True)
class SetOption:
    """An option and its value, ready for setsockopt(2). Two are equal if they set the same."""

    name: str
    level: int
    number: int
    values: tuple[int | bytes, ...]
    """One for each call, for example one for each group to join."""
    applied: Applied
    kinds: frozenset[Kind]
    """The sockets on which it has an effect."""
    fits_mapped: bool = False
    """Whether it has an effect on an IPv6 socket that also serves IPv4."""
    leaves: int | None = None
    """The option that reverts one of the values; None if a new value replaces the old one."""

    def fits(self, kind: Kind, *, of_both: bool) -> bool:
        """Whether it has an effect on such a socket; *of_both*: the socket serves both families."""
        return kind in self.kinds or (of_both and self.fits_mapped and kind[0] == socket.AF_INET6)


V6ONLY: Final = "IPV6_V6ONLY"


def of_both_families(options: Iterable[SetOption]) -> bool:
    """Whether IPv6 sockets with *options* also serve IPv4."""
    return any(one.name == V6ONLY and one.values == (0,) for one in options)


def device_of(options: Iterable[SetOption]) -> Hashable:
    """Return the interface that *options* bind a socket to; None for all."""
    return next(
        (one.values for one in options if one.name in ("SO_BINDTODEVICE", "SO_BINDTOIFINDEX")), None
    )


def fitting(options: Iterable[SetOption], transport: Transport) -> tuple[SetOption, ...]:
    """Return those of a service's *options* that have an effect on listeners of *transport*."""
    options = tuple(options)
    kind = (int(transport.family), int(transport.type))
    of_both = of_both_families(options)
    return tuple(one for one in options if one.fits(kind, of_both=of_both))


def of_connections(options: Iterable[SetOption], transport: Transport) -> tuple[SetOption, ...]:
    """Return those to set on each connection of a stream listener of *transport*."""
    if transport.is_datagram:
        return ()
    return tuple(
        one
        for one in fitting(options, transport)
        if one.applied is Applied.ON_CONNECTION or transport.is_unix
    )


def of_sockets(options: Iterable[SetOption], transport: Transport) -> tuple[SetOption, ...]:
    """Return those to set on the listening or datagram socket itself."""
    return tuple(
        one
        for one in fitting(options, transport)
        if transport.is_datagram or one.applied is not Applied.ON_CONNECTION
    )


def differences(old: Iterable[SetOption], new: Iterable[SetOption]) -> Iterator[str]:
    """Yield what a reload changes, in words."""
    before = {one.name: one for one in old}
    after = {one.name: one for one in new}
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) == after.get(name):
            continue
        one = after.get(name) or before[name]
        late = one.applied is Applied.BEFORE_BIND
        yield f"socket.{name}" + (" (on new listeners only)" if late else "")
