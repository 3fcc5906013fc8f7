"""A checked configuration: what every service runs, where it listens, who may come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from netd.model.address import Address
from netd.model.environment import INHERITED, ExecutionEnvironment
from netd.model.log import Log
from netd.model.problem import Place, Problem
from netd.model.socket_options import SetOption
from netd.model.tls import Tls


@dataclass(frozen=True)
class Reference:
    """A class or function of a module: ``module:name``."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


@dataclass(frozen=True)
class Owner:
    """Whom a process runs as; None leaves what it is started as."""

    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class Access:
    """Who may come in: the lists in canonical form (names resolved), and the filter."""

    allow: tuple[str, ...] | None = None
    """None admits everybody that no ``deny`` entry matches; an empty tuple admits nobody."""
    deny: tuple[str, ...] = ()
    verify_request: Reference | None = None
    verify_timeout: float = 5.0
    """Seconds."""
    dry_run: bool = False


Concurrency = Literal["reactor", "thread", "process"]
"""How handlers run: in the reactor, in threads of a process, or each in a process of its own."""


@dataclass(frozen=True)
class Runs:
    """What a service runs: what one of these keys of its table names."""

    key: Literal["handler", "server", "protocol"]
    reference: Reference
    handler: Reference | None = None
    """The request handler class for a server, where one stands beside it."""

    def __str__(self) -> str:
        return str(self.reference)


@dataclass(frozen=True)
class Program:
    """A program that a service runs, a process a connection."""

    path: str
    """Where it is: absolute."""
    arguments: tuple[str, ...]
    """Its name first, as it was written."""
    wait: bool = False
    """Whether it gets the listening socket, and takes for itself (inetd's ``wait``)."""

    key: ClassVar = "program"

    def __str__(self) -> str:
        return self.arguments[0]


@dataclass(frozen=True)
class Plugin:
    """A twistd plugin that a service hosts; it binds for itself."""

    name: str
    arguments: tuple[str, ...]

    key: ClassVar = "plugin"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Wanted:
    """What a table says of how a service is to be run; None where it says nothing.

    What that means depends on what the service runs (``netd.config.resolve``).
    """

    concurrency: Concurrency | None = None
    threads: int | None = None
    processes: int | None = None
    backlog: int | None = None
    datagram_size: int | None = None
    """Bytes."""


@dataclass(frozen=True)
class Stamp:
    """A file, and what changes when somebody writes it (stat(2))."""

    path: str
    inode: int
    size: int
    changed: int
    """Nanoseconds."""


THREADS: Final = 100
"""Handlers at once in a worker process, where nobody says a number: waiting ones cost little."""

BACKLOG: Final = 1024
"""Connections that wait to be taken, where nobody says a number; 50 lost 785 of 1 000 clients in
a stall of half a second."""

DATAGRAM_SIZE: Final = 8192
"""Bytes of the longest datagram, where nobody says a number; ``max_packet_size`` of UDPServer."""


HANDSHAKES: Final = 1000
"""Connections of a service that have not begun to be served, where nobody says a number."""


@dataclass(frozen=True)
class Service:
    """One service: everything that its worker and its listeners need to know."""

    name: str
    listen: tuple[Address, ...]
    runs: Runs | Program | Plugin
    worker: str
    """Services with the same worker share its processes."""
    own: Wanted = field(default=Wanted(), compare=False)
    """What the service's own table wants."""
    defaults: Wanted = field(default=Wanted(), compare=False)
    """What ``[defaults]`` wants of services that it fits."""
    concurrency: Concurrency = "thread"
    threads: int = THREADS
    """Handlers at once in one process; for a reactor, clients that the scoreboard can list."""
    processes: int = 1
    backlog: int = BACKLOG
    datagram_size: int = DATAGRAM_SIZE
    """Bytes; a longer datagram is dropped."""
    max_requests: int = 0
    """A worker process is replaced after so many; 0: never."""
    max_memory: int | None = None
    """Bytes of resident memory above which a worker process is replaced."""
    handler_timeout: float | None = None
    """Seconds after which a handler loses its connection, and is counted on no more."""
    forks: bool = False
    """Whether its worker forks for each request, *processes* at a time at most."""
    reuse_port: bool = False
    """Whether the listeners share their ports with other processes (SO_REUSEPORT, socket(7))."""
    owner: Owner = Owner()
    environment: ExecutionEnvironment = INHERITED
    access: Access = Access()
    tls: Tls | None = None
    proxies: tuple[str, ...] = ()
    """Networks, in canonical form, whose clients begin with a header of the PROXY protocol."""
    handshakes: int = HANDSHAKES
    """Connections at once of which the first byte, the header or the handshake is waited for, over
    all processes."""
    amplification: float | None = None
    """Bytes that are answered for each byte of a UDP datagram, at most."""
    socket: tuple[SetOption, ...] = ()
    """The options of its sockets, in the order in which they are set."""
    written: frozenset[str] = field(default=frozenset(), compare=False)
    """The keys that its own table has; the rest is from ``[defaults]``, or from nobody."""
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Stamp, ...] = ()
    """The files that it imports from ``python_path``, as they were when it was checked."""

    @property
    def is_code(self) -> bool:
        """Whether it is Python that it runs, of modules that are found by ``python_path``."""
        return not isinstance(self.runs, Program)

    @property
    def is_elastic(self) -> bool:
        """Whether it has as many workers as are needed, up to ``processes``."""
        return self.concurrency == "process" and not self.forks

    @property
    def workers(self) -> int:
        """Worker processes, at most."""
        return 1 if self.forks else self.processes

    def is_handed(self, address: Address) -> bool:
        """Whether the daemon takes from this address, and hands on what has begun.

        Where workers have one client each, and connections begin by something else than a request.
        """
        is_one_each = self.forks or (self.threads == 1 and self.workers > 1)
        begins_otherwise = address.is_tls or bool(self.proxies)
        is_stream = not address.transport.is_datagram
        return self.concurrency != "reactor" and is_one_each and begins_otherwise and is_stream

    @property
    def places(self) -> int:
        """Worker processes that there can be at a time: each may be with its successor."""
        return 2 * self.workers

    @property
    def spare_threads(self) -> int:
        """Threads that may hang beside those that serve, before their process is replaced."""
        if self.handler_timeout is None or self.threads == 1:
            return 0
        return max(1, self.threads // 4)

    @property
    def records(self) -> int:
        """Active connections that the scoreboard lists for one worker."""
        return self.processes if self.forks else self.threads + self.spare_threads

    @property
    def lanes(self) -> int:
        """Writers of counters in one worker: its threads or forks, or a reactor's only thread."""
        return 1 if self.concurrency == "reactor" else self.records

    def handshakes_of(self, worker: int) -> int:
        """How many of ``handshakes`` belong to the worker of this index."""
        return share(self.handshakes, self.workers, worker)


def share(bound: int, processes: int, number: int) -> int:
    """The part of a service's *bound* that belongs to the process *number*, counted from 0.

    The parts of *processes* processes add up to the bound. None is 0: a process without a part
    could serve no client, so a bound smaller than *processes* comes to 1 for each.
    """
    each, rest = divmod(bound, processes)
    # A successor has a number beyond those of the usual processes.
    return max(1, each + (number % processes < rest))


@dataclass(frozen=True)
class Configuration:
    """All that a file and its includes say; the unit that is applied whole or not at all."""

    file: str
    services: tuple[Service, ...]
    """The enabled ones, in the order of the files."""
    python_path: tuple[str, ...] = ()
    drain_delay: float = 0.0
    """Seconds between being told to stop and taking nothing more."""
    admin_socket: str | None = None
    """The path of netdctl's way in; None for the usual one."""
    graceful_timeout: float = 30.0
    """Seconds that a stop gives running handlers."""
    log: Log = field(default_factory=Log)
    disabled: frozenset[str] = frozenset()
    """The services that are in the files, and not enabled."""
    notes: tuple[Problem, ...] = ()
    """What is worth knowing, and wrong only if it was meant otherwise."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where a key stands, as in ``services.time.handler``, for problems found later."""
