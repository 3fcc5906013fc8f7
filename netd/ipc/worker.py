"""What the daemon and its workers say to each other, and how it is put in bytes.

A frame is four bytes of length and a message, both ways, on one Unix stream socket. The daemon
hands values down as they are (pickle: it commands the worker anyway); a worker runs a user's
code, so what comes up is JSON, and only messages of the table below are understood. Lines of the
log, which are by far the most, come as they are after one letter: JSON would cost as much again.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass, fields
from typing import Final, get_args

from netd.model.log import AS_USUAL, WorkerLog
from netd.model.service import Access, Service

LONGEST_ORDER: Final = 256 << 20
"""Bytes of an order: a hundred thousand access rules are 3 MiB."""

LONGEST_REPORT: Final = 8 << 20
"""Bytes of a report, which is bounded because a worker runs a user's code: a batch of log lines
is 300 KiB, four times that in letters of four bytes."""

LENGTH: Final = 4
"""Bytes of a frame's length, big-endian (``Int32StringReceiver`` of Twisted)."""


# Down: the daemon to a worker.


@dataclass(frozen=True)
class ServiceStart:
    """What a worker needs to serve one service; descriptors are numbers in the worker."""

    service: Service
    listeners: tuple[int, ...]
    """One for each address in ``service.listen``, in that order."""
    scoreboard: int
    index: int = 0
    """The worker's index in the service's scoreboard, which all its processes share."""
    suspended: bool = False
    """Whether nothing is to be taken yet."""
    queues: tuple[int | None, ...] = ()
    """For each listener, where connections come from that the daemon has taken from it; empty where
    it takes from none."""


@dataclass(frozen=True)
class Start:
    """The first message: become this worker."""

    worker: str
    services: tuple[ServiceStart, ...]
    python_path: tuple[str, ...]
    graceful_timeout: float
    """Seconds that running handlers get when the daemon has gone."""
    log: WorkerLog = AS_USUAL


@dataclass(frozen=True)
class Drain:
    """Take nothing more, let the handlers finish, and leave."""


@dataclass(frozen=True)
class Recheck:
    """End the connections of *service* that the lists of *access* do not admit."""

    service: str
    access: Access


@dataclass(frozen=True)
class Disconnect:
    """End a connection of *service*, if it is still active."""

    service: str
    connection: int
    """Its ID (``layout.ActiveConnection.id``)."""


@dataclass(frozen=True)
class LogAs:
    """Send up *log* from now on."""

    log: WorkerLog


@dataclass(frozen=True)
class Stop:
    """Leave at once."""


@dataclass(frozen=True)
class Suspend:
    """Take nothing more for *service*, until ``Resume``, and say when that is so."""

    service: str


@dataclass(frozen=True)
class Resume:
    """Take again for *service*."""

    service: str


@dataclass(frozen=True)
class AllSuspended:
    """No process takes anything for *service* any more."""

    service: str


Order = Start | Drain | Recheck | Disconnect | LogAs | Stop | Suspend | Resume | AllSuspended


# Up: a worker to the daemon.


@dataclass(frozen=True)
class Ready:
    """Everything is imported, and clients are being taken."""


@dataclass(frozen=True)
class Failed:
    """What a service runs cannot be used; the worker leaves."""

    service: str
    message: str


@dataclass(frozen=True)
class Lines:
    """Lines for the log, complete with time and newline."""

    text: str


@dataclass(frozen=True)
class Shutdown:
    """A handler wants *service* suspended (``shutdown()`` of its server)."""

    service: str


@dataclass(frozen=True)
class Suspended:
    """Nothing is taken for *service* here any more."""

    service: str


@dataclass(frozen=True)
class NeedsRecycling:
    """This process wants a successor, because of what it did for *service*."""

    service: str
    why: str


@dataclass(frozen=True)
class Hung:
    """The only handler of *service* here does not come back: the process is to be ended."""

    service: str


Report = Ready | Failed | Lines | Shutdown | Suspended | NeedsRecycling | Hung

_REPORTS: Final = {kind.__name__: kind for kind in get_args(Report) if kind is not Lines}

_LINES: Final = b"L"
"""What a message with lines of the log begins with; JSON cannot."""


class NotUnderstood(Exception):
    """The other end said something that is no message."""


def encode_order(order: Order) -> bytes:
    """Put an order in bytes, without the frame."""
    return pickle.dumps(order)


def decode_order(data: bytes) -> Order:
    """Read what the daemon said. Only ever for bytes from the daemon."""
    order = pickle.loads(data)
    if not isinstance(order, Order):
        raise NotUnderstood(type(order).__name__)
    return order


def encode_report(report: Report) -> bytes:
    """Put a report in bytes, without the frame."""
    if isinstance(report, Lines):
        return _LINES + report.text.encode(errors="surrogatepass")
    return json.dumps([type(report).__name__, asdict(report)]).encode()


def decode_report(data: bytes) -> Report:
    """Read what a worker said. Raises NotUnderstood for anything that is no report."""
    try:
        if data.startswith(_LINES):
            return Lines(data[len(_LINES) :].decode(errors="surrogatepass"))
        name, values = json.loads(data)
        kind = _REPORTS[name]
        if not isinstance(values, dict) or values.keys() != {field.name for field in fields(kind)}:
            raise NotUnderstood(name)
        if not all(isinstance(value, str) for value in values.values()):
            raise NotUnderstood(name)
        report: Report = kind(**values)
        return report
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotUnderstood(repr(data[:80])) from error
