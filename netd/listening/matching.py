"""Which of the sockets that are held already serves which address that is requested. Pure.

A reload and an upgrade take sockets over instead of binding them again, since a connection in the
queue of a socket is lost when that is closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from netd.listening.listener import Listener
from netd.model.address import Address, PassedAddress, Transport, UnixAddress
from netd.model.service import Service
from netd.model.socket_options import device_of, of_sockets


@dataclass(frozen=True)
class Requested:
    """An address that a service is to listen on."""

    service: Service
    index: int
    """The position of the address in the service's ``listen``."""
    address: Address
    device: Hashable
    """The interface that the service's socket options name, if they do."""


def requested(services: Iterable[Service]) -> Iterator[Requested]:
    """Every address of *services*, in order."""
    for service in services:
        for index, address in enumerate(service.listen):
            device = device_of(of_sockets(service.socket, address.transport))
            yield Requested(service, index, address, device)


def matched(
    wanted: Sequence[Requested], held: Iterable[Listener]
) -> Iterator[tuple[Requested, Listener | None]]:
    """Each requested address, with the held listener that is bound to it.

    Several sockets can be bound to one address, each for an interface of its own. An address gets
    the socket for the same interface if there is one. Otherwise it gets one for another interface:
    binding beside that socket would fail.
    """
    there: dict[Hashable, list[Listener]] = {}
    for listener, key in _keyed((one, one.service, one.address) for one in held):
        there.setdefault(key, []).append(listener)
    found: dict[int, Listener] = {}
    keyed = list(_keyed((one, one.service.name, one.address) for one in wanted))
    # All exact matches first, or an inexact one could take the socket that another address matches.
    for needs_same_device in (True, False):
        for number, (want, key) in enumerate(keyed):
            fit = [
                one
                for one in there.get(key, ())
                if not needs_same_device or device_of(one.options) == want.device
            ]
            if number not in found and fit:
                found[number] = fit[0]
                there[key].remove(fit[0])
    return ((want, found.get(number)) for number, want in enumerate(wanted))


_T = TypeVar("_T")


def _keyed(items: Iterable[tuple[_T, str, Address]]) -> Iterator[tuple[_T, Hashable]]:
    """Each item with what identifies its socket, given its service's name and its address.

    Mode, owner and service are not part of that: they can be changed on the same socket. Free
    ports belong to their service: its first free port stays its first.
    """
    free: Counter[Hashable] = Counter()
    for item, service, address in items:
        # Not the transport: TLS concerns the connections, and the socket is the same without it.
        kind = (address.transport.family, address.transport.type)
        if isinstance(address, PassedAddress):
            yield item, (Transport.SYSTEMD, address.name, address.number)
        elif isinstance(address, UnixAddress):
            yield item, (kind, address.path)
        elif address.port:
            yield item, (kind, address.host, address.port)
        else:
            port: tuple[Hashable, ...] = (service, kind, address.host)
            free[port] += 1
            yield item, (*port, free[port], "free")
