"""Messages between the daemon and one worker process, and their bytes.

Both directions share one Unix stream socket. A frame is four bytes of length and one message. An
**order** goes down and is a pickle: the daemon commands the worker in any case. A **report** comes
up from a process that runs user code, so it is JSON, is bounded, and must have exactly the fields
of its class. ``LogLines``, by far the most frequent report, is one letter and text: JSON would
escape the lines a second time, which costs as much as writing them.

The daemon sends orders and reads reports in its reactor's thread. The worker reads ``StartWorker``
before it has a reactor, and everything else in its reactor's thread; reports leave it there too.
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
"""Bytes of a report; the daemon ends a worker that sends a longer one. A batch of log lines has 300
Ki characters, hence at most four times as many bytes."""

LENGTH: Final = 4
"""Bytes of a frame's length, big-endian (``Int32StringReceiver`` of Twisted)."""


# Orders: the daemon to a worker.


@dataclass(frozen=True)
class ServiceStart:
    """What a worker needs to run one service. Descriptors are numbers in the worker."""

    service: Service
    listeners: tuple[int, ...]
    """The listening socket of each address in ``service.listen``, in that order."""
    scoreboard: int
    """The memory of the service's page (``Scoreboard.make``)."""
    index: int = 0
    """The worker's index in the service's scoreboard, which all its processes share."""
    suspended: bool = False
    """Whether the worker must wait for ``Resume`` before it accepts."""
    queues: tuple[int | None, ...] = ()
    """For each listener, the queue of connections that the daemon has accepted from it
    (``ipc.handoff``), or None. Empty if the daemon accepts from none of them."""


@dataclass(frozen=True)
class StartWorker:
    """The first order, and the only one before ``Ready``: become this worker."""

    worker: str
    services: tuple[ServiceStart, ...]
    python_path: tuple[str, ...]
    graceful_timeout: float
    """Seconds that running handlers get if the daemon ends without a ``Drain``."""
    log: WorkerLog = AS_USUAL


@dataclass(frozen=True)
class Drain:
    """Stop accepting, let the running handlers finish, then exit. A second one changes nothing."""


@dataclass(frozen=True)
class Recheck:
    """Apply the lists of *access*, and end the connections of *service* that they do not admit."""

    service: str
    access: Access


@dataclass(frozen=True)
class Disconnect:
    """End a connection of *service*, if it is still active."""

    service: str
    connection: int
    """Its ID (``layout.ActiveConnection.id``)."""


@dataclass(frozen=True)
class ConfigureLog:
    """Write log records by *log* from the next batch on. Queued records stay queued."""

    log: WorkerLog


@dataclass(frozen=True)
class Stop:
    """Exit immediately. Running handlers end with the process."""


@dataclass(frozen=True)
class Suspend:
    """Stop accepting for *service* until ``Resume``. The worker answers ``Suspended``."""

    service: str


@dataclass(frozen=True)
class Resume:
    """Accept for *service* again. Ignored by a worker that drains."""

    service: str


@dataclass(frozen=True)
class AllSuspended:
    """Every process of *service* has stopped accepting: handlers that wait for that go on."""

    service: str


Order = (
    StartWorker
    | Drain
    | Recheck
    | Disconnect
    | ConfigureLog
    | Stop
    | Suspend
    | Resume
    | AllSuspended
)


# Reports: a worker to the daemon. Every field is text, which is what ``decode_report`` checks.


@dataclass(frozen=True)
class Ready:
    """Every service is imported and accepts, unless it starts suspended. Sent once."""


@dataclass(frozen=True)
class StartFailed:
    """*service* cannot be run, and *message* says why; the worker exits."""

    service: str
    message: str


@dataclass(frozen=True)
class LogLines:
    """Complete lines for the log, each with its time and newline. The daemon bounds them again."""

    text: str


@dataclass(frozen=True)
class SuspendRequested:
    """A handler has called ``shutdown()`` of its server: suspend *service* in all its processes.

    The daemon answers ``AllSuspended``.
    """

    service: str


@dataclass(frozen=True)
class Suspended:
    """This process has stopped accepting for *service*: an answer to ``Suspend`` or ``Drain``."""

    service: str


@dataclass(frozen=True)
class NeedsRecycling:
    """Replace this process. *why* is a verb phrase for the log, about *service*."""

    service: str
    why: str


@dataclass(frozen=True)
class HandlerHung:
    """The only handler of *service* here exceeds its time and cannot be ended: kill the process."""

    service: str


Report = (
    Ready | StartFailed | LogLines | SuspendRequested | Suspended | NeedsRecycling | HandlerHung
)

_REPORTS: Final = {kind.__name__: kind for kind in get_args(Report) if kind is not LogLines}

_LINES: Final = b"L"
"""First byte of a report with log lines. A JSON list begins with another one."""


class InvalidMessage(Exception):
    """The bytes are no message of this channel."""


def encode_order(order: Order) -> bytes:
    """Return an order's bytes, without the frame."""
    return pickle.dumps(order)


def decode_order(data: bytes) -> Order:
    """Read an order. Only ever for bytes from the daemon: pickle runs what they say.

    Raises InvalidMessage for a value that is no order.
    """
    order = pickle.loads(data)
    if not isinstance(order, Order):
        raise InvalidMessage(type(order).__name__)
    return order


def encode_report(report: Report) -> bytes:
    """Return a report's bytes, without the frame."""
    if isinstance(report, LogLines):
        # A print may contain lone surrogates (undecodable bytes); the daemon escapes them.
        return _LINES + report.text.encode(errors="surrogatepass")
    return json.dumps([type(report).__name__, asdict(report)]).encode()


def decode_report(data: bytes) -> Report:
    """Read a report from a worker, which may send anything. Raises InvalidMessage, nothing else."""
    try:
        if data.startswith(_LINES):
            return LogLines(data[len(_LINES) :].decode(errors="surrogatepass"))
        name, values = json.loads(data)
        kind = _REPORTS[name]
        if not isinstance(values, dict) or values.keys() != {field.name for field in fields(kind)}:
            raise InvalidMessage(name)
        # Dataclasses check no types, and the daemon uses these as keys and in messages.
        if not all(isinstance(value, str) for value in values.values()):
            raise InvalidMessage(name)
        report: Report = kind(**values)
        return report
    # RecursionError: JSON nests as deep as the worker likes.
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidMessage(repr(data[:80])) from error
