"""Rules between the keys of a service, and between services. Pure.

Each rule yields the key that breaks it. ``service`` and ``load`` know where that key is written.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from netd.admission.lists import CERTIFICATE
from netd.config.document import TomlTable, dotted
from netd.config.positions import Path
from netd.config.schema import ONLY_BESIDE, AccessTable, ServiceTable
from netd.config.socket_options import inconsistencies
from netd.config.text import quoted
from netd.model.address import (
    ALL_ADDRESSES,
    Address,
    InetAddress,
    PassedAddress,
    Transport,
    UnixAddress,
)
from netd.model.environment import difference
from netd.model.service import Plugin, Program, Runs, Service
from netd.model.socket_options import V6ONLY, device_of, of_both_families
from netd.model.tls import Tls

RUN_KEYS: Final = ("handler", "server", "protocol", "program", "plugin")
"""The keys for what a service runs."""

Inconsistency = tuple[Path, str]
"""A key of the service, and what is wrong with it."""


def run_inconsistencies(own: TomlTable, merged: TomlTable) -> Iterator[Inconsistency]:
    """A service runs one thing, except that a server may have a handler beside it.

    *own* is the table of the service, *merged* that table with ``[defaults]`` under it.
    """
    named = [key for key in RUN_KEYS if key in merged]
    if not named:
        yield (RUN_KEYS[0],), f"is required: what it runs, {' or '.join(map(quoted, RUN_KEYS))}"
    elif len(named) > 1 and set(named) != {"handler", "server"}:
        yield (
            (named[-1],),
            f"stands beside {named[0]}, and a service runs one thing, or a server and its "
            "handler; make two services of them",
        )
    for key, needed in ONLY_BESIDE.items():
        if key in own and needed not in merged:
            yield (key,), f"has no effect without {needed}: leave it out"
    if "plugin" in merged and "listen" in own:
        yield ("listen",), "a plugin binds by itself: set the address in its arguments"
    elif "plugin" not in merged and "listen" not in merged:
        yield ("listen",), 'is required: where it listens, like ["tcp:10037"]'


def socket_inconsistencies(
    own: Collection[str], table: ServiceTable, listen: Sequence[Address]
) -> Iterator[Inconsistency]:
    """Each socket option must have an effect on one of the service's listeners.

    *own* names the options of the service's own table. Those of ``[defaults]`` are for many
    services, so each service uses what fits it.
    """
    # The family of a socket that systemd passes is only known when it does.
    transports = [address.transport for address in listen]
    if not all(transport.is_known for transport in transports):
        return
    if of_both_families(table.socket.values()) and V6ONLY in own and not _can_be_both(listen):
        text = "has no effect on one address, which has one family: leave out the interface"
        yield ("socket", V6ONLY), text
    by_itself = table.program is not None and table.wait
    for name, why in (
        inconsistencies(table.socket, transports, by_itself=by_itself) if listen else ()
    ):
        if name in own:
            yield ("socket", name), why


def _can_be_both(listen: Sequence[Address]) -> bool:
    """Whether an IPv6 listener can serve both families; true if there is no IPv6 listener."""
    of_ipv6 = [one for one in listen if one.transport.family == socket.AF_INET6]
    return not of_ipv6 or any(getattr(one, "host", "::") == "::" for one in of_ipv6)


def tls_inconsistencies(
    is_own: bool,
    tls: Tls | None,
    listen: Sequence[Address],
    runs: Runs | Program | Plugin | None,
) -> Iterator[Inconsistency]:
    """TLS needs a certificate, a listener for streams, and code that netd hands connections to.

    *is_own*: whether the service has a ``[tls]`` of its own. One in ``[defaults]`` need not fit all
    services.
    """
    with_tls = [str(address) for address in listen if address.is_tls]
    takes_itself = isinstance(runs, Program) and runs.wait
    if with_tls and tls is None:
        text = f"is required for {with_tls[0]}: the file of a certificate, or self_signed"
        yield ("tls", "certificate"), text
    if with_tls and takes_itself:
        text = (
            f"lets the program accept the clients of {with_tls[0]} itself, so netd cannot do their "
            "TLS handshake: leave it out, or listen without TLS"
        )
        yield ("wait",), text
    if tls is None or not is_own:
        return
    if isinstance(runs, Plugin):
        yield ("tls",), "a plugin binds by itself: set up TLS in its arguments"
    elif takes_itself and not with_tls:
        yield ("tls",), "a program with wait = true accepts its clients itself: leave it out"
    elif all(address.transport.is_datagram for address in listen):
        yield ("tls",), "is for streams, and the service listens for datagrams only: leave it out"


def certificate_inconsistencies(tls: Tls | None, access: AccessTable) -> Iterator[Inconsistency]:
    """An entry about certificates needs a handshake that asks clients for one."""
    if tls is not None and tls.client_certificate != "none":
        return
    for key in ("allow", "deny"):
        for number, entry in enumerate(getattr(access, key) or ()):
            if entry[0].startswith(CERTIFICATE):
                text = (
                    f"{quoted(entry[0])} matches no client, since none is asked for a "
                    'certificate: set client_certificate = "optional" or "required" in [tls]'
                )
                yield ("access", key, number), text


def inconsistencies_between(services: Iterable[Service]) -> Iterator[tuple[str, Path, str]]:
    """Yield the name of a service, its key and what conflicts with an earlier service."""
    services = list(services)
    yield from _in_workers(services)
    yield from _on_addresses(services)


def _in_workers(services: Iterable[Service]) -> Iterator[tuple[str, Path, str]]:
    """Services in one worker need the same user and the same environment."""
    first_of: dict[str, Service] = {}
    for service in services:
        first = first_of.setdefault(service.worker, service)
        other = difference(first.environment, service.environment)
        if first.owner != service.owner:
            other = "user or group"
        if other is not None:
            text = (
                f"shares worker {service.worker} with {dotted(('services', first.name))}, which "
                f"has another {other}: give both the same, or each a worker"
            )
            yield service.name, ("worker",), text


def _on_addresses(services: Iterable[Service]) -> Iterator[tuple[str, Path, str]]:
    """An address can be bound once."""
    owners: dict[object, Service] = {}
    for service in services:
        for number, address in enumerate(service.listen):
            claims = list(_claims(address, service))
            other = next((owners[claim] for claim in claims if claim in owners), None)
            if other is not None:
                name = dotted(("services", other.name))
                text = f"{address} is listened on by {name} already: take another"
                yield service.name, ("listen", number), text
            owners.update({claim: owners.get(claim, service) for claim in claims})


def _claims(address: Address, service: Service) -> Iterator[object]:
    """Yield what an address occupies: two with a claim in common cannot both be bound.

    Port 0 claims nothing, since the system picks a free port.
    """
    if isinstance(address, PassedAddress):
        yield Transport.SYSTEMD, address.name
    elif isinstance(address, UnixAddress):
        # An abstract name is one thing for streams and another for datagrams; a path is one file.
        yield (address.transport, address.path) if address.is_abstract else address.path
    elif isinstance(address, InetAddress) and address.port:
        kind, family = address.transport.type, address.transport.family
        device = device_of(service.socket)
        # Two sockets can have one port on different interfaces (SO_BINDTODEVICE).
        yield kind, family, address.host, address.port, device
        if family == socket.AF_INET6 and of_both_families(service.socket):
            yield kind, socket.AF_INET, ALL_ADDRESSES[socket.AF_INET], address.port, device
