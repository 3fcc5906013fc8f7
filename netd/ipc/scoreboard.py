"""Shared memory of one service: its active connections, and counts of what it has done.

The daemon makes the memory (memfd_create(2)), and workers inherit it. ``layout`` says where
everything is. A worker writes only the block of its index, and each of its lanes has one writer at
a time, so nothing is locked. The daemon reads. It may read a record while the worker writes it, and
a worker runs user code that can write anything there. What the daemon reads is therefore for people
and for sums, and it takes offsets and sizes from its own ``Geometry``, never from the memory. The
memory outlives a killed worker: that is how the daemon knows which connections were lost.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final

from netd.ipc.layout import (
    ACCEPTING,
    ACTIVE,
    BEGIN,
    BEGIN_INET,
    BEGIN_INET6,
    COUNTERS,
    COUNTERS_AT,
    CREDENTIALS,
    INET,
    INET6,
    LANE_AT,
    LANE_SIZE,
    PID,
    RECORD,
    RECORD_SIZE,
    TEXT,
    TEXT_AT,
    TEXT_LENGTH_AT,
    TEXT_SIZE,
    UNIX,
    ActiveConnection,
    Geometry,
    client_of,
    first_id,
)
from netd.model.peer import Credentials

_SIZE_STAYS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""Seals of fcntl(2). Without them user code could shrink the memory, and the daemon would get a
SIGBUS when it reads what is no longer there."""

FORK_IDS: Final = 256
"""IDs that a fork of a worker has to itself. It needs one for its request, and more only if a
server class passes on further requests late. At 256 the worker would have to fork 4 000 times a
second to overtake the clock (``layout.first_id``)."""


class WrongLayout(Exception):
    """The memory has another layout than this version of netd."""


@dataclass(frozen=True)
class Counts:
    """What lanes have counted, added up."""

    served: int = 0
    refused: int = 0
    failed: int = 0
    """The handler raised; these are part of *served*, unless ``process_request`` raised."""
    dropped: int = 0
    """Datagrams longer than ``datagram_size``."""
    truncated: int = 0
    """TLS streams that ended without ``close_notify``; these are part of *served*."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.served + other.served,
            self.refused + other.refused,
            self.failed + other.failed,
            self.dropped + other.dropped,
            self.truncated + other.truncated,
        )


class Lane:
    """The counters of one writer: a thread of the worker, or a fork. Written by that one only.

    The attributes may be raised at any time; ``publish`` writes all of them at once, since one
    write of six cells costs as much as one write of one cell.
    """

    __slots__ = (
        "_page",
        "accepted",
        "at",
        "dropped",
        "failed",
        "number",
        "refused",
        "served",
        "truncated",
    )

    def __init__(self, page: mmap.mmap, at: int, number: int) -> None:
        self._page = page
        self.at = at + COUNTERS_AT
        self.number = number
        PID.pack_into(page, at, os.getpid())
        self.reload()

    def reload(self) -> None:
        """Continue from what the memory says: a fork has written there."""
        counters = COUNTERS.unpack_from(self._page, self.at)
        self.accepted, self.served, self.failed, self.refused = counters[:4]
        self.dropped, self.truncated = counters[4:]

    def publish(self) -> None:
        """Make the counters visible to the daemon."""
        COUNTERS.pack_into(
            self._page,
            self.at,
            self.accepted,
            self.served,
            self.failed,
            self.refused,
            self.dropped,
            self.truncated,
        )


class WorkerBlock:
    """The block that this process writes. Any thread.

    A connection has a record from ``begin`` to ``end``. If all records are taken, a connection gets
    an ID without a record: it is counted, and not listed. Its lists and dictionaries are changed
    only by single operations that the interpreter's lock makes atomic, so that no connection pays
    for another lock.
    """

    def __init__(self, page: mmap.mmap, geometry: Geometry, worker: int) -> None:
        self._page = page
        self._geometry = geometry
        self._worker = worker
        self.lanes = [
            Lane(page, geometry.lane(worker, number), number) for number in range(geometry.lanes)
        ]
        first = geometry.record(worker, 0)
        self._first = first
        # Reversed, so that a worker with few connections touches few pages of memory.
        ends = range(first, first + geometry.records * RECORD_SIZE, RECORD_SIZE)
        self._free = list(reversed(ends))
        self._records: dict[int, int] = {}
        """Where the record of each ID is."""
        self._next_id = _ids(worker).__next__

    def begin(
        self,
        lane: int,
        listener: int,
        address: Any,
        client: str,
        peer: Credentials | None,
        since: float,
    ) -> int:
        """Give a connection an ID, and a record if one is free; return the ID."""
        number = self._next_id()
        try:
            at = self._free.pop()
        except IndexError:
            return number
        self._records[number] = at
        try:
            if peer is not None:
                self._begin_unix(at, (listener, lane, number, since), client, peer)
            elif len(address) == 4:
                host, port, _, scope = address
                packed = inet_pton(AF_INET6, host)
                BEGIN_INET6.pack_into(
                    self._page,
                    at,
                    ACTIVE,
                    INET6,
                    port,
                    listener,
                    lane,
                    number,
                    since,
                    packed,
                    scope,
                )
            else:
                host, port = address
                packed = inet_pton(AF_INET, host)
                BEGIN_INET.pack_into(
                    self._page, at, ACTIVE, INET, port, listener, lane, number, since, packed
                )
        except Exception:  # no address, or whatever user code has made of one
            self._begin_text(at, (listener, lane, number, since), client)
        return number

    def _begin_unix(
        self, at: int, fields: tuple[int, int, int, float], client: str, peer: Credentials
    ) -> None:
        """Write the record of a Unix peer. Raises ValueError if its pid is not known."""
        if not (peer.pid and client.startswith("uid:")):
            raise ValueError
        packed = CREDENTIALS.pack(peer.uid, peer.gid, peer.pid)
        BEGIN_INET6.pack_into(self._page, at, ACTIVE, UNIX, 0, *fields, packed, 0)

    def _begin_text(self, at: int, fields: tuple[int, int, int, float], client: str) -> None:
        """Write the record of a client that only a text describes."""
        text = client.encode(errors="replace")[:TEXT_SIZE]
        # Before the state, so that a reader does not see the text of the last client.
        self._page[at + TEXT_LENGTH_AT] = len(text)
        self._page[at + TEXT_AT : at + TEXT_AT + len(text)] = text
        BEGIN.pack_into(self._page, at, ACTIVE, TEXT, 0, *fields)

    def accepting(self, lane: int, since: float) -> int:
        """Mark a lane as busy with a client that is not known yet; return an ID for ``end``."""
        number = self._next_id()
        try:
            at = self._free.pop()
        except IndexError:
            return number
        self._records[number] = at
        BEGIN.pack_into(self._page, at, ACCEPTING, TEXT, 0, 0, lane, number, since)
        return number

    def end(self, number: int) -> None:
        """Free the record of a connection. A second call does nothing.

        The thread of a handler that has run for too long calls it when the handler returns, and the
        reactor has called it before.
        """
        at = self._records.pop(number, None)
        if at is not None:
            self._page[at] = 0
            self._free.append(at)

    def finish(self, number: int, lane: Lane) -> None:
        """Publish the counters of a lane, then free the record of its connection.

        In this order: a reader that no longer finds the connection finds its outcome counted. One
        call for both, because each connection pays for it.
        """
        COUNTERS.pack_into(
            self._page,
            lane.at,
            lane.accepted,
            lane.served,
            lane.failed,
            lane.refused,
            lane.dropped,
            lane.truncated,
        )
        at = self._records.pop(number, None)
        if at is not None:
            self._page[at] = 0
            self._free.append(at)

    def end_lane(self, lane: int) -> None:
        """Free the records of a lane, whose thread does not come back."""
        for number, at in list(self._records.items()):
            if int.from_bytes(self._page[at + LANE_AT : at + LANE_AT + 2], "little") == lane:
                self.end(number)

    # A worker that forks for each request: lane and record of a fork have the same number.

    def ids_of_fork(self) -> int:
        """Reserve FORK_IDS IDs for a fork; return the first."""
        first = self._next_id()
        self._next_id = count(first + FORK_IDS).__next__
        return first

    def in_fork(self, lane: int, first: int) -> None:
        """In a fork: write only this lane and the record of its number, and begin with this ID."""
        self.lanes[lane] = Lane(self._page, self._geometry.lane(self._worker, lane), lane)
        self._free[:] = [self._first + lane * RECORD_SIZE]
        self._records.clear()
        self._next_id = count(first).__next__

    def is_active(self, lane: int) -> bool:
        """Whether the record of a fork's lane is still taken."""
        return self._page[self._first + lane * RECORD_SIZE] != 0

    def clear(self, lane: int) -> None:
        """Free the record of a fork that has ended without doing so."""
        self._page[self._first + lane * RECORD_SIZE] = 0


def _ids(worker: int) -> Iterator[int]:
    return count(first_id(worker, time.time_ns() // 1000))


class Scoreboard:
    """A service's memory. Owns the mapping; the caller of ``make`` closes the descriptor."""

    def __init__(self, descriptor: int, geometry: Geometry) -> None:
        """Map it. Raises WrongLayout."""
        self.geometry = geometry
        self._page = mmap.mmap(descriptor, geometry.size)
        head = geometry.head
        if self._page[: len(head)] != head:
            self._page.close()
            raise WrongLayout("the scoreboard has the layout of another version of netd")

    @staticmethod
    def make(service: str, geometry: Geometry) -> int:
        """Make the memory; returns a descriptor that the caller closes.

        Raises OSError or OverflowError where the system has no room for it.
        """
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        descriptor = os.memfd_create(f"netd scoreboard {service}", flags)
        try:
            os.ftruncate(descriptor, geometry.size)
            os.pwrite(descriptor, geometry.head, 0)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SIZE_STAYS)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def block(self, worker: int) -> WorkerBlock:
        """Return what this process writes, as the worker of this index."""
        return WorkerBlock(self._page, self.geometry, worker)

    def active_connections(self, worker: int | None = None) -> list[ActiveConnection]:
        """Return the active connections of all workers or of one, oldest first."""
        found = [
            connection
            for index in self._workers(worker)
            for connection in self._active_connections(index)
        ]
        return sorted(found, key=lambda connection: connection.since)

    def _active_connections(self, worker: int) -> Iterator[ActiveConnection]:
        first = self.geometry.record(worker, 0)
        for number, state in enumerate(self._states(worker)):
            if state:
                yield self._connection(worker, first + number * RECORD_SIZE)

    def _connection(self, worker: int, at: int) -> ActiveConnection:
        record = RECORD.unpack_from(self._page, at)
        listener, identity, since = record[3], record[5], record[6]
        if not math.isfinite(since):  # JSON has no word for it
            since = 0.0
        return ActiveConnection(identity, worker, listener, client_of(record), since)

    def _states(self, worker: int) -> bytes:
        """The states of all records of a worker: one slice, which is copied without a loop."""
        first = self.geometry.record(worker, 0)
        return self._page[first : first + self.geometry.records * RECORD_SIZE : RECORD_SIZE]

    def counts(self, worker: int | None = None) -> Counts:
        """Return what all lanes of all workers, or of one, have counted."""
        served = failed = refused = dropped = truncated = 0
        for cells in self._counters(worker):
            served += cells[1]
            failed += cells[2]
            refused += cells[3]
            dropped += cells[4]
            truncated += cells[5]
        return Counts(served, refused, failed, dropped, truncated)

    def accepted(self, worker: int | None = None) -> int:
        """Return how many connections and datagrams were accepted and have ended since."""
        return sum(cells[0] for cells in self._counters(worker))

    def busy(self, worker: int | None = None) -> int:
        """Return how many active connections all workers, or one, have."""
        records = self.geometry.records
        return sum(records - self._states(index).count(0) for index in self._workers(worker))

    def busy_pids(self) -> set[int]:
        """Return the processes that have an active connection."""
        found = set()
        for worker in self._workers(None):
            first = self.geometry.record(worker, 0)
            for number, state in enumerate(self._states(worker)):
                lane = RECORD.unpack_from(self._page, first + number * RECORD_SIZE)[4]
                if state and lane < self.geometry.lanes:
                    found.add(PID.unpack_from(self._page, self.geometry.lane(worker, lane))[0])
        return found

    def clear(self, worker: int | None = None) -> None:
        """Forget what a worker, or all of them, have written: the process has ended."""
        for index in self._workers(worker):
            start = self.geometry.block(index)
            self._page[start : start + self.geometry.block_size] = bytes(self.geometry.block_size)

    def _counters(self, worker: int | None) -> Iterator[tuple[int, ...]]:
        for index in self._workers(worker):
            first = self.geometry.lane(index, 0) + COUNTERS_AT
            for at in range(first, first + self.geometry.lanes * LANE_SIZE, LANE_SIZE):
                yield COUNTERS.unpack_from(self._page, at)

    def _workers(self, worker: int | None) -> range:
        return range(self.geometry.workers) if worker is None else range(worker, worker + 1)

    def close(self) -> None:
        """Give the mapping back."""
        self._page.close()
