"""A socket option that a service sets: what, to which value, on which sockets, and when."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from netd.model.address import Transport


class Applied(StrEnum):
    """When an option is set; the value says it to people.

    That is about streams: a datagram socket has no connections, and gets all of its options itself.
    """

    BEFORE_BIND = "before bind"
    """It cannot be changed afterwards, or has no effect then."""
    ON_LISTENER = "on the listener"
    """Accepted TCP connections inherit it; to those of a Unix socket it is set, too."""
    ON_CONNECTION = "on each connection"
    """Accepted connections do not inherit it."""


Kind = tuple[int, int]
"""Family and type of a socket."""


@dataclass(frozen=True)
class SetOption:
    """An option and its value, ready for setsockopt(2). Equal where the same would be set."""

    name: str
    level: int
    number: int
    values: tuple[int | bytes, ...]
    """One for each call: a group to join, say."""
    applied: Applied
    kinds: frozenset[Kind]
    """The sockets that it means something to."""
    fits_mapped: bool = False
    """Whether it means something to an IPv6 socket that serves IPv4, too."""
    leaves: int | None = None
    """The option that takes one of the values back; None where another value replaces the first."""

    def fits(self, kind: Kind, *, of_both: bool) -> bool:
        """Whether it means something to such a socket; *of_both* is one of both families."""
        return kind in self.kinds or (of_both and self.fits_mapped and kind[0] == socket.AF_INET6)


V6ONLY: Final = "IPV6_V6ONLY"


def of_both_families(options: Iterable[SetOption]) -> bool:
    """Whether IPv6 sockets with *options* serve IPv4, too."""
    return any(one.name == V6ONLY and one.values == (0,) for one in options)


def device_of(options: Iterable[SetOption]) -> Hashable:
    """The one interface that sockets with *options* are for; None for all."""
    return next(
        (one.values for one in options if one.name in ("SO_BINDTODEVICE", "SO_BINDTOIFINDEX")), None
    )


def fitting(options: Iterable[SetOption], transport: Transport) -> tuple[SetOption, ...]:
    """Those of a service's *options* that mean something to its listeners of *transport*."""
    options = tuple(options)
    kind = (int(transport.family), int(transport.type))
    of_both = of_both_families(options)
    return tuple(one for one in options if one.fits(kind, of_both=of_both))


def of_connections(options: Iterable[SetOption], transport: Transport) -> tuple[SetOption, ...]:
    """Those that are set to each connection of a stream listener of *transport*."""
    if transport.is_datagram:
        return ()
    return tuple(
        one
        for one in fitting(options, transport)
        if one.applied is Applied.ON_CONNECTION or transport.is_unix
    )


def of_sockets(options: Iterable[SetOption], transport: Transport) -> tuple[SetOption, ...]:
    """Those that are set to the listening, or datagram, socket itself."""
    return tuple(
        one
        for one in fitting(options, transport)
        if transport.is_datagram or one.applied is not Applied.ON_CONNECTION
    )


def differences(old: Iterable[SetOption], new: Iterable[SetOption]) -> Iterator[str]:
    """What a reload changes, in words."""
    before = {one.name: one for one in old}
    after = {one.name: one for one in new}
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) == after.get(name):
            continue
        one = after.get(name) or before[name]
        late = one.applied is Applied.BEFORE_BIND
        yield f"socket.{name}" + (" (of listeners that are bound from now on)" if late else "")
