"""The shape of a configuration file: its tables, their keys and defaults (pydantic).

This is the shape of one file. ``load`` and ``service`` put together what several files say.

The docstring of a table and the one under each key are for operators, in Markdown: editors, the
reference and ``netdctl`` show them. If a required key is missing, the message has the first
sentence of its docstring.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field

from netd.config.environment import (
    CountLimit,
    Nice,
    SecondsLimit,
    SizeLimit,
    TimeLimit,
    Umask,
    Variables,
)
from netd.config.socket_options import SocketOptions
from netd.config.types import (
    ApplicationProtocol,
    Argument,
    Class,
    Command,
    Datagram,
    Described,
    Duration,
    Entry,
    Function,
    Group,
    Handler,
    Listen,
    Name,
    PathText,
    Proxy,
    ServerName,
    Size,
    Timeout,
    User,
)
from netd.model.log import Format, Level
from netd.model.service import DRAIN_DELAY, GRACEFUL_TIMEOUT, HANDSHAKES, VERIFY_TIMEOUT
from netd.model.tls import HANDSHAKE_TIMEOUT, ClientCertificate, Version

INCLUDE: Final = "include"
DEFAULTS: Final = "defaults"
SERVICES: Final = "services"

MOST_THREADS: Final = 10_000
"""Threads of a service. Each has a record of the scoreboard and, while it runs, a stack."""

MOST_PROCESSES: Final = 1_000
"""Worker processes of a service. Each costs megabytes, and the daemon has a channel to each."""

MOST_HANDSHAKES: Final = 1_000_000
"""Pending connections of a service. Each has a descriptor, and Linux gives a process at most
1 048 576 of them unless fs.nr_open is raised."""

ONLY_BESIDE: Final = {"wait": "program", "arguments": "plugin"}
"""Keys of a service that only have an effect beside another one."""


class Table(BaseModel):
    """A table of the file."""

    # An unknown key is most often a typo, so it is an error. Strict: "5" is no number. Frozen: one
    # table of defaults is shared by many services.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AccessTable(Table):
    """Which clients are admitted.

    A client is admitted if no `deny` entry matches and, if `allow` is set, at least one of its
    entries does. A client whose address cannot be read is refused.
    """

    allow: list[Entry] | None = None
    """Clients to admit. Default: every client that `deny` does not match. An empty list admits
    none."""
    deny: list[Entry] = []
    """Clients to refuse, even if `allow` matches them."""
    verify_request: Function | None = None
    """A function that the worker calls for each client that the lists admit, with the arguments
    that `socketserver` passes: `(request, client_address)`. The client is admitted if it returns
    true, and refused if it raises. It may be `async` and await Deferreds."""
    verify_timeout: Timeout = VERIFY_TIMEOUT
    """How long `verify_request` may take; then the client is refused. An `async` function is
    cancelled. A plain function that never returns keeps its thread, and the log shows where it
    hangs."""
    dry_run: bool = False
    """Log and count each refusal, but admit the client."""


def _names(field: str) -> tuple[str, str]:
    """Return the two names of a limit. The field of ``as``, a keyword of Python, is ``as_``."""
    name = field.rstrip("_")
    return name, f"RLIMIT_{name.upper()}"


class LimitsTable(Table):
    """Resource limits of a service's processes, as in getrlimit(2).

    A limit is named as it is there, such as `RLIMIT_NOFILE`, or by the last part, `nofile`.
    """

    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(*_names(name)))
    )

    as_: SizeLimit | None = None
    """Address space of a process. Beyond it, Python raises MemoryError."""
    core: SizeLimit | None = None
    """Size of a core file; 0 writes none."""
    cpu: SecondsLimit | None = None
    """Processor time of a process. The kernel kills a process that has used it up, and netd starts
    another one."""
    data: SizeLimit | None = None
    """Memory for data."""
    fsize: SizeLimit | None = None
    """Size of a file that a process writes. Beyond it, Python raises OSError."""
    memlock: SizeLimit | None = None
    """Memory that a process may lock."""
    msgqueue: SizeLimit | None = None
    """Memory for POSIX message queues, for all processes of the user together."""
    nice: CountLimit | None = None
    """Lowest nice value that a process may set, as 20 minus that value."""
    nofile: CountLimit | None = None
    """Open file descriptors. Each connection takes one."""
    nproc: CountLimit | None = None
    """Processes and threads, for all processes of the user together."""
    rss: SizeLimit | None = None
    """Resident memory. Linux does not enforce this limit; `max_memory` is enforced."""
    rtprio: CountLimit | None = None
    """Highest real-time priority that a process may set."""
    rttime: TimeLimit | None = None
    """Processor time that a real-time process may use without a blocking system call."""
    sigpending: CountLimit | None = None
    """Queued signals, for all processes of the user together."""
    stack: SizeLimit | None = None
    """Stack of the programs that the service starts. Threads keep the stack size of the daemon."""


class ServiceLimitsTable(Table):
    """How much of the service its clients may use."""

    handshakes: Annotated[int, Field(ge=1, le=MOST_HANDSHAKES)] = HANDSHAKES
    """Most pending connections of the service: those whose TLS handshake, PROXY header or first
    byte netd is waiting for. The bound is divided equally among the worker processes, and each has
    at least 1. If a worker serves one client at a time, the daemon waits for the first byte, within
    the whole bound, and the workers' shares are for the handshakes that they have begun. From half
    of the bound on, each new connection may drop a pending one, at random: 30 % of the new
    connections do at half of the bound, and all of them at the bound, as with OpenSSH's
    `MaxStartups`. netd drops the connection that has been pending longest, so a flood of silent
    clients drops its own connections."""
    amplification: Annotated[float, Field(ge=0)] | None = None
    """Most bytes of answers for each byte of a UDP datagram. netd does not send what exceeds it,
    and logs that. Without a bound, a datagram with a forged sender can make the service send much
    more to that sender than the datagram cost. Default: no bound; the built-in small services
    limit their own answers."""


class ProxyProtocolTable(Table):
    """Proxies in front of the service that pass on the client's address by the PROXY protocol.

    Rules, limits, logs and handlers then see the client's address instead of the proxy's.
    """

    from_: Annotated[list[Proxy], Field(validation_alias=AliasChoices("from"))] = []
    """The proxies. Each of their connections and UDP packets must begin with a header of version 1
    or 2; without it, the client is refused. A header from any other peer is data."""


class IdentityTable(Table):
    """A certificate for clients that ask for one server name, or one that a wildcard matches."""

    certificate: PathText
    """The file with the certificate, in PEM, followed by the intermediate certificates."""
    private_key: PathText | None = None
    """The file with the private key, in PEM and without a password. Default: the file of the
    certificate."""


class TlsTable(Table):
    """TLS: for `tls:` and `tls6:` listeners, `unix:` with `:tls=yes`, and STARTTLS.

    The daemon reads the files when it starts and reloads, so the service's `user` needs no access
    to them. New connections use a changed file after a reload.
    """

    certificate: PathText | None = None
    """The file with the service's certificate, in PEM, followed by the intermediate
    certificates."""
    private_key: PathText | None = None
    """The file with the private key, in PEM and without a password. Default: the file of the
    certificate."""
    self_signed: PathText | None = None
    """A file that netd creates, instead of `certificate`, if it is missing or expired: certificate
    and key, mode 600, for `localhost` and the loopback addresses, valid for 30 days. Clients do not
    trust it unless they are told to."""
    client_certificate: ClientCertificate = "none"
    """Whether netd asks clients for a certificate, and whether they must present one. The handshake
    fails if the certificate is expired or not issued by `client_ca`."""
    client_ca: PathText | None = None
    """The file with the certificates of the authorities that may issue client certificates, in
    PEM."""
    minimum_version: Version = "TLSv1.2"
    """Oldest TLS version to accept."""
    maximum_version: Version | None = None
    """Newest TLS version to accept. Default: the newest that OpenSSL has."""
    ciphers: str | None = None
    """Ciphers of TLS 1.2, as in openssl-ciphers(1). Default: those with forward secrecy and
    authenticated encryption."""
    alpn: list[ApplicationProtocol] = []
    """Protocols to offer, the preferred one first (RFC 7301): `["h2", "http/1.1"]`."""
    handshake_timeout: Timeout = HANDSHAKE_TIMEOUT
    """How long a client may take from its connection to the end of the handshake."""
    suppress_ragged_eofs: bool = True
    """Whether the handler sees an ordinary end of file if the connection ends without
    `close_notify`, which anyone on the network path can cause. If false, a blocking handler gets
    `ssl.SSLEOFError`."""
    sni: Annotated[dict[str, IdentityTable], Described(dict[ServerName, IdentityTable])] = {}
    """More certificates, by the server name that a client asks for: `"host.example"`, or
    `"*.host.example"` for every name with one more label. A client that asks for any other name, or
    none, gets `certificate`."""


class ServiceTable(Table):
    """A service: what runs, where it listens, which clients it admits, and how it is executed."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {key: [needed] for key, needed in ONLY_BESIDE.items()}
        }
    )

    listen: Annotated[list[Listen], Field(min_length=1)] | None = None
    """Where it listens, like `["tcp:10037"]`. The same code serves all of the addresses."""
    handler: Handler | None = None
    """What it runs: a subclass of `socketserver.BaseRequestHandler`, unmodified; a subclass of
    `netd.handlers.AsyncRequestHandler`; or the name of a registered handler, such as `"echo"`."""
    server: Class | None = None
    """What it runs: a subclass of `socketserver.BaseServer`, or a function that returns a server.
    If the server needs a handler class, set it in `handler`."""
    protocol: Class | None = None
    """What it runs: a Twisted `Protocol`, `DatagramProtocol` or `IProtocolFactory`."""
    program: Command | None = None
    """What it runs: a program and its arguments. netd starts one process for each connection, with
    the connection as its standard input and output. The program is given by its path, or by its
    name in `PATH`."""
    wait: bool = False
    """Whether the `program` gets the listening socket instead of a connection, like `wait` in
    inetd.conf(5)."""
    plugin: Name | None = None
    """What it runs: an installed twistd plugin, in a worker of its own. The plugin listens where
    its `arguments` say, so the service has no `listen`."""
    arguments: list[Argument] = []
    """Command line of the `plugin`."""
    concurrency: Literal["reactor", "thread", "process"] | None = None
    """How clients are served concurrently. `"reactor"` is for protocols and asynchronous handlers.
    All others run by `"thread"`, in the threads of a process, or by `"process"`, with one client
    at a time in each process. Default: what the server's mix-in says, otherwise `"thread"`."""
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None
    """Most handlers that run concurrently in one worker process; more clients wait in the backlog.
    The pool grows while that serves more clients, and shrinks when it is idle. Default: 100; with
    `concurrency = "process"`, and for a server without a mix-in, 1."""
    processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | None = None
    """Number of worker processes. With `concurrency = "process"` it is the most: one is kept ready,
    and others start when they are needed. Default: 1; with `concurrency = "process"`, the server's
    `max_children`, otherwise 40."""
    worker: Name | None = None
    """Name of the worker that the service runs in. Services with the same name share its process,
    so that their handlers can share state. Default: a worker of its own."""
    max_requests: Annotated[int, Field(ge=0)] = 0
    """Requests after which a worker process is replaced; 0 means never. The new process is ready
    before the old one stops. A client that is refused by the lists, or whose handshake fails, does
    not count as a request. With `concurrency = "process"` and 1, each client has a process of its
    own."""
    max_memory: Size | None = None
    """Resident memory above which a worker process is replaced, between two clients. Default: no
    limit."""
    handler_timeout: Timeout | None = None
    """How long a handler may run. netd then closes its connection, and logs where the handler was.
    A worker with one thread is replaced. In other workers the thread is abandoned, and the worker
    is replaced once a quarter of its threads are. Default: no limit."""
    backlog: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Most connections that wait in the kernel's queue, as in listen(2). Default: the
    `request_queue_size` that a server class of yours sets, otherwise 1024."""
    datagram_size: Datagram | None = None
    """Longest datagram. A longer one is dropped, counted and logged, and never truncated. Default:
    the `max_packet_size` that a server class of yours sets, otherwise 8KiB."""
    user: User | None = None
    """User to run as; privileges and supplementary groups are dropped permanently. This requires a
    daemon that runs as root. Default: the daemon's user."""
    group: Group | None = None
    """Group to run as. Default: the primary group of `user`, otherwise the daemon's."""
    umask: Umask | None = None
    """Permissions to remove from files that the service creates. Default: the daemon's umask."""
    nice: Nice | None = None
    """Nice value of its processes, from -20 (most favoured) to 19. A value below the daemon's
    requires root. Default: the daemon's nice value."""
    working_directory: PathText | None = None
    """Working directory of its processes. `user` must be able to enter it. Default: the daemon's
    working directory."""
    environment: Variables = {}
    """Environment variables to set in addition to the daemon's own. They are set before the
    service's code is imported, but after Python has started, so variables that Python reads at its
    start (`PYTHONPATH`) have no effect."""
    rlimits: LimitsTable = LimitsTable()
    """Resource limits for each of its processes. Default: the daemon's limits."""
    enabled: bool = True
    """Whether the service runs. A service that is not enabled is still checked."""
    options: dict[str, object] = {}
    """Keyword arguments for what the service runs, after the arguments that `socketserver` passes:
    `options = {directory = "/srv/www"}` for `http.server:SimpleHTTPRequestHandler`."""
    access: AccessTable = AccessTable()
    tls: TlsTable = TlsTable()
    proxy_protocol: ProxyProtocolTable = ProxyProtocolTable()
    limits: ServiceLimitsTable = ServiceLimitsTable()
    socket: SocketOptions = {}
    """Socket options, by the names of their constants: `socket = {SO_KEEPALIVE = true}`. Each
    option is set on those of the service's listeners that it fits, at the time when it has an
    effect: before bind, on the listener, or on each connection. `netdctl socket-options` and
    [the page about them](socket-options.md) list all options."""


class DaemonTable(Table):
    """The daemon as a whole."""

    graceful_timeout: Duration = GRACEFUL_TIMEOUT
    """How long a stop waits for running handlers."""
    drain_delay: Duration = DRAIN_DELAY
    """How long the daemon still accepts clients after it was told to stop, while it reports that it
    is not ready, so that load balancers notice."""


class AdminTable(Table):
    """The admin socket."""

    socket: PathText | None = None
    """Unix socket that `netdctl` connects to, with mode 600. Default: `/run/netd/admin.sock` for
    root, otherwise `run/admin.sock` in the directory of the file."""


class LogTable(Table):
    """What is logged, in which format, and where.

    Each line of JSON has `time` (RFC 3339), `level`, `service` (`null` for netd itself) and
    `message`. A line about a connection also has `client`, `transport`, `verdict`, `reason`,
    `seconds`, `bytes_in`, `bytes_out` and `round_trip` (seconds, as TCP has measured it); a value
    that is not known is `null`. Journal entries have the same fields as `NETD_SERVICE`,
    `NETD_CLIENT` and so on: `journalctl -t netd NETD_VERDICT=refused`.

    Options on twistd's command line override `file` and the destination that `format` implies. A
    `--logfile` is written in `format`, or as text. With `--syslog` or `--logger` twistd writes the
    log, and `level` does not filter netd's own events.
    """

    format: Format = "text"
    """Format of a record: `"text"` is a line of text, `"json"` a line with an object, `"journald"`
    an entry of the systemd journal with fields, `"syslog"` a message to the local syslog
    (`/dev/log`), facility `daemon`, one for each line of the text."""
    level: Level = "info"
    """Lowest level to log. It also applies to what handlers log and print (stdout is `info`, stderr
    is `warn`). Connections are `info`, however they ended."""
    connections: bool = True
    """Whether to log a line for each connection and datagram. If false, refused and failed ones
    have no line either; tracebacks and dropped datagrams are still logged."""
    file: PathText | None = None
    """File to log to; `USR1` reopens it. Not with `"journald"` and `"syslog"`. Default: twistd's
    log."""


class IncludedFile(Table):
    """A file that another file includes: services only."""

    services: Annotated[dict[str, dict[str, object]], Described(dict[Name, ServiceTable])] = {}
    """The services, each a table `[services.NAME]`. A name has letters, digits and `. _ -`."""


class MainFile(IncludedFile):
    """The file that the command line names."""

    include: list[PathText] = []
    """More files with services. `*` works as in a shell: `["services.d/*.toml"]`."""
    python_path: list[PathText] = []
    """Directories that worker processes import from, after the standard library and before all
    others. The daemon imports nothing from them."""
    defaults: Annotated[dict[str, object], Described(ServiceTable)] = {}
    """Keys of a service, for every service that does not set them. Tables merge key by key;
    every other value is replaced."""
    daemon: DaemonTable = DaemonTable()
    admin: AdminTable = AdminTable()
    log: LogTable = LogTable()
