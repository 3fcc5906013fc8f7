"""What comes next for a connection, decided in one place for every execution. Pure.

Threads, reactor, forks and daemon differ in how they wait and in what they serve with. Which step
follows which, and when a connection is refused, is the same for all and is said here. A new bound
on connections that are not served yet is a fact of ``State`` and a line of ``next_step``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from netd.accept.refusal import TIMED_OUT, Refusal
from netd.model.address import Address, Transport
from netd.model.service import Service


class Step(Enum):
    """What a connection needs before it is served."""

    HEADER = "await the PROXY header"
    FIRST_BYTE = "await the first byte of TLS"
    HANDSHAKE = "shake hands"
    SERVE = "serve"


AWAIT = frozenset({Step.HEADER, Step.FIRST_BYTE})
"""The steps for which a connection is watched. It needs no thread and no TLS session yet."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one connection."""

    awaits_header: bool = False
    """Its peer is a trusted proxy, and the header has not been read to its end."""
    awaits_first_byte: bool = False
    """TLS follows, and nothing of it has come."""
    awaits_handshake: bool = False
    """TLS follows."""
    ended_by: str | None = None
    """It was given up: its time was over, or it made room for another one."""
    is_overdue: bool = False
    """Its time was over before it was accepted here; the daemon had it until then."""
    refused_by_lists: str | None = None
    """What the lists say of the client, as far as it is known (``Gate.refuses_early``)."""


def next_step(state: State) -> Step | Refusal:
    """Say what comes next: the end before all else, then the lists, then what is awaited."""
    if state.ended_by is not None:
        return Refusal(state.ended_by)
    # Before the lists: the client has given up by now.
    if state.is_overdue:
        return Refusal(TIMED_OUT)
    # Of a proxied client the lists are asked when its header is there: the peer is the proxy.
    if state.awaits_header:
        return Step.HEADER
    # Before the handshake, which costs a hundred times as much as this.
    if state.refused_by_lists is not None:
        return Refusal(state.refused_by_lists)
    if state.awaits_first_byte:
        return Step.FIRST_BYTE
    return Step.HANDSHAKE if state.awaits_handshake else Step.SERVE


@dataclass(frozen=True)
class Opening:
    """What connections to one listener begin with, before a request."""

    header: bool
    """Some peers are proxies, whose connections begin with a PROXY header."""
    handshake: bool
    """All connections begin with a TLS handshake."""

    @property
    def is_plain(self) -> bool:
        """Whether each connection is served as soon as it is accepted."""
        return not (self.header or self.handshake)


PLAIN = Opening(header=False, handshake=False)


def opening(transport: Transport, *, is_tls: bool, proxies: Collection[str]) -> Opening:
    """What connections to a listener begin with. A datagram carries its header itself."""
    if transport.is_datagram:
        return PLAIN
    return Opening(header=bool(proxies), handshake=is_tls)


def is_dispatched(service: Service, address: Address) -> bool:
    """Whether the daemon accepts from *address*, and hands over connections with first bytes.

    A worker that serves one connection at a time must not accept one that has sent nothing: it
    would wait there behind another client, while the next worker is idle.
    """
    # A single worker process gains nothing: there is no idle one that could serve another client.
    serves_one = service.forks or (service.threads == 1 and service.workers > 1)
    if service.concurrency == "reactor" or not serves_one:
        return False
    return not opening(address.transport, is_tls=address.is_tls, proxies=service.proxies).is_plain


def left_for_worker(whole: Opening, *, is_dispatched: bool, forks: bool) -> Opening:
    """What is left of *whole* for the accept loop of a worker with threads or forks.

    The daemon has read the header of what it hands over. A child that serves one connection does
    its handshake itself, since no other client waits for that process.
    """
    if forks:
        return PLAIN
    return Opening(header=whole.header and not is_dispatched, handshake=whole.handshake)
