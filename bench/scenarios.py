"""What is measured: workloads, each with so many clients and against these peers."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final


class Mode(enum.StrEnum):
    """What the clients do; a mode of the load tool."""

    LINE = "line"
    ECHO = "echo"
    SILENT = "silent"
    UDP = "udp"
    TLS = "tls"
    """A whole handshake for each line."""
    TLS_BULK = "tls-bulk"
    """Connections that stay, and much to be sent on each."""

    @property
    def is_tls(self) -> bool:
        """Whether the clients speak TLS."""
        return self in (Mode.TLS, Mode.TLS_BULK)


@dataclass(frozen=True)
class Scenario:
    """One row group of the table: clients, and the servers that serve them in turn."""

    name: str
    workload: str
    """The name without the number of clients."""
    mode: Mode
    clients: int
    runs: str
    """What netd runs, and the servers of socketserver, if it is a handler: ``module:name``."""
    peers: tuple[str, ...]
    key: str = "handler"
    """The key of netd's configuration that says what runs."""
    keys: tuple[str, ...] = ()
    """Further lines of netd's configuration, where something is not the default."""


THREADING: Final = "ThreadingTCPServer"
FORKING: Final = "ForkingTCPServer"
TCPSERVER: Final = "tcpserver"
XINETD: Final = "xinetd"
FLOOR: Final = "floor"
TWISTED: Final = "twisted"

IDLE: Final = "idle"
START: Final = "start"
MEMORY: Final = "memory"

WORKLOADS: Final = {
    "wait-1ms": "Wait1",
    "wait-2ms": "Wait2",
    "wait-5ms": "Wait5",
    "wait-20ms": "Wait20",
    "wait-100ms": "Wait100",
    "random-10ms": "Random10",
    "one-in-ten-50ms": "OneInTen50",
    "burn-2ms": "Burn2",
}
"""Handlers that do something, by the name of their workload."""

SILENT_CLIENTS: Final = 2000

PROGRAM: Final = ("/usr/bin/head", "-n", "1")
"""The program that netd, tcpserver and xinetd run for each connection."""


def _handler(name: str) -> str:
    return f"bench.handlers:{name}"


def _all() -> Iterable[Scenario]:
    everybody = (THREADING, "TCPServer", FLOOR, TWISTED, "asyncio", "uvloop", "gevent")
    yield Scenario("short", "short", Mode.LINE, 64, _handler("Answer"), everybody)
    by_file = _handler("AnswerByFile")
    yield Scenario("short-by-file", "short-by-file", Mode.LINE, 64, by_file, (THREADING,))
    for workload, handler in WORKLOADS.items():
        for clients in (64, 256):
            name = f"{workload}-{clients}"
            yield Scenario(name, workload, Mode.LINE, clients, _handler(handler), (THREADING,))
    silent = f"silent-{SILENT_CLIENTS}"
    echo = _handler("Echo")
    yield Scenario(
        silent,
        "silent",
        Mode.SILENT,
        SILENT_CLIENTS,
        echo,
        (THREADING, FLOOR),
        keys=("threads = 2500",),
    )
    yield Scenario("echo-64", "echo", Mode.ECHO, 64, echo, (THREADING, FLOOR))
    datagrams = ("UDPServer", "ThreadingUDPServer", FLOOR, TWISTED)
    yield Scenario("udp", "udp", Mode.UDP, 64, _handler("Datagram"), datagrams)
    line = "bench.protocols:Line"
    yield Scenario("reactor", "reactor", Mode.LINE, 64, line, (TWISTED,), key="protocol")
    answer = "bench.asynchronous:Answer"
    yield Scenario("async", "async", Mode.LINE, 64, answer, (TWISTED,))
    yield Scenario(
        "tls-reactor",
        "tls",
        Mode.TLS,
        64,
        line,
        (TWISTED,),
        key="protocol",
        # For "memory", where more than the usual bound are silent at once.
        keys=("limits.handshakes = 100_000",),
    )
    much = "bench.protocols:Much"
    bulk = "tls-bulk-reactor"
    yield Scenario(bulk, "tls-bulk", Mode.TLS_BULK, 8, much, (TWISTED,), key="protocol")
    # For "memory", as above.
    silent_keys = ("limits.handshakes = 100_000",)
    answer = _handler("Answer")
    yield Scenario("tls", "tls", Mode.TLS, 64, answer, (THREADING,), keys=silent_keys)
    yield Scenario("tls-bulk", "tls-bulk", Mode.TLS_BULK, 8, _handler("Much"), (THREADING,))
    yield from _processes()


def _processes() -> Iterable[Scenario]:
    keys = ('concurrency = "process"',)
    for name, handler, peers in (
        ("process", "Answer", (FORKING, FLOOR)),
        ("process-wait-2ms", "Wait2", (FORKING,)),
        ("process-wait-100ms", "Wait100", (FORKING,)),
    ):
        yield Scenario(name, name, Mode.LINE, 64, _handler(handler), peers, keys=keys)
    much = _handler("Much")
    yield Scenario("tls-process", "tls", Mode.TLS, 64, _handler("Answer"), (FORKING,), keys=keys)
    bulk = "tls-bulk-process"
    yield Scenario(bulk, "tls-bulk", Mode.TLS_BULK, 8, much, (FORKING,), keys=keys)
    fresh = (*keys, "max_requests = 1")
    yield Scenario("fresh", "fresh", Mode.LINE, 64, _handler("Answer"), (FORKING,), keys=fresh)
    programs = (TCPSERVER, XINETD)
    head = " ".join(PROGRAM)
    yield Scenario("program", "program", Mode.LINE, 64, head, programs, key="program")


SCENARIOS: Final = tuple(_all())

NAMES: Final = (*(scenario.name for scenario in SCENARIOS), START, MEMORY, IDLE)
"""Everything that can be asked for, in the order of the tables."""


class Unknown(Exception):
    """Something was asked for that is not there."""


def chosen(patterns: Sequence[str]) -> list[str]:
    """The names that *patterns* ask for: a name, a workload, or either with wildcards.

    All of them when there is no pattern. Raises Unknown when one fits nothing.
    """
    known = {scenario.name: scenario.workload for scenario in SCENARIOS}
    wanted: set[str] = set()
    for pattern in patterns:
        fitting = {
            name
            for name in NAMES
            if fnmatchcase(name, pattern) or fnmatchcase(known.get(name, name), pattern)
        }
        if not fitting:
            raise Unknown(f'no scenario "{pattern}"; there are {", ".join(NAMES)}')
        wanted |= fitting
    return [name for name in NAMES if name in wanted or not patterns]
