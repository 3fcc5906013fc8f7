"""The layout of a scoreboard's memory: a head, and a block for each worker. Pure.

A block has the counters of the worker's lanes, the records of its active connections, and room for
its counts by source. Exactly one process writes a block, except that the daemon clears it when the
worker has ended. A later version may use reserved bytes; it must not move what is here, or it
raises VERSION. All numbers are little-endian.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from netd.model.address import inet6_text
from netd.model.peer import unix_client_text
from netd.model.service import Service

VERSION: Final = 1
"""The layout's version. A fork server that was started after an upgrade on disk may be newer than
its daemon, and its workers must not write what the daemon reads in another way."""

HEAD: Final = struct.Struct("<8sIIIII")
"""Magic, version, workers, lanes, records, sources."""

HEAD_SIZE: Final = 64

MAGIC: Final = b"netd\0sb\0"

CACHE_LINE: Final = 64
"""Bytes. Blocks, lanes and records begin on a cache line, so that two writers do not share one."""

# A lane: the counters of one writer, a thread or a fork.

LANE_SIZE: Final = 384
"""Bytes: 8 cells of 8 bytes (the pid, the counters, one reserved), then at 64 reserved: 16 cells
for refusals by reason, and at 192 24 cells for a histogram of the seconds in handlers."""

PID: Final = struct.Struct("<i")
"""At 0: the process that writes the lane."""

COUNTERS: Final = struct.Struct("<QQQQQQ")
"""Accepted, served, failed, refused, dropped, truncated."""

COUNTERS_AT: Final = 8

# A record: one active connection.

RECORD_SIZE: Final = 128

FREE: Final = 0
ACTIVE: Final = 1
ACCEPTING: Final = 2
"""States of a record. ACCEPTING: a client keeps the lane busy before its address is known."""

TEXT: Final = 0
UNIX: Final = 1
INET: Final = 4
INET6: Final = 6
"""Families. TEXT: there is only a text, since user code has made up the client's address."""

RECORD: Final = struct.Struct("<BBHHHQd16sIB3xQQ64s")
"""State, family, port, listener, lane, ID, start (seconds of CLOCK_MONOTONIC), address, scope,
length of the text, bytes received, bytes sent, text.

The two counts of bytes are reserved: nothing writes them in this version."""

# What one write stores for each family. The reader looks at nothing else for that family.
BEGIN: Final = struct.Struct("<BBHHHQd")
BEGIN_INET: Final = struct.Struct("<BBHHHQd4s")
BEGIN_INET6: Final = struct.Struct("<BBHHHQd16sI")

TEXT_LENGTH_AT: Final = 44
TEXT_AT: Final = 64
TEXT_SIZE: Final = 64
"""Bytes of a client's text that are kept."""

LANE_AT: Final = 6

CREDENTIALS: Final = struct.Struct("<IIi4x")
"""The address of a Unix peer: uid, gid, pid."""

# A row of the counts by source.

SOURCES: Final = 1024
"""Rows for each worker. Reserved: nothing writes or reads them in this version."""

SOURCE_SIZE: Final = 32
"""Bytes of a row: family, prefix length, 2 reserved, count (4 bytes), address (16), 8 reserved.

Each worker counts in rows of its own, so a row has one writer, and clearing a worker's block takes
its share back without a scan of connections."""

# An ID.

ID_WORKER_SHIFT: Final = 52
"""The 12 bits above it are room for 4 096 workers; a service has at most 2 000, those that replace
others included."""


def first_id(worker: int, microseconds: int) -> int:
    """Return the first ID of a process: 12 bits of the worker's index, 52 of the time since 1970.

    Each further ID of the process is one higher. A process begins far fewer than one connection a
    microsecond, so its IDs stay behind the clock, and a process that starts later in the same place
    begins above them. 52 bits last until the year 2112.
    """
    return worker << ID_WORKER_SHIFT | microseconds & ((1 << ID_WORKER_SHIFT) - 1)


@dataclass(frozen=True)
class Geometry:
    """How many of each there are: workers, and for each worker lanes and records."""

    workers: int
    lanes: int
    records: int

    @property
    def size(self) -> int:
        """Bytes of the whole scoreboard."""
        return HEAD_SIZE + self.workers * self.block_size

    @property
    def block_size(self) -> int:
        """Bytes of one worker's block."""
        return self.lanes * LANE_SIZE + self.records * RECORD_SIZE + SOURCES * SOURCE_SIZE

    def block(self, worker: int) -> int:
        """Return where the block of *worker* begins."""
        return HEAD_SIZE + worker * self.block_size

    def lane(self, worker: int, number: int) -> int:
        """Return where a lane begins."""
        return self.block(worker) + number * LANE_SIZE

    def record(self, worker: int, number: int) -> int:
        """Return where a record begins."""
        return self.block(worker) + self.lanes * LANE_SIZE + number * RECORD_SIZE

    @property
    def head(self) -> bytes:
        """The scoreboard's first bytes."""
        counts = self.workers, self.lanes, self.records, SOURCES
        return HEAD.pack(MAGIC, VERSION, *counts)

    @classmethod
    def of(cls, service: Service) -> Geometry:
        """Return what a service needs."""
        return cls(service.places, service.lanes, service.records)


class ActiveConnection(NamedTuple):
    """A connection that is being served, or accepted.

    A tuple, because a list of all connections makes thousands of them.
    """

    id: int
    """Unique in the service: over its workers, and over their restarts."""
    worker: int
    """The index of the worker whose block has the record; the block says so, not the record."""
    listener: int
    """The index of the listener in the service's ``listen``."""
    client: str
    """The client for people, made from the raw address where there is one."""
    since: float
    """Seconds of CLOCK_MONOTONIC, the same clock in every process of a machine."""


def client_of(record: tuple[Any, ...]) -> str:
    """Write the client of an unpacked record for people. Raises nothing, whatever the bytes."""
    state, family, port, _, _, _, _, address, _, length, _, _, text = record
    if state == ACCEPTING:
        return "unknown"
    if family == INET:
        return f"{socket.inet_ntop(socket.AF_INET, address[:4])}:{port}"
    if family == INET6:
        return inet6_text((socket.inet_ntop(socket.AF_INET6, address), port))
    if family == UNIX:
        uid, _, pid = CREDENTIALS.unpack(address)
        return unix_client_text(uid, pid)
    written: bytes = text[: min(length, TEXT_SIZE)]
    return written.decode(errors="replace")
