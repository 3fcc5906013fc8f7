"""A validated configuration: what each service runs, where it listens, which clients it admits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from netd.model.address import Address
from netd.model.environment import INHERITED, ExecutionEnvironment
from netd.model.log import Log
from netd.model.problem import Location, Problem
from netd.model.socket_options import SetOption
from netd.model.tls import HANDSHAKE_TIMEOUT, Tls

THREADS: Final = 100
"""Default: most concurrent handlers in a worker process. Threads that wait cost little."""

BACKLOG: Final = 1024
"""Default: connections in the kernel's queue. A backlog of 50 lost 785 of 1 000 clients in a stall
of half a second."""

DATAGRAM_SIZE: Final = 8192
"""Default: bytes of the longest datagram; the value of UDPServer.max_packet_size."""

HANDSHAKES: Final = 1000
"""Default: most pending connections of a service."""

VERIFY_TIMEOUT: Final = 5.0
"""Default: seconds that ``verify_request`` may take."""

GRACEFUL_TIMEOUT: Final = 30.0
"""Default: seconds that a stop gives running handlers."""

DRAIN_DELAY: Final = 0.0
"""Default: seconds between the order to stop and the end of accepting."""


@dataclass(frozen=True)
class Reference:
    """A class or function of a module: ``module:name``."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


@dataclass(frozen=True)
class Owner:
    """The user and group of a process; None keeps those that it is started with."""

    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class Access:
    """Which clients are admitted: the lists in canonical form (names resolved), and the filter."""

    allow: tuple[str, ...] | None = None
    """None admits every client that no ``deny`` entry matches; an empty tuple admits none."""
    deny: tuple[str, ...] = ()
    verify_request: Reference | None = None
    verify_timeout: float = VERIFY_TIMEOUT
    """Seconds."""
    dry_run: bool = False


Concurrency = Literal["reactor", "thread", "process"]
"""How handlers run: in the reactor, in threads of a process, or each in a process of its own."""


@dataclass(frozen=True)
class Runs:
    """Python code that a service runs, named by one of these keys of its table."""

    key: Literal["handler", "server", "protocol"]
    reference: Reference
    handler: Reference | None = None
    """The request handler class beside a server, if there is one."""

    def __str__(self) -> str:
        return str(self.reference)


@dataclass(frozen=True)
class Program:
    """A program that a service runs, one process for each connection."""

    path: str
    """Absolute."""
    arguments: tuple[str, ...]
    """Its name first, as it was written."""
    wait: bool = False
    """Whether it gets the listening socket, and accepts by itself (``wait`` of inetd.conf(5))."""

    key: ClassVar = "program"

    def __str__(self) -> str:
        return self.arguments[0]


@dataclass(frozen=True)
class Plugin:
    """A twistd plugin that a service hosts; it binds by itself."""

    name: str
    arguments: tuple[str, ...]

    key: ClassVar = "plugin"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Requested:
    """What a table says about the execution of a service; None if it does not have the key.

    The decision depends on what the service runs (``netd.config.resolve``).
    """

    concurrency: Concurrency | None = None
    threads: int | None = None
    processes: int | None = None
    backlog: int | None = None
    datagram_size: int | None = None
    """Bytes."""


@dataclass(frozen=True)
class Stamp:
    """A file, with the attributes that change when it is written (stat(2))."""

    path: str
    inode: int
    size: int
    changed: int
    """Nanoseconds."""


@dataclass(frozen=True)
class Service:
    """A service: everything that its listeners and its worker need."""

    name: str
    listen: tuple[Address, ...]
    runs: Runs | Program | Plugin
    worker: str
    """Services with the same worker share its processes."""
    own: Requested = field(default=Requested(), compare=False)
    """What the service's own table says."""
    defaults: Requested = field(default=Requested(), compare=False)
    """What ``[defaults]`` says. A key that does not fit what the service runs has no effect."""
    concurrency: Concurrency = "thread"
    threads: int = THREADS
    """Most concurrent handlers in one process; for a reactor, clients that the scoreboard lists."""
    processes: int = 1
    backlog: int = BACKLOG
    datagram_size: int = DATAGRAM_SIZE
    """Bytes; a longer datagram is dropped."""
    max_requests: int = 0
    """Requests after which a worker process is replaced; 0 means never."""
    max_memory: int | None = None
    """Bytes of resident memory above which a worker process is replaced."""
    handler_timeout: float | None = None
    """Seconds after which a handler loses its connection, and its thread is abandoned."""
    forks: bool = False
    """Whether its worker forks for each request, at most ``processes`` at a time."""
    reuse_port: bool = False
    """Whether the listeners share their ports with other processes (SO_REUSEPORT, socket(7))."""
    owner: Owner = Owner()
    environment: ExecutionEnvironment = INHERITED
    access: Access = Access()
    tls: Tls | None = None
    proxies: tuple[str, ...] = ()
    """Networks, in canonical form, of the proxies, which send a header of the PROXY protocol."""
    handshakes: int = HANDSHAKES
    """Most pending connections, in all processes together: netd waits for their first byte, PROXY
    header or handshake."""
    amplification: float | None = None
    """Most bytes of answers for each byte of a UDP datagram."""
    socket: tuple[SetOption, ...] = ()
    """The options of its sockets, in the order in which to set them."""
    written: frozenset[str] = field(default=frozenset(), compare=False)
    """The keys of its own table. All others are from ``[defaults]``, or are not set."""
    options: Mapping[str, object] = field(default_factory=dict)
    sources: tuple[Stamp, ...] = ()
    """The files that it imports from ``python_path``, as they were when it was checked. If they
    have changed, a reload replaces its workers."""

    @property
    def is_code(self) -> bool:
        """Whether it runs Python code, which ``python_path`` finds."""
        return not isinstance(self.runs, Program)

    @property
    def is_elastic(self) -> bool:
        """Whether the number of its workers grows on demand, up to ``processes``."""
        return self.concurrency == "process" and not self.forks

    @property
    def workers(self) -> int:
        """Most worker processes."""
        return 1 if self.forks else self.processes

    @property
    def places(self) -> int:
        """Most worker processes at a time: each may still run beside its successor."""
        return 2 * self.workers

    @property
    def spare_threads(self) -> int:
        """Threads that may be abandoned before their process is replaced.

        They are in addition to those that serve. A worker with one thread is replaced immediately.
        """
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

    @property
    def handshake_timeout(self) -> float:
        """Seconds that a connection may stay pending, TLS or not."""
        return HANDSHAKE_TIMEOUT if self.tls is None else self.tls.handshake_timeout

    def handshakes_of(self, worker: int) -> int:
        """How many of ``handshakes`` belong to the worker of this index."""
        return share(self.handshakes, self.workers, worker)


def share(bound: int, processes: int, number: int) -> int:
    """Return the share of process *number*, counted from 0, of a service's *bound*.

    The shares of *processes* processes add up to the bound. No share is 0, since such a process
    could serve no client: if the bound is smaller than *processes*, each share is 1.
    """
    each, rest = divmod(bound, processes)
    # The number of a successor is at least *processes*.
    return max(1, each + (number % processes < rest))


@dataclass(frozen=True)
class Configuration:
    """All that a file and its includes say; a reload applies it as a whole, or not at all."""

    file: str
    services: tuple[Service, ...]
    """The enabled ones, in the order of the files."""
    python_path: tuple[str, ...] = ()
    drain_delay: float = DRAIN_DELAY
    """Seconds between the order to stop and the end of accepting."""
    admin_socket: str | None = None
    """The path of the admin socket; None for the default one."""
    graceful_timeout: float = GRACEFUL_TIMEOUT
    """Seconds that a stop gives running handlers."""
    log: Log = field(default_factory=Log)
    disabled: frozenset[str] = frozenset()
    """The names of the services that are in the files, but not enabled."""
    notes: tuple[Problem, ...] = ()
    """What may be a mistake, but is valid."""
    locations: Mapping[str, Location] = field(default_factory=dict)
    """Where each key is written, by its dotted path (``services.time.handler``): for problems that
    only show after loading."""
