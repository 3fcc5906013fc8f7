"""One shared page a service: who is inside, since when, and how much has been served.

The daemon makes the page (memfd_create(2)) and a worker inherits it. A slot belongs to one
thread of one worker, which alone writes it; the daemon reads. Nothing is locked: a reader may
see a slot while it is written, so what it reads is for people and for sums, never for decisions
about memory. The page outlives a killed worker, which is how the daemon knows whom it held.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from dataclasses import dataclass
from typing import Final

_OCCUPANT: Final = struct.Struct("<BB6xd64s")
"""Busy flag, length of the client's text, start (seconds of CLOCK_MONOTONIC), the text."""

_COUNTS: Final = struct.Struct("<QQQQQ")
"""Served, refused, failed, dropped, truncated: since the worker started."""

_COUNTS_AT: Final = _OCCUPANT.size

_PID: Final = struct.Struct("<i")
"""The process whose slot it is."""

_PID_AT: Final = _COUNTS_AT + _COUNTS.size

SLOT_SIZE: Final = 128
"""Bytes: two cache lines, so that neighbouring threads do not slow each other down."""

_SIZE_STAYS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""Seals of fcntl(2). Without them a user's code could shrink the page, and the daemon would get a
SIGBUS when it reads what is no longer there."""

CLIENT_SIZE: Final = 64
"""Bytes of a client's text that are kept: the longest IPv6 address and port are 60."""


@dataclass(frozen=True)
class ActiveConnection:
    """A client that is being served."""

    slot: int
    client: str
    since: float
    """Seconds of CLOCK_MONOTONIC, the same clock in every process of a machine."""

    @property
    def stamp(self) -> int:
        """The same in microseconds: no other client has had this slot since then."""
        return _stamp(self.since)


@dataclass(frozen=True)
class Counts:
    """What a service's threads have done, added up."""

    served: int = 0
    refused: int = 0
    failed: int = 0
    """Served, but the handler raised; these are part of *served*."""
    dropped: int = 0
    """Datagrams longer than ``datagram_size``."""
    truncated: int = 0
    """TLS streams that ended without TLS's own end; these are part of *served*."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.served + other.served,
            self.refused + other.refused,
            self.failed + other.failed,
            self.dropped + other.dropped,
            self.truncated + other.truncated,
        )


class Slot:
    """One thread's own part of a page. Written by that thread only."""

    __slots__ = (
        "_counts_at",
        "_occupant_at",
        "_page",
        "dropped",
        "failed",
        "refused",
        "served",
        "truncated",
    )

    def __init__(self, page: mmap.mmap, number: int) -> None:
        self._page = page
        self._occupant_at = number * SLOT_SIZE
        self._counts_at = self._occupant_at + _COUNTS_AT
        counts = _COUNTS.unpack_from(page, self._counts_at)
        self.served, self.refused, self.failed, self.dropped, self.truncated = counts
        _PID.pack_into(page, number * SLOT_SIZE + _PID_AT, os.getpid())

    def enter(self, client: str, since: float) -> None:
        """A client is inside from now on."""
        text = client.encode(errors="replace")
        _OCCUPANT.pack_into(
            self._page, self._occupant_at, 1, min(len(text), CLIENT_SIZE), since, text
        )

    @property
    def stamp(self) -> int:
        """Since when the client is inside, or the last one was (``ActiveConnection.stamp``)."""
        _, _, since, _ = _OCCUPANT.unpack_from(self._page, self._occupant_at)
        return _stamp(since)

    def leave(self) -> None:
        """The client has gone; the counters, which the caller has raised, become visible."""
        _COUNTS.pack_into(
            self._page,
            self._counts_at,
            self.served,
            self.refused,
            self.failed,
            self.dropped,
            self.truncated,
        )
        self._page[self._occupant_at] = 0


def _stamp(since: float) -> int:
    return int(since * 1_000_000)


class Scoreboard:
    """A service's page, *slots* long. Owns the mapping; who made the descriptor closes it."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self.slots = slots
        self._page = mmap.mmap(descriptor, slots * SLOT_SIZE)

    @staticmethod
    def make(service: str, slots: int) -> int:
        """Make the memory of a page of *slots* slots; returns a descriptor the caller closes.

        Raises OSError or OverflowError where there cannot be so many.
        """
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        descriptor = os.memfd_create(f"netd scoreboard {service}", flags)
        try:
            os.ftruncate(descriptor, slots * SLOT_SIZE)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SIZE_STAYS)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def slot(self, number: int) -> Slot:
        """The part of the page that thread *number* (from 0) of this process writes."""
        return Slot(self._page, number)

    def active_connections(self, slots: range | None = None) -> list[ActiveConnection]:
        """Who is inside, in all slots or some, the longest first."""
        found = []
        for number in self._range(slots):
            busy, length, since, text = _OCCUPANT.unpack_from(self._page, number * SLOT_SIZE)
            if busy:
                client = text[: min(length, CLIENT_SIZE)].decode(errors="replace")
                found.append(ActiveConnection(number, client, since))
        return sorted(found, key=lambda active_connection: active_connection.since)

    def counts(self, slots: range | None = None) -> Counts:
        """What all slots, or some, have done together."""
        total = Counts()
        for number in self._range(slots):
            total += Counts(*_COUNTS.unpack_from(self._page, number * SLOT_SIZE + _COUNTS_AT))
        return total

    def busy(self, slots: range) -> int:
        """How many of *slots* have somebody inside."""
        return sum(self._page[number * SLOT_SIZE] for number in slots)

    def busy_pids(self) -> set[int]:
        """The processes that have somebody inside."""
        return {
            _PID.unpack_from(self._page, number * SLOT_SIZE + _PID_AT)[0]
            for number in range(self.slots)
            if self._page[number * SLOT_SIZE]
        }

    def clear(self, slots: range | None = None) -> None:
        """Forget everything, or that of some slots: the worker that wrote there has gone."""
        cleared = self._range(slots)
        start, stop = cleared.start * SLOT_SIZE, cleared.stop * SLOT_SIZE
        self._page[start:stop] = bytes(stop - start)

    def _range(self, slots: range | None) -> range:
        return range(self.slots) if slots is None else slots

    def close(self) -> None:
        """Give the mapping back."""
        self._page.close()
